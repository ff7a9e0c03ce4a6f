"""What is found in a source, and why it is wanted: closures speak of nothing else.

They are frozen, and NamedTuples, like those of ``model``; but that has thirty of them, and what needs none of
those is spared the time to define them, which is that of finding what a program needs.
"""

import os
import stat
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

NOTHING: Mapping[str, str] = MappingProxyType({})
NO_XATTRS: tuple[tuple[str, bytes], ...] = ()


class FileType(StrEnum):
    """What lstat(2) can find."""

    FILE = "file"
    DIR = "dir"
    SYMLINK = "symlink"
    FIFO = "fifo"
    SOCKET = "socket"
    CHAR = "char"
    BLOCK = "block"

    @classmethod
    def of(cls, mode: int) -> "FileType":
        """Return the type in ``st_mode``; a kind of another system (a door) counts as a device."""
        return _TYPES.get(stat.S_IFMT(mode), cls.CHAR)


_TYPES = {
    stat.S_IFREG: FileType.FILE,
    stat.S_IFDIR: FileType.DIR,
    stat.S_IFLNK: FileType.SYMLINK,
    stat.S_IFIFO: FileType.FIFO,
    stat.S_IFSOCK: FileType.SOCKET,
    stat.S_IFCHR: FileType.CHAR,
    stat.S_IFBLK: FileType.BLOCK,
}


class Node(NamedTuple):
    """What lstat(2) says of one path. ``mode`` is the 12 permission bits; times are nanoseconds."""

    type: FileType
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    ctime_ns: int
    dev: int
    ino: int
    nlink: int
    target: str | None = None

    @classmethod
    def of(cls, found: os.stat_result, target: str | None = None) -> "Node":
        """Return what lstat(2) or fstat(2) ``found``; ``target`` is a symlink's."""
        mode = found.st_mode
        return cls(
            _TYPES.get(mode & 0o170000, FileType.CHAR),
            mode & 0o7777,
            found.st_uid,
            found.st_gid,
            found.st_size,
            found.st_mtime_ns,
            found.st_ctime_ns,
            found.st_dev,
            found.st_ino,
            found.st_nlink,
            target,
        )


class Content(NamedTuple):
    """What lstat(2) does not say of a regular file: SHA-256 (hex), xattrs by name, chattr +i."""

    sha256: str
    xattrs: tuple[tuple[str, bytes], ...] = NO_XATTRS
    immutable: bool = False


class Reason(NamedTuple):
    """Why something is in the zone.

    ``origin`` is either another path of the zone, whose own reasons continue the chain, or the place
    in a profile where the chain ends: ``node.toml:3``.
    """

    rule: str
    origin: str


class Item(NamedTuple):
    """One wish of a profile and where it is written: ``node.toml:3``."""

    text: str
    where: str
