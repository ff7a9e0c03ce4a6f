"""Mount namespaces and mounts, for tests."""

import ctypes
import os
from collections.abc import Callable
from pathlib import Path

CLONE_NEWNS = 0x20000
MS_REC, MS_PRIVATE = 0x4000, 0x40000

LoopFs = Callable[..., Path]
"""What the fixture ``loop_fs`` gives: (kind, size="", options="") -> the top of a new file system."""


def own_mount_namespace() -> None:
    """Give this process (and all it starts) a mount namespace of its own that tells the host's nothing.

    Whatever the tests mount goes with the last of their processes. Raises OSError if it may not.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    for failed in (
        libc.unshare(CLONE_NEWNS),
        libc.mount(b"none", b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None),
    ):
        if failed:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def mount_point(place: str) -> str:
    """Return where the mount that holds a path is mounted."""
    path = os.path.realpath(place)
    return max((one for one in _points() if f"{path}/".startswith(f"{one.rstrip('/')}/")), key=len)


def mounts_below(place: Path) -> list[str]:
    """Return the mount points strictly below a directory, the last mounted first."""
    top = f"{os.path.realpath(place)}/"
    return [point for point in reversed(_points()) if point.startswith(top)]


def _points() -> list[str]:
    """Return all mount points, octal escapes undone, in the order they were mounted."""
    with open("/proc/self/mountinfo", "rb") as lines:
        return [line.split()[4].decode("unicode_escape").encode("latin-1").decode() for line in lines]
