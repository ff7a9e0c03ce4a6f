"""What was looked at of this system while plans were made, so that it can be asked later whether it changed.

A plan follows from its request and from what was seen: what lstat(2) said of paths (that nothing is there,
too), the names in directories, the profiles' files, and what kind of process this is. All of it is noted
where it is read. Nothing else is imported here: to find that nothing changed must be quick.
"""

import os
import stat
import struct
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from partialroot import __version__

FORMAT = 2
MOST = 20_000
"""So many paths are noted; of more than that it cannot be told later whether they changed."""

_RECENT_NS, _COARSE_NS = 50_000_000, 2_000_000_000
"""What changed so shortly before it was looked at may change again without another time: one tick, or the
second or two that some file systems count in."""

_STATUS = ("Uid:", "Gid:", "Groups:", "CapEff:", "CapBnd:", "NoNewPrivs:", "Seccomp:")
_BLOCK = 1 << 20
_INT, _LONG = struct.calcsize("i"), struct.calcsize("l")
_GETFLAGS = 0x80006601 | _LONG << 16  # FS_IOC_GETFLAGS of linux/fs.h
_NO_FLAGS = bytes(_LONG)
_IMMUTABLE = 0x10 | 0x20  # FS_IMMUTABLE_FL, FS_APPEND_FL: link(2) refuses both

DAMAGED = (LookupError, TypeError, ValueError, AttributeError, RecursionError)
"""What comes of reading a document that we did not write, or only in part."""

Row = list[Any]
Sums = tuple[str, str, bool]
"""Of a file: its checksum, its :func:`attributes`, whether it is immutable."""


class Watch:
    """Notes what is looked at; keys are paths of the host."""

    def __init__(self) -> None:
        self.nodes: dict[str, Row | None] = {}
        self.lists: dict[str, Row] = {}
        self.files: dict[str, Row | None] = {}
        self.roots: dict[str, str] = {}
        self.is_spoilt = False

    def node(self, path: str, found: os.stat_result | None, target: str | None) -> None:
        """Note what lstat(2) said, None for nothing; ``target`` is a symlink's."""
        if path not in self.nodes and len(self.nodes) <= MOST:
            self.nodes[path] = None if found is None else _row(found, target)

    def names(self, path: str, names: Iterable[str], times: Row) -> None:
        """Note what is in a directory, and its :func:`times` before that was read."""
        if path not in self.lists and len(self.lists) <= MOST:
            self.lists[path] = [checksum("\0".join(sorted(names))), *times]

    def file(self, path: str) -> None:
        """Note what stat(2) says of a file, or of a directory of which only owner and mode count."""
        path = os.path.abspath(path)
        if path not in self.files:
            self.files[path] = _stat(path)

    def spoil(self) -> None:
        """Note that something was done that nobody can follow: a program of the source was run."""
        self.is_spoilt = True

    def root(self, path: str, real: str) -> None:
        """Note where a path leads."""
        self.roots[path] = real

    @property
    def is_complete(self) -> bool:
        """Whether all was noted."""
        return not self.is_spoilt and max(len(self.nodes), len(self.lists)) <= MOST

    def document(self, contents: Mapping[str, Sums]) -> dict[str, Any]:
        """Return all of it, of types that marshal knows; ``contents`` are those of files, by path."""
        for module in list(sys.modules.values()):  # our own code, as it may be changed where it lies
            if module.__name__.startswith(__package__) and getattr(module, "__file__", None):
                self.file(str(module.__file__))
        noted = {"nodes": self.nodes, "lists": self.lists, "files": self.files, "roots": self.roots}
        return {"format": FORMAT, "host": host(), "contents": contents, **noted}

    @property
    def seen(self) -> tuple[Any, ...]:
        """All that was noted up to now, of types that marshal knows: what :meth:`add` takes."""
        return self.nodes, self.lists, self.files, self.roots, self.is_spoilt

    def add(self, seen: tuple[Any, ...]) -> None:
        """Note what another process has seen as well."""
        *every, is_spoilt = seen
        every_of_mine: tuple[dict[str, Any], ...] = (self.nodes, self.lists, self.files, self.roots)
        for mine, theirs in zip(every_of_mine, every, strict=True):
            mine.update({path: one for path, one in theirs.items() if path not in mine})
        self.is_spoilt |= is_spoilt


current: Watch | None = None
"""Who notes what is looked at."""


@contextmanager
def watching() -> Iterator[Watch]:
    """Note what is looked at meanwhile."""
    global current
    before, current = current, Watch()
    try:
        yield current
    finally:
        current = before


# --- has anything changed? ----------------------------------------------------------------------------


class Found(NamedTuple):
    """What asking found: whether all is as it was noted, and whether times were brought up to date.

    ``nodes`` is what lstat(2) says now of the paths that are there.
    """

    holds: bool
    is_newer: bool
    nodes: dict[str, os.stat_result]


def ask(document: Mapping[str, Any]) -> Found:
    """Ask whether all is as it was noted in ``document``, in which times are brought up to date.

    Where only the time of the last change differs (another name of a file came or went) the content tells.
    """
    nodes: dict[str, os.stat_result] = {}
    is_newer = False
    try:
        for one in _checks(document, nodes):
            if one is None:
                return Found(False, False, {})
            is_newer |= one
    except DAMAGED:
        return Found(False, False, {})
    return Found(True, is_newer, nodes)


def _checks(document: Mapping[str, Any], nodes: dict[str, os.stat_result]) -> Iterator[bool | None]:
    """Yield None for what changed, True where only a time had to be brought up to date."""
    if document["format"] != FORMAT or document["host"] != host():
        yield None
    contents = document["contents"]
    for path, real in document["roots"].items():
        yield False if os.path.realpath(path) == real else None
    for path, row in document["files"].items():
        yield False if _stat(path) == row else None
    for path, row in document["nodes"].items():
        yield _check(path, row, contents.get(path), nodes)
    for path, row in document["lists"].items():
        yield _check_names(path, row)


def _check(path: str, row: Row | None, content: Sums | None, nodes: dict[str, os.stat_result]) -> bool | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None if row else False
    if row is None:
        return None
    nodes[path] = found
    now = _row(found, os.readlink(path) if row[8] is not None else None)
    if now == row and row[5]:
        return False
    if now[:5] != row[:5] or now[6:] != row[6:]:
        return None
    if content is None or tuple(content) != _content(path, found):
        return None
    row[5] = now[5]
    return True


def _check_names(path: str, row: Row) -> bool | None:
    now = times(path)
    if now == row[1:] and now[1]:
        return False
    try:
        names = os.listdir(path)
    except OSError:
        names = []
    if checksum("\0".join(sorted(names))) != row[0]:
        return None
    row[1:] = now
    return True


def _content(path: str, found: os.stat_result) -> Sums | None:
    """Return what is in a file that lstat(2) ``found``, None if it is not that any more."""
    import hashlib

    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError:
        return None
    try:
        if not os.path.samestat(os.fstat(fd), found):
            return None
        digest = hashlib.sha256()
        while block := os.read(fd, _BLOCK):
            digest.update(block)
        xattrs = {name: os.getxattr(fd, name) for name in xattr_names(fd)}
        return digest.hexdigest(), attributes(xattrs), is_immutable(fd)
    except OSError:
        return None
    finally:
        os.close(fd)


def xattr_names(fd: int) -> list[str]:
    """Return the names of a file's attributes that a copy carries: none of a file system or one inode."""
    if not hasattr(os, "listxattr"):  # illumos has none of Linux' kind
        return []
    own = ("trusted.", "btrfs.", "security.ima", "security.evm")
    return [name for name in os.listxattr(fd) if not name.startswith(own)]


def is_immutable(fd: int) -> bool:
    """Return whether chattr +i or +a is set; file systems without such flags have none set."""
    import fcntl

    try:
        flags = fcntl.ioctl(fd, _GETFLAGS, _NO_FLAGS)
    except OSError:
        return False
    return bool(int.from_bytes(flags[:_INT], sys.byteorder) & _IMMUTABLE)


def attributes(xattrs: Mapping[str, bytes]) -> str:
    """Return extended attributes as one text."""
    if not xattrs:
        return ""
    import json

    return json.dumps({name: value.hex() for name, value in xattrs.items()}, sort_keys=True)


def host() -> list[str]:
    """Return what of this process, its rights and its system decides how zones are made."""
    try:
        with open("/proc/self/status") as lines:
            rights = [line.strip() for line in lines if line.startswith(_STATUS)]
        rights.append(os.readlink("/proc/self/ns/user"))
    except OSError:
        rights = [str(os.geteuid()), str(os.getegid())]
    system = os.uname()
    code = os.path.dirname(__file__)  # of one version there may be two, one of them changed
    names = sys.getfilesystemencoding()
    return [__version__, code, sys.platform, names, system.release, system.machine, *rights]


# --- what is noted of one path ------------------------------------------------------------------------


def _row(found: os.stat_result, target: str | None) -> Row:
    """Return the fields that count; of a directory only owner, mode and which it is. A time of 0: too new."""
    is_file = stat.S_ISREG(found.st_mode)
    size, mtime, ctime = (found.st_size, found.st_mtime_ns, _settled(found)) if is_file else (0, 0, 1)
    return [found.st_mode, found.st_uid, found.st_gid, size, mtime, ctime, found.st_dev, found.st_ino, target]


def _settled(found: os.stat_result) -> int:
    coarse = found.st_ctime_ns % 1_000_000_000 == 0
    recent = time.time_ns() - (_COARSE_NS if coarse else _RECENT_NS)
    return found.st_ctime_ns if found.st_ctime_ns < recent else 0


def times(path: str) -> Row:
    """Return when what is in a directory was last changed; 0 for too shortly ago to be sure."""
    try:
        found = os.stat(path)
    except OSError:
        return [0, 1]
    return [found.st_mtime_ns, _settled(found)]


def _stat(path: str) -> Row | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    if stat.S_ISDIR(found.st_mode):
        return [found.st_mode, found.st_uid, found.st_gid, found.st_dev, found.st_ino]
    times = [found.st_size, found.st_mtime_ns, _settled(found)]
    return [found.st_mode, found.st_uid, found.st_gid, *times, found.st_dev, found.st_ino]


def checksum(text: str) -> str:
    """Return the SHA-256 of a text."""
    import hashlib  # the tree, which is imported for everything, notes what it sees

    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
