"""Reading a tree that somebody hostile writes to meanwhile (P5).

Nothing is reached by a path of more than one component: every directory is opened below its parent,
following no symlink, and must be the inode, on the mount, that was seen there. Only regular files are ever
opened. So there are no loops, no way out of the root, and nothing that blocks.
"""

import os
import stat
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from errno import ENOTSUP, ESTALE
from typing import NamedTuple

from partialroot.nodes import NO_XATTRS, FileType, Node
from partialroot.paths import ROOT, RootPath
from partialroot.zone import fs
from partialroot.zone.dirs import Dirs

MAX_DEPTH = 256
"""A walk holds two descriptors for each level it is deep; below this it goes no deeper."""

OTHER_MOUNT = "another mount"
TOO_DEEP = f"deeper than {MAX_DEPTH}"
REPLACED = "replaced while it was looked at"

_FILE = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_PLACE: int = getattr(os, "O_PATH", _FILE) | os.O_NOFOLLOW | os.O_CLOEXEC
_BLOCK = 1 << 20


class Found(NamedTuple):
    """One entry of a walk.

    ``parent`` is the open directory that holds it; it is closed when the walk goes on. ``closed`` says why
    the walk cannot enter this directory, "" when it can.
    """

    path: RootPath
    node: Node
    parent: int
    closed: str = ""


class _Level:
    """A directory that a walk is in."""

    def __init__(self, path: RootPath, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor
        self.entries = os.scandir(descriptor)

    def next(self) -> Found | None:
        """Return the next entry; None when there is none, or the directory was removed meanwhile."""
        try:
            for entry in self.entries:
                with suppress(OSError):  # it vanished or was replaced
                    return Found(self.path / entry.name, self._node(entry), self.descriptor)
        except FileNotFoundError:
            pass
        return None

    def _node(self, entry: "os.DirEntry[str]") -> Node:
        found = entry.stat(follow_symlinks=False)
        if stat.S_ISLNK(found.st_mode):
            return Node.of(found, os.readlink(entry.name, dir_fd=self.descriptor))
        return Node.of(found)

    def close(self) -> None:
        self.entries.close()
        os.close(self.descriptor)


def walk(root: int, enter: Callable[[Found], bool] = lambda found: True) -> Generator[Found, None, None]:
    """Yield everything below the open directory ``root``, parents first, in no order.

    A directory that ``enter`` (asked when the walk goes on) refuses is shown and not entered; so is one on
    another mount. What vanishes meanwhile is left out. Memory does not grow with the number of files.
    """
    mount = mount_id(root)
    levels = [_Level(ROOT, os.open(".", fs.DIRECTORY, dir_fd=root))]
    try:
        while levels:
            level = levels[-1]
            found = level.next()
            if found is None:
                levels.pop().close()
                continue
            if found.node.type is FileType.DIR:
                found = found._replace(closed=_descend(levels, found, mount))
            yield found
            if level is not levels[-1] and not enter(found):
                levels.pop().close()
    finally:
        for level in levels:
            level.close()


def _descend(levels: list[_Level], found: Found, mount: tuple[int, str]) -> str:
    """Add the level of a directory that was found; return why that cannot be, else ""."""
    if len(levels) > MAX_DEPTH:
        return TOO_DEEP
    try:
        descriptor = open_directory(found.parent, found.path.name, found.node)
    except OSError as error:
        return error.strerror or str(error)
    if mount_id(descriptor) != mount:
        os.close(descriptor)
        return OTHER_MOUNT
    levels.append(_Level(found.path, descriptor))
    return ""


def at(paths: Iterable[RootPath], root: int, mounted: frozenset[RootPath]) -> Iterator[Found]:
    """Yield what is at ``paths`` below the open directory ``root``, parents first: nothing else is looked at.

    ``mounted`` are the paths where something is mounted; what is below them is left out, as by a walk.
    """
    hidden = tuple(f"{one}/" for one in mounted)
    with Dirs(root) as dirs:
        for path in sorted(paths):
            if path.startswith(hidden):
                continue
            try:
                parent = dirs.fd(path.parent)
                node = _node_of(parent, path.name)
            except OSError:  # it is missing, or what should hold it is no directory
                continue
            is_other = path in mounted and node.type is FileType.DIR
            yield Found(path, node, parent, OTHER_MOUNT if is_other else "")


def _node_of(parent: int, name: str) -> Node:
    found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    return Node.of(found, os.readlink(name, dir_fd=parent) if stat.S_ISLNK(found.st_mode) else None)


def mount_id(fd: int) -> tuple[int, str]:
    """Return what tells apart what is mounted: on Linux its number (proc(5), fdinfo), else device and type.

    A loopback mount of illumos shows the device of what lies below it, but its own type (zones facts 4.1).
    """
    found = os.fstat(fd)
    kind: str | None = getattr(found, "st_fstype", None)
    if kind is not None:
        return found.st_dev, kind
    try:
        info = os.open(f"/proc/self/fdinfo/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return found.st_dev, ""
    try:
        _, is_known, rest = os.read(info, 1024).partition(b"mnt_id:")
    finally:
        os.close(info)
    return (int(rest.split(maxsplit=1)[0]), "mount") if is_known else (found.st_dev, "")


def open_directory(parent: int, name: str, node: Node) -> int:
    """Open the directory that was seen as ``node`` below ``parent``; OSError when it is not that now."""
    return _same(os.open(name, fs.DIRECTORY, dir_fd=parent), node)


def open_file(parent: int, name: str, node: Node) -> int:
    """Open for reading the regular file that was seen as ``node`` below ``parent``.

    Raises OSError when it is not that now. Where O_PATH exists, what took its place is not opened at all:
    even an open(2) that does not block can rewind a tape.
    """
    place = _same(os.open(name, _PLACE, dir_fd=parent), node)
    if not hasattr(os, "O_PATH"):
        return place
    try:
        return os.open(f"/proc/self/fd/{place}", _FILE)
    finally:
        os.close(place)


def _same(descriptor: int, node: Node) -> int:
    """Return ``descriptor`` if it is of the inode and type in ``node``; else close it and raise OSError."""
    found = os.fstat(descriptor)
    if (found.st_dev, found.st_ino, FileType.of(found.st_mode)) == (node.dev, node.ino, node.type):
        return descriptor
    os.close(descriptor)
    raise OSError(ESTALE, REPLACED)


def xattrs(parent: int, name: str) -> tuple[tuple[str, bytes], ...]:
    """Return the extended attributes of what ``name`` is below ``parent``, sorted; OSError if it vanished."""
    if not hasattr(os, "listxattr"):
        return NO_XATTRS
    place = f"/proc/self/fd/{parent}/{name}"  # the last component is not followed, the others are ours
    try:
        names = os.listxattr(place, follow_symlinks=False)
    except OSError as error:
        if error.errno == ENOTSUP:
            return NO_XATTRS
        raise
    return tuple((name, os.getxattr(place, name, follow_symlinks=False)) for name in sorted(names))


def sha256(descriptor: int, size: int) -> str:
    """Return the SHA-256 of an open file of ``size`` bytes; "" when it has more or less by now."""
    from hashlib import sha256 as new

    total = new()
    while block := os.read(descriptor, min(_BLOCK, size + 1)):
        total.update(block)
        size -= len(block)
        if size < 0:
            break
    return "" if size else total.hexdigest()
