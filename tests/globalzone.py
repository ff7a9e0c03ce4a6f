"""A synthetic illumos global zone: the real path table of a Tribblix system, with files that are small.

``build(root)`` makes a part of one in a fraction of a second, ``build(root, small=False)`` all 22,000 paths.
The data are in tests/data/illumos (README there): types, modes, owners, links and packages of every path, and
class, needs, filters, interpreter and runpath of the ELF objects.
"""

import os
import posixpath
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import svr4_database
import zone_files
from zone_data import table

SMALL = frozenset(
    """
    SUNWcs SUNWcsd TRIBsys-library TRIBsys-lib-math TRIBsys-net TRIBsys-zones TRIBblix-zones TRIBshell-ksh93
    TRIBshell-bash TRIBgcc4runtime TRIBv-node-v22 TRIBblix-nginx TRIBcompress-bzip2 TRIBlib-zlib TRIBlib-pcre2
    TRIBlib-security-openssl TRIBnet-ssh TRIBsvc-net-ssh TRIBrelease-name
    """.split()  # noqa: SIM905 (easier to read)
)
"""What a small zone has: mvi's packages, those of node, nginx and sshd, and where the brands live."""


class Row(NamedTuple):
    """A path of the global zone. ``kind`` is the letter of the contents file: d f e s l.

    ``mark`` is g for what only a global zone may have, n for what only the others do; ``target`` is that of a
    symlink, or of a hard link, relative to the link's directory.
    """

    path: str
    kind: str
    mark: str
    packages: tuple[str, ...]
    mode: int = 0
    owner: str = ""
    group: str = ""
    target: str = ""


class Made(NamedTuple):
    """A path that was made, with the status and content of a regular file."""

    row: Row
    status: os.stat_result | None
    data: bytes


def rows() -> Iterator[Row]:
    """Yield all paths, sorted; what only non-global zones have is left out."""
    for path, kind, packages, *rest in table("paths.tsv.gz"):
        row = Row("/" + path, kind[0], kind[1:], tuple(packages.split()))
        if row.mark == "n":
            continue
        if row.kind in "sl":
            yield row._replace(target=rest[0])
        else:
            mode, owner, group = rest
            yield row._replace(mode=int(mode, 8), owner=owner, group=group)


def build(root: Path, *, small: bool = True, extra: Iterable[str] = ()) -> Path:
    """Make a global zone at ``root``, which must not exist, and return it.

    ``extra`` are names of further packages, or globs of paths (``/usr/lib/mdb/*``), for a small one. Without
    root the owners are those of the caller, who may write every directory.
    """
    chosen = _chosen(extra) if small else list(rows())
    root.mkdir(mode=0o755)
    owners = zone_files.owners()
    chosen.sort(key=lambda row: row.kind == "l")  # what hard links lead to comes first
    made = [Made(row, *_make(root, row, owners)) for row in chosen]
    svr4_database.write(root, sorted(made))
    zone_files.finish(root)
    return root


def _chosen(extra: Iterable[str]) -> list[Row]:
    """Return the paths of the small selection, with what hard links lead to and the directories above."""
    table = {row.path: row for row in rows()}
    globs = [one for one in extra if one.startswith("/")]
    packages = SMALL.union(one for one in extra if not one.startswith("/"))
    wanted = {
        row.path
        for row in table.values()
        if packages.intersection(row.packages)
        or row.path.startswith("/var/sadm")
        or any(fnmatchcase(row.path, glob) for glob in globs)
    }
    wanted.update(one.path for one in zone_files.objects().values() if one.path in table)
    wanted.update(_leads_to(table[path]) for path in list(wanted) if table[path].kind == "l")
    for path in list(wanted):
        while (path := posixpath.dirname(path)) != "/":
            wanted.add(path)
    return [row for path, row in table.items() if path in wanted]


def _leads_to(row: Row) -> str:
    """Return the path that a hard link leads to."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(row.path), row.target))


def _make(root: Path, row: Row, owners: zone_files.Owners) -> tuple[os.stat_result | None, bytes]:
    """Make one path; return the status and content of a regular file."""
    place = str(root) + row.path
    if row.kind == "s":
        os.symlink(row.target, place)
        return None, b""
    if row.kind == "l":
        os.link(str(root) + _leads_to(row), place)
        return None, b""
    if row.kind == "d":
        os.mkdir(place)
        owners.give(place, row.owner, row.group)
        os.chmod(place, row.mode if os.geteuid() == 0 else row.mode | 0o200)
        return None, b""
    data = zone_files.content(row.path, row.mode)
    return zone_files.write(place, data, row.mode, owners, row.owner, row.group), data
