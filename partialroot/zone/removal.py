"""Removes a tree that may be hostile: follows no symlink, enters no mount, takes little at any depth."""

import errno
import os
import stat
from contextlib import suppress

from partialroot.nodes import FileType
from partialroot.observed import is_immutable
from partialroot.zone import fs, look

DEEP = 64


def remove(at: int, name: str) -> None:
    """Remove whatever is at ``name``, a whole tree too; nothing to remove is fine.

    Symlinks are removed, never followed; a mount below is EBUSY, found before anything in it is touched.
    Trees of any depth take a bounded number of descriptors.
    """
    found = fs.status(at, name)
    if found is None:
        return
    if not stat.S_ISDIR(found.st_mode):
        fs.unlink(at, name)
        return
    with suppress(OSError):  # most often empty: what it is that stands in the way shows below
        fs.rmdir(at, name)
        return
    top = _open_to_empty(at, name)
    try:
        _Emptying(top).run()
    finally:
        os.close(top)
    fs.rmdir(at, name)


def refuse_undeletable(at: int) -> None:
    """Raise OSError if :func:`remove` could not remove all that is below the open directory ``at``.

    Asked while everything can still be put back: who made a file immutable meant it to stay.
    """
    for found in look.walk(at):
        if found.closed == look.OTHER_MOUNT:
            raise OSError(errno.EBUSY, "something is mounted there", found.path.relative)
        if found.node.type in (FileType.FILE, FileType.DIR) and _is_pinned(found):
            raise OSError(errno.EPERM, "immutable or append-only", found.path.relative)


def _is_pinned(found: look.Found) -> bool:
    """Whether a file or directory has the attribute that forbids its removal (or its entries')."""
    opened = look.open_file if found.node.type is FileType.FILE else look.open_directory
    fd = opened(found.parent, found.path.name, found.node)
    try:
        return is_immutable(fd)
    finally:
        os.close(fd)


class _Emptying:
    """Empties one directory. What lies deeper than DEEP is first moved up to the top, under another name."""

    def __init__(self, top: int) -> None:
        self._top = top
        self._mount = look.mount_id(top)
        self._moved = 0
        self._prefix = f".deep-{os.urandom(8).hex()}-"

    def run(self) -> None:
        moved = -1
        while moved != self._moved:
            moved = self._moved
            self._empty(self._top, 0)

    def _empty(self, fd: int, depth: int) -> None:
        os.lseek(fd, 0, os.SEEK_SET)  # else btrfs (Linux 6.5) hides what came since it was opened or read
        with os.scandir(fd) as found:
            children = [(child.name, child.is_dir(follow_symlinks=False)) for child in found]
        for name, is_directory in children:
            if not is_directory:
                fs.unlink(fd, name)
            elif depth < DEEP:
                self._descend(fd, name, depth)
            else:
                self._moved += 1
                fs.rename(fd, name, self._top, f"{self._prefix}{self._moved}")

    def _descend(self, fd: int, name: str, depth: int) -> None:
        below = _open_to_empty(fd, name)
        try:
            if look.mount_id(below) != self._mount:
                raise OSError(errno.EBUSY, "is a mount point", name)
            self._empty(below, depth + 1)
        finally:
            os.close(below)
        fs.rmdir(fd, name)


def _open_to_empty(at: int, name: str) -> int:
    """Return a descriptor of a directory whose entries we may remove, without root as well."""
    if os.geteuid() != 0:
        fs.allow_owner(at, name)
    return os.open(name, fs.DIRECTORY, dir_fd=at)
