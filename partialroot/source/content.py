"""What lstat(2) does not say of files: SHA-256, extended attributes, the immutable flag.

Hashing runs in threads (hashlib lets go of the interpreter's lock). What was measured is remembered by
inode, size and times, so that a second run reads nothing.
"""

import hashlib
import json
import os
import struct
import time
from collections.abc import Iterable, Iterator
from errno import ENODATA, ENOTSUP
from typing import TYPE_CHECKING, NamedTuple

from partialroot.errors import SourceError
from partialroot.model import NO_XATTRS, Content, Node
from partialroot.paths import RootPath
from partialroot.source.memory import Memory
from partialroot.source.tree import Tree

if TYPE_CHECKING:
    import sqlite3

MOST_REMEMBERED = 500_000
"""Files the cache holds (some 100 bytes each); the ones measured first are forgotten first."""

_NOT_COPIED = ("trusted.", "btrfs.", "security.ima", "security.evm")
"""Attributes that belong to a file system or to one inode: a copy must not carry them."""

_CHUNK = 1 << 20
_BATCH = 32
_LITTLE = 8 << 20
_RECENT_NS = 2 * 10**9
_GETFLAGS = 0x80006601 | struct.calcsize("l") << 16  # FS_IOC_GETFLAGS of linux/fs.h
_IMMUTABLE = 0x10 | 0x20  # FS_IMMUTABLE_FL, FS_APPEND_FL: link(2) refuses both

_LOOK = "SELECT sha256, xattrs, immutable FROM content WHERE inode = ? AND state = ?"
_REMEMBER = "INSERT OR REPLACE INTO content (inode, state, sha256, xattrs, immutable) VALUES (?, ?, ?, ?, ?)"
_FORGET = "DELETE FROM content WHERE number <= (SELECT max(number) FROM content) - ?"
_UPDATE = "UPDATE content SET state = ? WHERE inode = ? AND state = ?"


class Measured(NamedTuple):
    """A file as it was when it was read."""

    node: Node
    content: Content


def measure(
    tree: Tree, nodes: Iterable[tuple[RootPath, Node]], cache: "ContentCache", workers: int = 2
) -> dict[RootPath, Content]:
    """Return the content of regular files, given by canonical path and what lstat(2) said of them.

    Files that may not be read are left out and noted in ``tree.unreadable``. Raises SourceError for one
    that is no longer what lstat(2) said, or changes while it is read. Every inode is read once.
    """
    files = list(nodes)
    inodes = {(node.dev, node.ino): (path, node) for path, node in files}
    found = cache.get(node for _, node in inodes.values())
    unknown = [file for inode, file in inodes.items() if inode not in found]
    fresh = list(_measure_all(tree, unknown, workers))
    cache.put(fresh)
    found.update({(node.dev, node.ino): content for node, content in fresh})
    return {path: found[node.dev, node.ino] for path, node in files if (node.dev, node.ino) in found}


def _measure_all(tree: Tree, files: list[tuple[RootPath, Node]], workers: int) -> Iterator[Measured]:
    """Measure in threads, some files at a time: handing over a single one costs as much as reading it.

    A few bytes are read at once: to begin with threads takes longer (their import alone some 10 ms).
    """
    if sum(node.size for _, node in files) < _LITTLE:
        yield from filter(None, (_measure(tree, path, node) for path, node in files))
        return
    from concurrent.futures import ThreadPoolExecutor

    def some(start: int) -> list[Measured | None]:
        return [_measure(tree, path, node) for path, node in files[start : start + _BATCH]]

    with ThreadPoolExecutor(workers) as pool:
        for batch in pool.map(some, range(0, len(files), _BATCH)):
            yield from (one for one in batch if one is not None)


def _measure(tree: Tree, path: RootPath, node: Node) -> Measured | None:
    """Read one file; None if it may not be read."""
    try:
        descriptor = tree.open_node(path, node)
    except SourceError:
        if path in tree.unreadable:
            return None
        raise
    try:
        before = Node.of(os.fstat(descriptor))
        content = Content(_sha256(descriptor, node.size), _xattrs(descriptor), is_immutable(descriptor))
        after = Node.of(os.fstat(descriptor))
    except OSError as error:
        raise SourceError(f"cannot be read: {error.strerror}", path=path) from None
    finally:
        os.close(descriptor)
    if not _same(node, after):
        raise SourceError("changed while it was read", path=path, hint="run the command again")
    return Measured(before, content)


def _same(one: Node, other: Node) -> bool:
    return (one.size, one.mtime_ns) == (other.size, other.mtime_ns)


def _sha256(descriptor: int, size: int) -> str:
    """Hash up to ``size`` bytes and one more: a file that grows without end is not followed."""
    digest = hashlib.sha256()
    done = 0
    while done <= size and (chunk := os.read(descriptor, min(size - done + 1, _CHUNK))):
        digest.update(chunk)
        done += len(chunk)
    return digest.hexdigest()


def _xattrs(descriptor: int) -> tuple[tuple[str, bytes], ...]:
    """Return the attributes a copy carries (ACLs and capabilities are among them), sorted by name."""
    if not hasattr(os, "listxattr"):  # illumos has none of Linux' kind
        return NO_XATTRS
    try:
        names = os.listxattr(descriptor)
    except OSError as error:
        if error.errno == ENOTSUP:
            return NO_XATTRS
        raise
    wanted = sorted(name for name in names if not name.startswith(_NOT_COPIED))
    return tuple(_present((name, _xattr(descriptor, name)) for name in wanted)) if wanted else NO_XATTRS


def _present(xattrs: Iterable[tuple[str, bytes | None]]) -> Iterator[tuple[str, bytes]]:
    return ((name, value) for name, value in xattrs if value is not None)


def _xattr(descriptor: int, name: str) -> bytes | None:
    """Return an attribute's value, None if it went meanwhile."""
    try:
        return os.getxattr(descriptor, name)
    except OSError as error:
        if error.errno in (ENODATA, ENOTSUP):
            return None
        raise


def is_immutable(descriptor: int) -> bool:
    """Return whether chattr +i or +a is set; file systems without such flags have none set."""
    from fcntl import ioctl

    try:
        flags = ioctl(descriptor, _GETFLAGS, bytes(struct.calcsize("l")))
    except OSError:
        return False
    return bool(struct.unpack_from("i", flags)[0] & _IMMUTABLE)


class ContentCache(Memory):
    """What earlier runs measured of files.

    An entry counts only while the inode's size, mtime and ctime are as they were.
    """

    schema = (
        "CREATE TABLE IF NOT EXISTS content (number INTEGER PRIMARY KEY,"
        " inode TEXT UNIQUE, state TEXT, sha256 TEXT, xattrs TEXT, immutable INT)"
    )

    def get(self, nodes: Iterable[Node]) -> dict[tuple[int, int], Content]:
        """Return by device and inode what is remembered of these files and still holds."""
        found: dict[tuple[int, int], Content] = {}

        def look(database: "sqlite3.Connection") -> None:
            database.execute("BEGIN")
            for node in nodes:
                row = database.execute(_LOOK, (_inode(node), _state(node))).fetchone()
                if row is not None:
                    found[node.dev, node.ino] = _content(*row)
            database.commit()

        return found if self.with_database(look) else {}

    def put(self, measured: Iterable[Measured]) -> None:
        """Remember what was measured, unless it is so new that a further change could look the same."""
        now = time.time_ns()
        rows = [
            (_inode(node), _state(node), content.sha256, _text(content.xattrs), int(content.immutable))
            for node, content in measured
            if abs(now - node.mtime_ns) > _RECENT_NS
        ]

        def remember(database: "sqlite3.Connection") -> None:
            database.executemany(_REMEMBER, rows)
            database.execute(_FORGET, (MOST_REMEMBERED,))
            database.commit()

        if rows:
            self.with_database(remember)

    def refresh(self, changes: Iterable[tuple[Node, Node]]) -> None:
        """Keep what is remembered of files whose ctime our own link(2) or unlink(2) changed.

        Each change is what lstat(2) said before and after. What was not valid before stays so.
        """
        rows = [
            (_state(new), _inode(old), _state(old))
            for old, new in changes
            if _inode(old) == _inode(new) and _same(old, new)
        ]

        def update(database: "sqlite3.Connection") -> None:
            database.executemany(_UPDATE, rows)
            database.commit()

        if rows:
            self.with_database(update)


def _inode(node: Node) -> str:
    return f"{node.dev}:{node.ino}"


def _state(node: Node) -> str:
    return f"{node.size} {node.mtime_ns} {node.ctime_ns}"


def _text(xattrs: tuple[tuple[str, bytes], ...]) -> str:
    return json.dumps([(name, value.hex()) for name, value in xattrs]) if xattrs else ""


def _content(sha256: str, xattrs: str, immutable: int) -> Content:
    """Make a Content of a row; ValueError or TypeError when that is not what we wrote."""
    bytes.fromhex(sha256)
    if not xattrs:
        return Content(sha256, NO_XATTRS, bool(immutable))
    pairs = tuple((str(name), bytes.fromhex(value)) for name, value in json.loads(xattrs))
    return Content(sha256, pairs, bool(immutable))
