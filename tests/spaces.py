"""Namespaces of mounts and of the network, and mounts, for tests."""

import ctypes
import os
import struct
from collections.abc import Callable
from fcntl import ioctl
from pathlib import Path
from socket import if_nameindex, socket

CLONE_NEWNS, CLONE_NEWNET = 0x20000, 0x40000000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
SIOCSIFFLAGS, IFF_UP = 0x8914, 1  # linux/sockios.h, linux/if.h

_outside: int | None = None  # the network that own_network() has left

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


def own_network() -> None:
    """Give this process (and all it starts) a network of its own, of which it has the loopback device.

    Tests that run at the same time use the same ports and addresses. Raises OSError if it may not.
    """
    global _outside
    libc = ctypes.CDLL(None, use_errno=True)
    _outside = os.open("/proc/self/ns/net", os.O_RDONLY)
    if libc.unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    with socket() as any_socket:
        ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", IFF_UP))


def outside() -> tuple[str, ...]:
    """Return what stands before a command that is to run in the network the tests were started in."""
    return () if _outside is None else ("nsenter", f"--net=/proc/{os.getpid()}/fd/{_outside}")


def network_devices() -> set[str]:
    """Return the names of this network's devices: /sys has those of the network it was mounted in."""
    return {name for _, name in if_nameindex()}


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
