"""btrfs subvolumes and their snapshots, by ioctl(2) (``include/uapi/linux/btrfs.h``).

Each raises OSError; ENOTTY where the file system has none. An empty subvolume goes by rmdir(2) (Linux 4.18).
"""

import struct
from fcntl import ioctl

_VOL_ARGS_V2 = struct.Struct("=qQQ32s4040s")  # fd, transid, flags, unused, name
_SNAP_CREATE_V2, _SUBVOL_CREATE_V2 = 23, 24
_MAGIC, _WRITE = 0x94, 1


def create(at: int, name: str) -> None:
    """Make an empty subvolume below an open directory."""
    _do(_SUBVOL_CREATE_V2, at, name, 0)


def snapshot(source: int, at: int, name: str) -> None:
    """Make a subvolume that has all that the open subvolume ``source`` has, each file its own from now on.

    All that was written to the file system before is on the disk then: it ends its transaction.
    """
    _do(_SNAP_CREATE_V2, at, name, source)


def _do(number: int, at: int, name: str, source: int) -> None:
    arguments = bytearray(_VOL_ARGS_V2.pack(source, 0, 0, b"", name.encode()))
    ioctl(at, _WRITE << 30 | len(arguments) << 16 | _MAGIC << 8 | number, arguments, True)
