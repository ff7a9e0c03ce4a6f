"""dpkg's database of this system, judged by dpkg-query and dpkg --verify."""

import os
import random
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from needs import needs

from partialroot.paths import RootPath
from partialroot.source.packages import Packages, open_packages, pristine
from partialroot.source.tree import Tree

pytestmark = needs("dpkg")


@cache
def tree() -> Tree:
    return Tree(Path("/"))


@cache
def packages() -> Packages:
    return open_packages(tree())


def dpkg(*arguments: str) -> str:
    """Run dpkg; it exits with 1 when it has found a difference or an unknown path."""
    done = subprocess.run(
        ["dpkg", *arguments], capture_output=True, text=True, errors="surrogateescape", env={"LC_ALL": "C"}
    )
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


def native(name: str) -> str:
    return name.removesuffix(":" + dpkg("--print-architecture").strip())


@cache
def sample() -> list[str]:
    """Some packages, always the same, and all that divert or are diverted."""
    chosen = random.Random(1).sample(packages().installed(), min(40, len(packages().installed())))
    diverting = [line.split()[-1] for line in subprocess.getoutput("dpkg-divert --list").splitlines()]
    return sorted({*chosen, *(set(diverting) & set(packages().installed())), "dash", "libc6", "bash"})


def placed(path: str) -> str:
    return os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))


def listed(package: str) -> Iterator[str]:
    """Yield where the files of a package are, as dpkg --listfiles tells with its notes on diversions."""
    last = ""
    for line in [*dpkg("-L", package).splitlines(), ""]:
        diverted = re.fullmatch(r"(?:locally diverted|diverted by \S+) to: (.*)", line)
        if diverted:
            last = diverted[1]
        elif not line.startswith("package diverts others to: "):
            if last not in ("", "/."):
                yield placed(last)
            last = line


def test_the_same_packages_are_installed() -> None:
    query = ["dpkg-query", "-W", "-f", "${binary:Package} ${db:Status-Status}\\n"]
    lines = subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()
    names = [line.split()[0] for line in lines if line.split()[1] not in ("config-files", "not-installed")]
    architecture = ":" + dpkg("--print-architecture").strip()
    assert list(packages().installed()) == sorted(name.removesuffix(architecture) for name in names)


def test_the_same_files() -> None:
    for package in sample():
        assert list(packages().files(package) or ()) == list(dict.fromkeys(listed(package))), package


def test_the_same_owners() -> None:
    """Asked by the names dpkg knows, and by where they are."""
    known = [line for one in sample() for line in dpkg("-L", one).splitlines() if line.startswith("/")]
    files = random.Random(2).sample([path for path in known if not os.path.isdir(path)], 150)
    architecture = ":" + dpkg("--print-architecture").strip()
    for line in dpkg("-S", *files).splitlines():
        owners, _, path = line.partition(": ")
        if not path.startswith("/") or owners.startswith(("diversion by ", "local diversion ")):
            continue
        owner = packages().owner(RootPath(placed(path)))
        assert owner in [name.removesuffix(architecture) for name in owners.split(", ")], path
        assert owner == packages().owner(RootPath(path))


@pytest.mark.parametrize("path", ["/etc/passwd", "/etc/machine-id", "/var/lib/dpkg/status"])
def test_nobody_owns_what_scripts_made(path: str) -> None:
    assert packages().owner(RootPath(path)) is None


def test_the_same_files_are_pristine() -> None:
    """dpkg --verify names what it found changed or missing; all else with a checksum is pristine."""
    for package in sample()[:25]:
        changed = {
            placed(line.split(maxsplit=2)[-1].removeprefix("c "))
            for line in dpkg("--verify", package).splitlines()
        }
        for path in packages().files(package) or ():
            if packages().recorded(path) and packages().owner(path) == package:
                assert pristine(tree(), packages(), path) == (path not in changed), path


def test_everything_installed_has_its_files() -> None:
    """Reading all lists is quick, and nothing of this system's database is refused."""
    assert sum(len(packages().files(name) or ()) for name in packages().installed()) > 10_000
