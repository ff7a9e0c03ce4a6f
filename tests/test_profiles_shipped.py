"""The shipped profiles: short, complete on this system and on others, and their zones serve a page."""

import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from bootable import PATIENCE
from command import partialroot
from needs import needs
from sources import PROGRAMS, small_source, write

from partialroot.model import Profile, Selection
from partialroot.plan.platforms import Linux
from partialroot.plan.select import select
from partialroot.profiles.library import Library
from partialroot.source.packages import open_packages
from partialroot.source.tree import Tree

LIBRARY = Library([], "linux")
NAMES = ("base", "blank", "nginx", "node", "python", "shell", "sparse", "sshd", "static", "whole")
SERVING = [
    pytest.param("node", marks=needs("node")),
    pytest.param("python", marks=needs("python")),
    pytest.param("nginx", marks=needs("nginx")),
]


def selected(source: Path, *names: str, **parameters: str) -> Selection:
    tree = Tree(source)
    profile = LIBRARY.compose(names, parameters)
    return select(profile, names, tree, open_packages(tree), Linux(lambda: b"pause"))


def paths(selection: Selection) -> set[str]:
    assert not [missing for missing in selection.missing if missing.severity == "error"]
    return {str(entry.path) for entry in selection.entries}


# --- as texts -----------------------------------------------------------------------------------------


def test_these_are_shipped() -> None:
    assert tuple(listed.name for listed in LIBRARY.names()) == NAMES
    assert all(listed.summary and len(listed.summary) < 70 for listed in LIBRARY.names())


@pytest.mark.parametrize("listed", LIBRARY.names(), ids=lambda listed: listed.name)
def test_short_and_commented(listed: tuple[str, str, Path]) -> None:
    lines = listed[2].read_text().splitlines()
    assert lines[0].startswith("# ")
    assert len(lines) <= 60
    assert max(map(len, lines)) <= 120


@pytest.mark.parametrize("name", ["node", "python", "nginx", "static"])
def test_who_serves_has_a_port(name: str) -> None:
    assert LIBRARY.compose([name], {}).parameters["port"] == "8000"
    profile = LIBRARY.compose([name], {"port": "8123"})
    assert profile.start is not None
    assert "8123" in " ".join([*profile.start.command, *(text.content for text in profile.texts)])
    assert "@" not in " ".join(profile.start.command)


@pytest.mark.parametrize("name", [*NAMES[:1], *NAMES[2:]])
def test_each_goes_with_what_has_no_start(name: str) -> None:
    composed: Profile = LIBRARY.compose(["shell", name], {})
    assert composed.start == LIBRARY.compose([name], {}).start


def test_no_shipped_profile_wants_a_secret() -> None:
    assert not [name for name in NAMES if LIBRARY.compose([name], {}).secrets]


# --- on this system -----------------------------------------------------------------------------------


@needs("glibc")
@pytest.mark.parametrize("name", [*SERVING, "base", "shell", pytest.param("static", marks=needs("busybox"))])
def test_complete_and_nothing_left_out(name: str) -> None:
    selection = selected(Path("/"), name)
    assert paths(selection)
    # An administrator may have edited the one file of /etc that is not named literally.
    assert not [warning for warning in selection.warnings if "/etc/ssl/openssl.cnf" not in warning]


@needs("glibc", "busybox")
def test_the_barest() -> None:
    mount_points = {"/dev", "/proc", "/sys"}
    assert paths(selected(Path("/"), "blank")) == {"/pause", *mount_points}
    files = [entry for entry in selected(Path("/"), "static").entries if entry.type == "file"]
    assert [os.path.basename(entry.path) for entry in files] == ["busybox"]


@pytest.fixture
def zone(scratch: Path, store: Path) -> Iterator[Path]:
    """A zonepath; the zone is halted and removed at the end."""
    place = scratch / "zones/web"
    yield place
    partialroot("halt", place, "--store", store, code=None)
    partialroot("remove", place, "--store", store)


@needs("root", "mount", "runc", "veth", "glibc")
@pytest.mark.parametrize("name", SERVING)
def test_the_zone_serves_its_page(name: str, zone: Path, store: Path) -> None:
    partialroot("populate", zone, name, "--set", "port=8123", "--store", store)
    (booted,) = partialroot("boot", zone, "--runtime", "runc", "--store", store, "--json").document["zones"]
    assert f"zone made of the profile <b>{name}</b>" in page(f"http://{booted['address']}:8123/")
    findings = partialroot("verify", zone, "--store", store, "--json").document["findings"]
    assert {finding["kind"] for finding in findings} <= {"extra"}
    partialroot("halt", zone, "--grace", "100000", "--store", store)  # for ever, unless it follows SIGTERM


@needs("root", "mount", "runc", "veth", "busybox")
def test_a_single_static_program_serves_itself(zone: Path, store: Path) -> None:
    program = shutil.which("busybox")
    partialroot("populate", zone, "static", "--set", f"program={program}", "--store", store)
    (booted,) = partialroot("boot", zone, "--runtime", "runc", "--store", store, "--json").document["zones"]
    assert page(f"http://{booted['address']}:8000{program}", "latin-1").startswith("\x7fELF")


def page(address: str, encoding: str = "utf-8") -> str:
    """Return what is served at an address, as soon as it is."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(address, timeout=PATIENCE) as response:
                return str(response.read().decode(encoding))
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


IMPORT_ALL = """
import importlib, ssl, sys, warnings
warnings.simplefilter("ignore")
for name in sorted(sys.stdlib_module_names - {"antigravity", "this"}):
    try:
        importlib.import_module(name)
    except ImportError:
        print(name)
ssl.create_default_context()
"""
LEFT_OUT = {"ensurepip", "idlelib", "tkinter", "turtledemo", "_tkinter", "turtle"}


@needs("root", "mount", "glibc", "python")
def test_the_whole_standard_library_can_be_imported(zone: Path, store: Path) -> None:
    """Judged by the same Python outside: what can be imported there can be imported in the zone."""
    partialroot("populate", zone, "python", "--store", store)
    assert imports_missing("chroot", zone / "root") <= imports_missing() | LEFT_OUT


def imports_missing(*before: str | Path) -> set[str]:
    """Return the modules that the system's own Python (not that of the tests) cannot import."""
    environment = {"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [*map(str, before), "/usr/bin/env", "python3", "-c", IMPORT_ALL]
    return set(
        subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()
    )


# --- on other systems -----------------------------------------------------------------------------------


@pytest.fixture
def other(scratch: Path) -> Path:
    """A small source that has all of base's programs."""
    wanted = [item.text for item in LIBRARY.compose(["base"], {}).programs]
    programs = [found for found in (shutil.which(name) for name in wanted) if found]
    return small_source(scratch / "source", {*PROGRAMS, *programs})


def fill(source: Path, *files: str) -> None:
    for file in files:
        write(source / file[1:], "x\n", 0o644)


@needs("glibc")
def test_a_python_of_ones_own(other: Path) -> None:
    shutil.copy(other / "usr/bin/env", other / "usr/bin/python3")
    os.renames(other / "usr/bin/python3", other / "usr/local/bin/python3")
    library = "/usr/local/lib/python3.12"
    kept = {f"{library}/{name}" for name in ("os.py", "__pycache__/os.cpython-312.pyc", "email/mime/text.py")}
    dropped = {
        f"{library}/{name}"
        for name in (
            "site-packages/pip/__init__.py",
            "test/__init__.py",
            "sqlite3/test/x.py",
            "ctypes/tests/x.py",
            "idlelib/x.py",
            "config-3.12-x86_64-linux-gnu/libpython3.12.a",
            "lib-dynload/_testcapi.cpython-312-x86_64-linux-gnu.so",
            "lib-dynload/_tkinter.cpython-312-x86_64-linux-gnu.so",
            "__pycache__/os.cpython-312.opt-1.pyc",
        )
    }
    fill(other, *kept, *dropped)
    found = paths(selected(other, "python"))
    assert kept <= found
    assert not dropped & found
    assert "/usr/local/bin/python3" in found


@needs("glibc")
def test_node_as_debian_builds_it(other: Path) -> None:
    """The files that libnode of Debian 12 and 13 opens by name when it starts."""
    shutil.copy(other / "usr/bin/env", other / "usr/bin/node")
    modules = "acorn/dist/acorn acorn-walk/dist/walk cjs-module-lexer/lexer cjs-module-lexer/dist/lexer"
    modules += " undici/undici-fetch minimatch/dist/cjs/index.bundle"
    opened = {f"/usr/share/nodejs/{module}.js" for module in modules.split()}
    fill(other, *opened, "/usr/share/nodejs/npm/index.js", "/usr/share/nodejs/undici/lib/x.js")
    found = paths(selected(other, "node"))
    assert opened == {path for path in found if path.startswith("/usr/share/nodejs") and path.endswith(".js")}


@needs("glibc")
def test_sparse_is_all_of_usr(other: Path) -> None:
    everything = {
        "/" + os.path.relpath(os.path.join(directory, name), other)
        for directory, directories, files in os.walk(other / "usr")
        for name in (*directories, *files)
    }
    found = paths(selected(other, "sparse", "blank"))
    assert everything <= found
    assert not [path for path in found if path.startswith(("/srv", "/etc/shadow", "/etc/alternatives/other"))]


WHOLE = """
/.
/usr/share/app/data one
/etc/app.conf
/etc/edited.conf
/boot
/boot/vmlinuz-6.1
/usr/lib/modules/6.1/a.ko
/usr/lib/firmware/a.bin
/var/cache/app
/var/cache/app/index
/var/log/app.log
"""
STATUS = """Package: app
Status: install ok installed
Architecture: all
Version: 1
Conffiles:
 /etc/app.conf 401b30e3b8b5d629635a5c613cdb7919
 /etc/edited.conf 00000000000000000000000000000000
"""


@needs("glibc")
def test_whole_is_what_packages_own_without_kernel_and_caches(other: Path) -> None:
    fill(other, *(line for line in WHOLE.split("\n") if "." in line and line != "/."), "/var/cache/app/index")
    fill(other, "/usr/share/nobodys/file", "/opt/stray")
    write(other / "var/lib/dpkg/status", STATUS, 0o644)
    write(other / "var/lib/dpkg/info/app.list", WHOLE.lstrip(), 0o644)
    selection = selected(other, "whole", "blank")
    found = paths(selection)
    assert {
        "/usr/share/app/data one",
        "/etc/app.conf",
        "/boot",
        "/usr/bin/salute",
        "/etc/alternatives/salute",
    } <= found
    unwanted = (
        "/boot/",
        "/usr/lib/modules",
        "/usr/lib/firmware",
        "/var/cache/",
        "/var/log/",
        "/opt",
        "/usr/share/n",
    )
    assert not [path for path in found if path.startswith(unwanted)]
    assert "/etc/edited.conf" not in found
    assert any("/etc/edited.conf is left out" in warning for warning in selection.warnings)
