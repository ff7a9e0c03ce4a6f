"""What the files of the synthetic global zone hold."""

import os
import posixpath
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import sunelf
from zone_data import DATA, table

_TEXTS = DATA / "files"
_LIBRARY = re.compile(r".*/(lib[^/]*|[^/]+)\.so(\.[0-9.]+)?")
_DATA_NAME = re.compile(r".*\.(xml|conf|db|html|js|css|txt|h|d|mo|cat|pc|dtd|map|elc?|pm|py)")
_SCRIPT = re.compile(
    r"/(lib/svc/method|etc/(init\.d|rc[S0-9]\.d|cron\.d)|usr/sadm|var/yp)/.*|/etc/rc[S0-9]|.*\.(sh|ksh|awk|d)"
    r"|/usr/bin/bz(diff|grep|more)"
)
_NODE_SCRIPT = re.compile(r"/usr/versions/node-[^/]*/lib/.*/(bin|dist)/[^/]+\.js")
_MIDDLE_AGE = 1_700_000_000  # the mtimes are some time of November 2023, in seconds


class Line(NamedTuple):
    """A row of the table of ELF objects; "-" stands for nothing, lists are separated by commas."""

    path: str
    bits: str
    interpreter: str
    soname: str
    needed: str
    filters: str
    runpath: str
    lazy: str


@cache
def objects() -> dict[str, Line]:
    """Return the ELF objects that the tables describe, by path."""
    rows = [*table("objects.tsv.gz"), *table("supplement.tsv")]
    return {f"/{path}": Line(f"/{path}", *rest) for path, *rest in rows}


@cache
def imports() -> dict[str, list[str]]:
    """Return the undefined symbols worth knowing of some objects, by path."""
    return {f"/{path}": symbols.split() for path, symbols in table("imports.tsv")}


def content(path: str, mode: int) -> bytes:
    """Return what the regular file at ``path`` holds; no two have the same, but for empty ones."""
    text = _TEXTS / path[1:]
    if path.endswith(".ignorelist"):
        return "".join(f"{one}\n" for one in _ignored(posixpath.basename(path))).encode()
    if text.is_file():
        return text.read_bytes()
    if path in objects():
        return sunelf.make(_described(objects()[path]))
    if _NODE_SCRIPT.fullmatch(path):
        return f"#!/usr/bin/env node\n// {path}\n".encode()
    if not mode & 0o111 or _DATA_NAME.fullmatch(path) or path.startswith(("/kernel/", "/usr/kernel/")):
        return b"" if path.startswith(("/var/adm/", "/var/log/")) else f"{path}\n".encode()
    if _SCRIPT.fullmatch(path):
        return f"#!/sbin/sh\n# {path}\n".encode()
    return sunelf.make(_supposed(path))


def _ignored(name: str) -> list[str]:
    """Return the lines of one of Tribblix' lists of what its zones must not have."""
    tops = {"lib": ("lib/svc/",), "sparse": ("etc/",), "whole": ("lib/", "sbin/", "usr/")}
    kind = name.partition(".")[0]
    if kind == "pkg":
        return ["TRIBdev-dtrace-toolkit"]
    paths = [row[0] for row in table("paths.tsv.gz") if row[1][1:] == "g"]
    lists = {one: [path for path in paths if path.startswith(top)] for one, top in tops.items()}
    return [f"/{path}" for path in lists[kind] if kind == "lib" or path not in lists["lib"]]


def _described(line: Line) -> sunelf.Object:
    """Return the object that a row of the table describes. libc is never lazy (libld clears it)."""
    return sunelf.Object(
        bits=int(line.bits),
        interpreter=_text(line.interpreter),
        soname=_text(line.soname),
        needs=[
            sunelf.Need(name, sunelf.LAZY if line.lazy == "lazy" and name != "libc.so.1" else 0)
            for name in _list(line.needed)
        ],
        filters=[(kind, name) for kind, _, name in (one.partition(":") for one in _list(line.filters))],
        runpath=_text(line.runpath),
        imports=imports().get(line.path, ()),
        tail=line.path.encode(),
    )


def _supposed(path: str) -> sunelf.Object:
    """Return an object for a path that the table does not know: it needs libc, as nearly all do."""
    bits = 64 if re.search(r"/(amd64|64)/", path) else 32
    library = _LIBRARY.fullmatch(path)
    interpreter = ("/lib" if path.startswith("/sbin/") else "/usr/lib") + ("/amd64" if bits == 64 else "")
    return sunelf.Object(
        bits=bits,
        interpreter=None if library else f"{interpreter}/ld.so.1",
        soname=posixpath.basename(path) if library and library[2] else None,
        needs=[sunelf.Need("libc.so.1")],
        imports=imports().get(path, ()),
        tail=path.encode(),
    )


def _text(column: str) -> str | None:
    return None if column == "-" else column


def _list(column: str) -> Iterator[str]:
    return (one for one in column.split(",") if one != "-")


class Owners:
    """Gives files to the users and groups of the global zone, by their numbers; only root can."""

    def __init__(self, uids: dict[str, int], gids: dict[str, int]) -> None:
        self.uids, self.gids = uids, gids
        self._able = os.geteuid() == 0

    def give(self, place: str | int, owner: str, group: str) -> None:
        """Give a file, by path or descriptor, to an owner and group by name."""
        if self._able:
            os.chown(place, self.uids[owner], self.gids[group])


@cache
def owners() -> Owners:
    """Return the users and groups of the global zone."""
    ids = [(kind, name, int(number)) for kind, name, number, _ in table("ids.tsv")]
    return Owners(
        {name: number for kind, name, number in ids if kind == "user"},
        {name: number for kind, name, number in ids if kind == "group"},
    )


def write(place: str, data: bytes, mode: int, owners: Owners, owner: str, group: str) -> os.stat_result:
    """Write a new file with its mode, owner and a time that depends on its path; return its status."""
    descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, data)
        owners.give(descriptor, owner, group)
        os.fchmod(descriptor, mode)
        seconds = _MIDDLE_AGE + crc32(data) % 1_000_000
        os.utime(descriptor, (seconds, seconds))
        return os.fstat(descriptor)
    finally:
        os.close(descriptor)


def finish(root: Path) -> None:
    """Add what no package brings: directories of pools, and the catalogs that zap has fetched."""
    for name in ("export", "rpool", "zones"):
        (root / name).mkdir(mode=0o755)
    repositories = root / "etc/zap/repositories"
    repositories.mkdir(parents=True)
    packages = {package for _, packages in table("overlays.tsv") for package in packages.split()}
    catalog = (
        f"{package}|0.38|SUNWcs|1000|{crc32(package.encode()):032x}|\n" for package in sorted(packages)
    )
    (repositories / "tribblix.catalog").write_text("".join(catalog))
    (repositories / "tribblix.aliases").write_text("nginx|TRIBblix-nginx\nnode|TRIBv-node-v22\n")
