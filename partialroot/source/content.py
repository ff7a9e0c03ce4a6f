"""What lstat(2) does not say of files: SHA-256, extended attributes, the immutable flag.

Hashing runs in threads (hashlib lets go of the interpreter's lock). What was measured is remembered, so that
a second run reads nothing.
"""

import hashlib
import os
import struct
from collections.abc import Iterable, Iterator
from errno import ENODATA, ENOTSUP

from partialroot.errors import SourceError
from partialroot.model import NO_XATTRS, Content, Node
from partialroot.paths import RootPath
from partialroot.source import memory
from partialroot.source.tree import Tree

_NOT_COPIED = ("trusted.", "btrfs.", "security.ima", "security.evm")
"""Attributes that belong to a file system or to one inode: a copy must not carry them."""

_CHUNK = 1 << 20
_BATCH = 32
_LITTLE = 8 << 20
_GETFLAGS = 0x80006601 | struct.calcsize("l") << 16  # FS_IOC_GETFLAGS of linux/fs.h
_IMMUTABLE = 0x10 | 0x20  # FS_IMMUTABLE_FL, FS_APPEND_FL: link(2) refuses both
_KIND = memory.kind("content", Content._fields)
_Measured = tuple[Node, Content]


def measure(tree: Tree, nodes: Iterable[tuple[RootPath, Node]], workers: int = 2) -> dict[RootPath, Content]:
    """Return the content of regular files, given by canonical path and what lstat(2) said of them.

    Files that may not be read are left out and noted in ``tree.unreadable``. Raises SourceError for one
    that is no longer what lstat(2) said, or changes while it is read. Every inode is read once, and none
    whose content ``tree.memory`` has.
    """
    files = list(nodes)
    inodes = {(node.dev, node.ino): (path, node) for path, node in files}
    known = ((inode, tree.memory.get_of(node, _KIND)) for inode, (_, node) in inodes.items())
    found = {inode: Content(*fields) for inode, fields in known if fields is not None}
    unknown = [file for inode, file in inodes.items() if inode not in found]
    for node, content in _measure_all(tree, unknown, workers):
        found[node.dev, node.ino] = content
        tree.memory.put_of(node, _KIND, tuple(content))
    return {path: found[node.dev, node.ino] for path, node in files if (node.dev, node.ino) in found}


def _measure_all(tree: Tree, files: list[tuple[RootPath, Node]], workers: int) -> Iterator[_Measured]:
    """Measure in threads, some files at a time: handing over a single one costs as much as reading it.

    A few bytes are read at once: to begin with threads takes longer (their import alone some 10 ms).
    """
    if sum(node.size for _, node in files) < _LITTLE:
        yield from filter(None, (_measure(tree, path, node) for path, node in files))
        return
    from concurrent.futures import ThreadPoolExecutor

    def some(start: int) -> list[_Measured | None]:
        return [_measure(tree, path, node) for path, node in files[start : start + _BATCH]]

    with ThreadPoolExecutor(workers) as pool:
        for batch in pool.map(some, range(0, len(files), _BATCH)):
            yield from (one for one in batch if one is not None)


def _measure(tree: Tree, path: RootPath, node: Node) -> _Measured | None:
    """Read one file; None if it may not be read."""
    try:
        with tree.opened(path, node) as descriptor:
            content = Content(_sha256(descriptor, node.size), _xattrs(descriptor), is_immutable(descriptor))
            after = os.fstat(descriptor)
    except SourceError:
        if path in tree.unreadable:
            return None
        raise
    if (after.st_size, after.st_mtime_ns) != (node.size, node.mtime_ns):
        raise SourceError("changed while it was read", path=path, hint="run the command again")
    return node, content


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
    if not names:  # as most files
        return NO_XATTRS
    wanted = sorted(name for name in names if not name.startswith(_NOT_COPIED))
    return tuple(_present((name, _xattr(descriptor, name)) for name in wanted))


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
