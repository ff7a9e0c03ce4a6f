"""A zone's files as auditors read them: mtree(5), and the p5m manifests of pkg(7)."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from partialroot.errors import ConflictError
from partialroot.nodes import FileType
from partialroot.paths import RootPath

_VISIBLE = re.compile(rb"[^!-~]|[\\#*?\[\]]")  # what mtree(5) has as a backslash and three octal digits
_PLAIN = re.compile(r"[^\s\"'\\]+")
_TYPES = {FileType.FILE: "file", FileType.DIR: "dir", FileType.SYMLINK: "link"}


class Listed(NamedTuple):
    """One path of a zone. ``sha256`` is set for files; ``twin`` is the same file's name listed before."""

    path: RootPath
    type: FileType
    mode: int
    uid: int
    gid: int
    size: int
    target: str | None = None
    sha256: str | None = None
    twin: RootPath | None = None


class Names(NamedTuple):
    """The names of owners, as the zone has them."""

    users: Mapping[int, str]
    groups: Mapping[int, str]


def mtree(listed: Iterable[Listed]) -> Iterator[str]:
    """Yield the lines of a specification that mtree -f checks a root against; times are not in it."""
    yield "#mtree"
    yield ". type=dir"
    for one in listed:
        words = [_mtree_name(one.path), f"type={_TYPES[one.type]}", f"uid={one.uid}", f"gid={one.gid}"]
        if one.type is FileType.SYMLINK:
            words.append(f"link={_mtree_name(one.target or '', top='')}")
        else:
            words.append(f"mode={one.mode:04o}")
        if one.type is FileType.FILE:
            words += [f"size={one.size}", f"sha256={one.sha256}"]
        yield " ".join(words)


def _mtree_name(text: str, top: str = ".") -> str:
    """Return a name with what would end it, or mean something, in octal."""
    data = text.encode("utf-8", "surrogateescape")
    return top + _VISIBLE.sub(lambda found: b"\\%03o" % found[0][0], data).decode("ascii")


def p5m(listed: Iterable[Listed], names: Names) -> Iterator[str]:
    """Yield the actions of a package with these files; owners that the zone has no name for are numbers.

    Raises ConflictError for a name with a line's end in it: what follows would be an action of its own.
    """
    for one in listed:
        path = _quoted(one.path.relative)
        if one.type is FileType.SYMLINK:
            yield f"link path={path} target={_quoted(one.target or '')}"
        elif one.twin:
            yield f"hardlink path={path} target={_quoted('/' + one.twin.relative)}"
        else:
            owner = _quoted(names.users.get(one.uid, str(one.uid)))
            group = _quoted(names.groups.get(one.gid, str(one.gid)))
            attributes = f"path={path} mode={one.mode:04o} owner={owner} group={group}"
            size = f" pkg.size={one.size}"
            yield f"dir {attributes}" if one.type is FileType.DIR else f"file {one.sha256} {attributes}{size}"


def _quoted(text: str) -> str:
    if _PLAIN.fullmatch(text):
        return text
    if text.splitlines() not in ([text], []):
        raise ConflictError("a p5m manifest cannot have this name", path=text, hint="one for mtree can")
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'


WRITERS: Mapping[str, Callable[[Iterable[Listed], Names], Iterator[str]]] = {
    "mtree": lambda listed, _: mtree(listed),
    "p5m": p5m,
}
