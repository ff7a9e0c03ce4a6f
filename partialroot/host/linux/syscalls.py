"""The system calls that Python has no words for, by ctypes; each raises OSError with the kernel's errno.

They exist since Linux 5.12 (mount_setattr, the newest). Numbers and constants are those of
``include/uapi/linux/{mount,openat2,fcntl,fs}.h``; from 424 on, numbers are the same on every
architecture but Alpha.
"""

import os
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ctypes import _NamedFuncPointer

OPEN_TREE, MOVE_MOUNT, OPENAT2, MOUNT_SETATTR = 428, 429, 437, 442

AT_FDCWD, AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH = -100, 0x100, 0x1000
OPEN_TREE_CLONE = 1
MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH = 0x04, 0x40
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NODEV = 0x1, 0x4
MS_PRIVATE = 1 << 18
MNT_DETACH, UMOUNT_NOFOLLOW = 0x2, 0x8
RESOLVE_NO_XDEV, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH = 0x1, 0x2, 0x4, 0x8
FICLONE = 0x40049409
CLONE_NEWNET = 0x40000000


class _Calls(NamedTuple):
    """The functions of the C library, ready to be called with Python's int and bytes."""

    open_tree: "_NamedFuncPointer"
    mount_setattr: "_NamedFuncPointer"
    move_mount: "_NamedFuncPointer"
    openat2: "_NamedFuncPointer"
    umount2: "_NamedFuncPointer"
    syncfs: "_NamedFuncPointer"
    setns: "_NamedFuncPointer"


@cache
def _calls() -> _Calls:
    """Set the functions up, once."""
    from ctypes import CDLL, c_char_p, c_int, c_long, c_size_t, c_uint

    libc = CDLL(None, use_errno=True)

    def function(name: str, *arguments: type) -> "_NamedFuncPointer":
        made = libc[name]  # a new one each time, unlike libc.name
        made.argtypes, made.restype = arguments, c_long if name == "syscall" else c_int
        return made

    return _Calls(
        open_tree=function("syscall", c_long, c_int, c_char_p, c_uint),
        mount_setattr=function("syscall", c_long, c_int, c_char_p, c_uint, c_char_p, c_size_t),
        move_mount=function("syscall", c_long, c_int, c_char_p, c_int, c_char_p, c_uint),
        openat2=function("syscall", c_long, c_int, c_char_p, c_char_p, c_size_t),
        umount2=function("umount2", c_char_p, c_int),
        syncfs=function("syncfs", c_int),
        setns=function("setns", c_int, c_int),
    )


def _checked(result: int) -> int:
    """Return what a call returned; raise OSError if it failed."""
    if result < 0:
        from ctypes import get_errno

        error = get_errno()
        raise OSError(error, os.strerror(error))
    return result


def _words(*values: int) -> bytes:
    """Return 64-bit words in the machine's order: struct mount_attr, struct open_how."""
    from struct import pack

    return pack(f"={len(values)}Q", *values)


def open_tree(directory: int, path: bytes, flags: int) -> int:
    """Return a descriptor of a detached copy of the one mount at ``path``, without those below it."""
    flags |= OPEN_TREE_CLONE | os.O_CLOEXEC
    return _checked(_calls().open_tree(OPEN_TREE, directory, path, flags))


def mount_setattr(tree: int, attributes: int, propagation: int) -> None:
    """Set attributes (``MOUNT_ATTR_*``) and the propagation of the mount that ``tree`` is open on."""
    words = _words(attributes, 0, propagation, 0)
    _checked(_calls().mount_setattr(MOUNT_SETATTR, tree, b"", AT_EMPTY_PATH, words, len(words)))


def move_mount(tree: int, point: int) -> None:
    """Attach the mount that ``tree`` is open on at what ``point`` is open on: no path is looked up."""
    flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
    _checked(_calls().move_mount(MOVE_MOUNT, tree, b"", point, b"", flags))


def openat2(directory: int, path: bytes, flags: int, resolve: int) -> int:
    """Open ``path`` below ``directory``, looked up as ``resolve`` (``RESOLVE_*``) allows."""
    how = _words(flags | os.O_CLOEXEC, 0, resolve)
    return _checked(_calls().openat2(OPENAT2, directory, path, how, len(how)))


def unmount(path: bytes, flags: int) -> None:
    """Unmount what is mounted at ``path``; ``flags`` are umount2(2)'s."""
    _checked(_calls().umount2(path, flags))


def sync_system(fd: int) -> None:
    """Have everything of the file system that holds ``fd`` on the disk."""
    _checked(_calls().syncfs(fd))


def enter_network(namespace: int) -> None:
    """Move this thread, and what it starts, into the network namespace that a descriptor is open on."""
    _checked(_calls().setns(namespace, CLONE_NEWNET))


def clone_file(target: int, source: int) -> None:
    """Make ``target`` share the blocks of all of ``source`` (a reflink)."""
    from fcntl import ioctl

    ioctl(target, FICLONE, source)
