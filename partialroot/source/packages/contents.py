"""The contents file of SVR4 packages: a line for each installed path (contents(5), libpkg's srchcfile.c).

/usr/bin/login f none 4555 root bin 30732 44241 1700000000 SUNWcs
/sbin/sh=../usr/bin/i86/ksh93 s none TRIBshell-ksh93
/etc d none 0755 root sys SUNWcs *TRIBpackage-svr4:none
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from partialroot.errors import SourceError

# How many fields stand between the type and the packages: the class, then what the type has (pkgserv.c).
_FIELDS = {
    **dict.fromkeys("?", 0),
    **dict.fromkeys("sl", 1),
    **dict.fromkeys("dxp", 4),
    **dict.fromkeys("cb", 6),
    **dict.fromkeys("fev", 7),
}
_MARKER = "###Marker"
_BLANKS = re.compile(r"[ \t]+")
_PATH = re.compile(r"/[^ \t=]*")
_PACKAGE = re.compile(r"[-+*~!%@#]?(?P<name>[A-Za-z0-9][A-Za-z0-9+._-]*)\\?(:[^ ]*)?")
_NUMBER = re.compile(r"[0-9]{1,20}")
_MODE = re.compile(r"[0-7]{1,6}")


class Entry(NamedTuple):
    """An installed path. ``kind`` is one of f e v d x s l p c b, or ? where it is not known.

    e is a file to be edited, v one that changes by itself, x a directory of one package alone. ``target`` is
    that of a symlink or hard link. A regular file has ``size`` in bytes, ``checksum`` (16 bits, module sysv)
    and ``mtime`` in seconds. None is what the database does not know.
    """

    path: str
    kind: str
    packages: tuple[str, ...]
    target: str | None = None
    category: str = "none"
    mode: int | None = None
    owner: str | None = None
    group: str | None = None
    size: int | None = None
    checksum: int | None = None
    mtime: int | None = None


def index(text: str, where: str) -> dict[str, str]:
    """Return the lines of a contents file by their paths; of two for one path the first counts (pkgserv.c).

    Raises SourceError, naming the file ``where``.
    """
    lines: dict[str, str] = {}
    for number, line in _numbered(text):
        lines.setdefault(_path(line, number, where), line)
    return lines


def merge(lines: dict[str, str], log: str, where: str) -> None:
    """Make the changes that the package server has logged, but not yet merged into the contents file.

    Only what is before the last marker is complete (pkgserv.c, parse_log). Raises SourceError, naming the
    file ``where``.
    """
    complete = f"\n{log}".rpartition(f"\n{_MARKER}\n")[0]
    for number, line in _numbered(complete.removeprefix("\n")):
        change, path = line[0], _path(line[1:], number, where)
        if change not in "+=-":
            raise SourceError(f"line {number} is no change: {line[:60]!r}", path=where)
        if change == "-":
            lines.pop(path, None)
        else:
            lines[path] = line[1:]


def _numbered(text: str) -> Iterator[tuple[int, str]]:
    """Yield number and text of the lines that are neither empty nor comments."""
    return ((number, line) for number, line in enumerate(text.split("\n"), 1) if line and line[0] != "#")


def _path(line: str, number: int, where: str) -> str:
    found = _PATH.match(line)
    if found is None:
        raise SourceError(f"line {number} has no path where it should: {line[:60]!r}", path=where)
    return found[0]


def parse(line: str, where: str) -> Entry:
    """Return what a line says. Raises SourceError, naming the file ``where``."""
    name, *words = _words(line)
    path, equals, target = name.partition("=")
    kind = words[0] if words else ""
    count = _FIELDS.get(kind, len(words))
    try:
        if len(words) <= count or (equals and kind not in "sl"):
            raise ValueError
        packages = tuple(map(_package, words[count + 1 :]))
        return Entry(path, kind, packages, target or None, *_fields(kind, words[1 : count + 1]))
    except ValueError:
        raise SourceError(f"a line cannot be understood: {line[:80]!r}", path=where) from None


def packages(line: str, where: str) -> tuple[str, ...]:
    """Return the packages of a line, whatever else it says. Raises SourceError, naming the file ``where``."""
    words = _words(line)
    count = _FIELDS.get(words[1], len(words)) if len(words) > 1 else 0
    try:
        if len(words) < count + 2:
            raise ValueError
        return tuple(map(_package, words[count + 2 :]))
    except ValueError:
        raise SourceError(f"a line cannot be understood: {line[:80]!r}", path=where) from None


def _words(line: str) -> list[str]:
    """Return what stands between blanks: mostly single ones."""
    if "  " in line or "\t" in line or line[-1:] == " ":
        return _BLANKS.split(line.rstrip(" \t"))
    return line.split(" ")


def _fields(kind: str, words: list[str]) -> tuple[Any, ...]:
    """Return what stands between the type and the packages; a device's numbers are not kept."""
    category, *rest = words or ["none"]
    if kind in "cb":
        rest = rest[2:]
    if not rest:
        return (category,)
    mode, owner, group, *content = rest
    return category, _mode(mode), owner, group, *map(_number, content)


@lru_cache(maxsize=1 << 12)
def _package(word: str) -> str:
    """Return the name in a package's word, which may have a status before it, and a class behind it."""
    found = _PACKAGE.fullmatch(word)
    if found is None:
        raise ValueError
    return found["name"]


def _number(word: str) -> int | None:
    if word == "?":
        return None
    if not _NUMBER.fullmatch(word):
        raise ValueError
    return int(word)


@lru_cache(maxsize=1 << 12)
def _mode(word: str) -> int | None:
    if word == "?":
        return None
    if not _MODE.fullmatch(word):
        raise ValueError
    return int(word, 8)
