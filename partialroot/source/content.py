"""What lstat(2) does not say of files: SHA-256, extended attributes, the immutable flag.

What was measured is remembered, so that a second run reads nothing.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from errno import ENODATA, ENOTSUP

from partialroot import observed
from partialroot.errors import SourceError
from partialroot.nodes import NO_XATTRS, Content, Node
from partialroot.paths import RootPath
from partialroot.source import halves, memory
from partialroot.source.tree import Tree

_CHUNK = 1 << 20
MANY = 500
"""So many files are worth a second process to read half of them."""

_LARGE = 8 << 20  # bytes
KIND = memory.kind("content", Content._fields)
Fields = tuple[str, tuple[tuple[str, bytes], ...], bool]


def measure(tree: Tree, nodes: Iterable[tuple[RootPath, Node]]) -> dict[RootPath, Content]:
    """Return the content of regular files, given by canonical path and what lstat(2) said of them.

    Files that may not be read are left out and noted in ``tree.unreadable``. Raises SourceError for one
    that is no longer what lstat(2) said, or changes while it is read. Every inode is read once, and none
    whose content ``tree`` recalls.
    """
    contents: dict[RootPath, Content] = {}
    unknown: dict[tuple[int, int], list[tuple[RootPath, Node]]] = {}
    for path, node in nodes:
        fields = tree.recall(node, KIND)
        if fields is None:
            unknown.setdefault((node.dev, node.ino), []).append((path, node))
        else:
            contents[path] = Content(*fields)
    firsts = [twins[0] for twins in unknown.values()]
    for twins, fields in zip(unknown.values(), _measure_all(tree, firsts), strict=True):
        path, node = twins[0]
        if fields is None:
            tree.unreadable.add(path)
        else:
            tree.memory.put_of(node, KIND, fields)
            contents.update(dict.fromkeys((path for path, _ in twins), Content(*fields)))
    return contents


def _measure_all(tree: Tree, files: Sequence[tuple[RootPath, Node]]) -> list[Fields | None]:
    """Measure with two processors, unless that takes longer to begin with than it saves."""

    def some(files: Sequence[tuple[RootPath, Node]]) -> list[Fields | None]:
        return [_measure(tree, path, node) for path, node in files]

    much = len(files) > MANY or sum(node.size for _, node in files) > _LARGE
    return halves.halved(some, files) if much and halves.is_useful() else some(files)


def _measure(tree: Tree, path: RootPath, node: Node) -> Fields | None:
    """Read one file; return the fields of a Content, None if it may not be read."""
    try:
        descriptor = tree.open_node(path, node)
    except SourceError:
        if path in tree.unreadable:
            return None
        raise
    try:
        return read_fields(descriptor, path, node, read_beginning(descriptor, node))
    except OSError as error:
        raise SourceError(f"cannot be read: {error.strerror}", path=path) from None
    finally:
        os.close(descriptor)


def read_beginning(descriptor: int, node: Node) -> bytes:
    """Read the first bytes of a file just opened: all of most files."""
    return os.read(descriptor, min(node.size + 1, _CHUNK))


def read_fields(descriptor: int, path: RootPath, node: Node, beginning: bytes) -> Fields:
    """Return the fields of the Content of an open file, of which ``beginning`` has been read already.

    Raises SourceError for one that is no longer what lstat(2) said.
    """
    fields = _sha256(descriptor, node.size, beginning), _xattrs(descriptor), observed.is_immutable(descriptor)
    after = os.fstat(descriptor)
    if (after.st_size, after.st_mtime_ns) != (node.size, node.mtime_ns):
        raise SourceError("changed while it was read", path=path, hint="run the command again")
    return fields


def _sha256(descriptor: int, size: int, beginning: bytes) -> str:
    """Hash up to ``size`` bytes and one more: a file that grows without end is not followed."""
    digest, done = hashlib.sha256(beginning), len(beginning)
    if done == size < _CHUNK:  # as most files: that less came than was asked for is their end
        return digest.hexdigest()
    while done <= size and (chunk := os.read(descriptor, min(size - done + 1, _CHUNK))):
        digest.update(chunk)
        done += len(chunk)
    return digest.hexdigest()


def _xattrs(descriptor: int) -> tuple[tuple[str, bytes], ...]:
    """Return the attributes a copy carries (ACLs and capabilities are among them), sorted by name."""
    try:
        names = observed.xattr_names(descriptor)
    except OSError as error:
        if error.errno == ENOTSUP:
            return NO_XATTRS
        raise
    if not names:  # as most files
        return NO_XATTRS
    return tuple(_present((name, _xattr(descriptor, name)) for name in sorted(names)))


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
