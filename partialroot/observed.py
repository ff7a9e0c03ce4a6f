"""What was looked at of this system while plans were made, so that it can be asked later whether it changed.

A plan follows from its request and from what was seen: what lstat(2) said of paths (that nothing is there,
too), the names in directories, the profiles' files, and what kind of process this is. All of it is noted
where it is read. Nothing else is imported here: to find that nothing changed must be quick.
"""

import os
import stat
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from partialroot import __version__

FORMAT = 1
MOST = 20_000
"""So many paths are noted; of more than that it cannot be told later whether they changed."""

_RECENT_NS, _COARSE_NS = 50_000_000, 2_000_000_000
"""What changed so shortly before it was looked at may change again without another time: one tick, or the
second or two that some file systems count in."""

_STATUS = ("Uid:", "Gid:", "CapEff:", "CapBnd:", "NoNewPrivs:", "Seccomp:")
_BLOCK = 1 << 20

DAMAGED = (LookupError, TypeError, ValueError, AttributeError, RecursionError)
"""What comes of reading a document that we did not write, or only in part."""

Row = list[Any]


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
            self.lists[path] = [_digest("\0".join(sorted(names))), *times]

    def file(self, path: str) -> None:
        """Note what stat(2) says of a file, or of a directory of which only owner and mode count."""
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

    def document(self, contents: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
        """Return all of it as JSON has it; ``contents`` are checksum and attributes of files by path."""
        nodes = {path: row and [*row, *contents.get(path, (None, None))] for path, row in self.nodes.items()}
        noted = {"nodes": nodes, "lists": self.lists, "files": self.files, "roots": self.roots}
        return {"format": FORMAT, "host": host(), **noted}


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


def name_of(document: Mapping[str, Any]) -> str:
    """Return what tells observations apart, whenever they were made: change times are not part of it."""
    import json

    nodes = {path: row and [*row[:5], *row[6:]] for path, row in document["nodes"].items()}
    lists = {path: row[0] for path, row in document["lists"].items()}
    return _digest(json.dumps({**document, "nodes": nodes, "lists": lists}, sort_keys=True))


# --- has anything changed? ----------------------------------------------------------------------------


def holds(document: Mapping[str, Any]) -> tuple[bool, bool]:
    """Return whether all is as it was noted, and whether times in ``document`` were brought up to date.

    Where only the time of the last change differs (another name of a file came or went) the content tells.
    """
    try:
        if document["format"] != FORMAT or document["host"] != host():
            return False, False
        roots = all(os.path.realpath(path) == real for path, real in document["roots"].items())
        if not roots or any(_stat(path) != row for path, row in document["files"].items()):
            return False, False
        checked = [_check(path, row) for path, row in document["nodes"].items()]
        checked += [_check_names(path, row) for path, row in document["lists"].items()]
    except DAMAGED:
        return False, False
    return None not in checked, True in checked


def _check(path: str, row: Row | None) -> bool | None:
    """Return None for a path that changed, True for one of which only a time had to be brought up to date."""
    try:
        found = os.lstat(path)
    except OSError:
        found = None
    if row is None or found is None:
        return False if row is None and found is None else None
    now = _row(found, os.readlink(path) if stat.S_ISLNK(found.st_mode) else None)
    if now[:5] != row[:5] or now[6:9] != row[6:9]:
        return None
    if now[5] == row[5] and row[5]:
        return False
    if stat.S_ISREG(found.st_mode) and (row[9] is None or (row[9], row[10]) != _content(path, found)):
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
    if _digest("\0".join(sorted(names))) != row[0]:
        return None
    row[1:] = now
    return True


def _content(path: str, found: os.stat_result) -> tuple[str, str] | None:
    """Return checksum and attributes of a file that lstat(2) ``found``, None if it is not that any more."""
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
        return digest.hexdigest(), attributes({name: os.getxattr(fd, name) for name in xattr_names(fd)})
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
    return [__version__, code, sys.platform, system.release, system.machine, *rights]


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
    times = [found.st_size, found.st_mtime_ns, found.st_ctime_ns]
    return [found.st_mode, found.st_uid, found.st_gid, *times, found.st_dev, found.st_ino]


def _digest(text: str) -> str:
    import hashlib  # the tree, which is imported for everything, notes what it sees

    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
