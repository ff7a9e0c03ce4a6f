"""All of this machine's /etc asked for, by glob, by name and by package: no secret gets out (P6).

The judge is the system: what nobody may read, and the MD5 sums that dpkg itself prints.
"""

import hashlib
import json
import os
import re
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from command import Done, partialroot
from needs import needs

pytestmark = needs("root", "mount", "dpkg")

SECRET = re.compile(rb"^-----BEGIN [A-Z ]*PRIVATE KEY|^[a-z]+:[$!*][^:]*:\d+:", re.MULTILINE)
NAMES = re.compile(r"/etc/(g?shadow.*|machine-id|ssh/ssh_host_.*|.*\.keytab)")

Populate = Callable[..., Done]


@pytest.fixture
def zone(scratch: Path) -> Path:
    return scratch / "zone"


@pytest.fixture
def populate(scratch: Path, zone: Path, store: Path) -> Populate:
    """A function that populates ``zone`` from this system with a profile of one list."""

    def run(key: str, items: list[str], code: int = 0) -> Done:
        profile = scratch / "etc.toml"
        profile.write_text(f"{key} = {json.dumps(items)}\n")
        return partialroot("populate", zone, profile, "--store", store, "--json", code=code)

    return run


def regular_files(top: Path) -> dict[str, Path]:
    """Return the regular files of an /etc, by their path inside the root; symlinks are not followed."""
    found = {}
    for directory, _, names in os.walk(top / "etc"):
        for name in names:
            path = Path(directory, name)
            if stat.S_ISREG(os.lstat(path).st_mode):
                found[f"/{path.relative_to(top)}"] = path
    return found


def unreadable(paths: list[str]) -> set[str]:
    """Return which files a user without any rights cannot read."""
    program = "import os,sys\nfor path in sys.stdin.read().split('\\0'):\n os.access(path, 4) or print(path)"
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/python3", "-c", program],
        input="\0".join(paths),
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.splitlines())


def secrets() -> set[str]:
    """Return the files of /etc that are secret: by name, by content, or since others may not read them."""
    files = regular_files(Path("/"))
    return unreadable(list(files)) | {
        path for path, file in files.items() if NAMES.fullmatch(path) or SECRET.search(file.read_bytes())
    }


def shipped() -> dict[str, set[str]]:
    """Return the MD5 sums that dpkg knows of each file of /etc."""
    told = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Conffiles}\n"], capture_output=True, text=True, check=True
    ).stdout
    sums: dict[str, set[str]] = {}
    for line in told.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0].startswith("/"):
            sums.setdefault(words[0], set()).add(words[1])
    for listed in Path("/var/lib/dpkg/info").glob("*.md5sums"):
        for line in listed.read_text(errors="replace").splitlines():
            digest, _, path = line.partition("  ")
            if path.startswith("etc/"):
                sums.setdefault(f"/{path}", set()).add(digest)
    return sums


def md5(file: Path) -> str:
    return hashlib.md5(file.read_bytes()).hexdigest()


def written_by_us(done: Done) -> set[str]:
    """Return what a profile, or we, gave the content of."""
    return {entry["path"] for entry in done.document["entries"] if entry["method"] == "write"}


def check_nothing_edited(done: Done, zone: Path) -> None:
    """Check that every file of the zone's /etc is as dpkg knows it, and that enough of them are there."""
    known = shipped()
    copied = regular_files(zone / "root")
    for path in written_by_us(done):
        copied.pop(path, None)
    assert len(copied) > 20
    assert {path for path, file in copied.items() if md5(file) not in known.get(path, ())} == set()
    assert set(copied).isdisjoint(secrets())


@needs("setpriv")
def test_by_glob(populate: Populate, zone: Path) -> None:
    done = populate("files", ["/etc/**"])
    check_nothing_edited(done, zone)
    known, files = shipped(), regular_files(Path("/"))
    edited = {path for path, file in files.items() if md5(file) not in known.get(path, ())}
    assert edited - secrets(), "there must be something to be left out"
    assert {path for path in edited if f"warning: {path} is left out" not in done.err} <= written_by_us(done)


@needs("setpriv")
def test_by_name(populate: Populate, zone: Path) -> None:
    """All secrets are named at once, and nothing is touched; without them all the rest is copied as it is."""
    files = regular_files(Path("/"))
    secret = secrets()
    assert {"/etc/shadow", "/etc/gshadow"} <= secret
    said = populate("files", sorted(files), code=2).document["error"]["message"]
    assert not zone.exists()
    refused = {path for path in files if f"{path} (" in said}
    assert secret <= refused
    programs = {path for path, file in files.items() if os.access(file, os.X_OK)}  # may lack what they need
    populate("files", sorted(files.keys() - refused - programs))
    copied = regular_files(zone / "root")
    assert set(copied).isdisjoint(secret)
    ours = {"/etc/passwd", "/etc/group"}  # written with those who are needed
    wrong = {path for path in copied if md5(files[path]) != md5(copied[path])}
    assert wrong <= ours


@needs("setpriv")
def test_by_package(populate: Populate, zone: Path) -> None:
    told = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status} ${Conffiles}@@"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    names = [
        words[0] for words in map(str.split, told.split("@@")) if len(words) > 3 and words[1] == "installed"
    ]
    done = populate("packages", sorted(set(names))[:40])
    check_nothing_edited(done, zone)


def test_secrets_go_along_when_they_are_named(populate: Populate, zone: Path) -> None:
    populate("secrets", ["/etc/shadow"])
    assert (zone / "root/etc/shadow").read_bytes() == Path("/etc/shadow").read_bytes()
    assert os.lstat(zone / "root/etc/shadow").st_mode == os.lstat("/etc/shadow").st_mode
