"""The mount table of the machine, and the commands that change it: mount -F TYPE, umount."""

import json
import os
import socket
import stat
import struct
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

MNTTAB = Path("/etc/mnttab")
# Which mounts are stand-ins: Linux shows a bind for a lofs, and knows no ctfs.
REGISTER = Path("/var/run/mounts.json")
BOOTED = Path("/var/run/booted")  # the dataset that plays /
ZFS_SOCKET = "/var/run/zfs/zfs_socket"
REAL_MOUNT, REAL_UMOUNT = "/usr/bin/mount", "/usr/bin/umount"
FAILED = 111  # what mount(8) of lofs exits with


class Mounted(NamedTuple):
    """One line of the table."""

    special: str
    point: str
    type: str
    options: str


class MountError(Exception):
    """A mount or umount is refused."""


def table() -> list[Mounted]:
    """Return what is mounted, in the order it was."""
    stand_ins = _register()
    found = []
    with open("/proc/self/mountinfo") as lines:
        for line in lines:
            left, right = line.rstrip("\n").split(" - ")
            point = left.split(" ")[4].encode().decode("unicode_escape")
            kind, special = right.split(" ")[:2]
            known = next((one for one in stand_ins if one.point == point), None)
            if known:
                stand_ins.remove(known)
            options = left.split(" ")[5].split(",")[0]
            if point == "/" and BOOTED.exists():
                known = Mounted(BOOTED.read_text().strip(), "/", "zfs", "rw,dev=1")
            found.append(known or Mounted(special, point, kind.removeprefix("fuse."), options))
    return found


def write_mnttab() -> None:
    """Write /etc/mnttab, which is a file system of its own on illumos and always current."""
    lines = [f"{one.special}\t{one.point}\t{one.type}\t{one.options}\t1700000000\n" for one in table()]
    MNTTAB.write_text("".join(lines))
    MNTTAB.chmod(0o444)


def mounts_below(directory: str) -> list[str]:
    """Return the mount points strictly below a directory, as zonecfg_find_mounts: by the text of the path."""
    inside = f"{directory}/"
    return [
        one.point
        for one in table()
        if one.point.startswith(inside) and not one.point.startswith(f"{inside}.zfs/")
    ]


def mounted_at(point: str) -> Mounted | None:
    """Return what is mounted last at a path."""
    return next((one for one in reversed(table()) if one.point == point), None)


def mount(kind: str, special: str, point: str, options: str = "", *, overlay: bool = False) -> None:
    """Mount as ``/usr/lib/fs/TYPE/mount -o OPTIONS SPECIAL POINT`` does; MountError if it would fail."""
    if not os.path.isabs(point) or not os.path.exists(point):
        raise MountError(f"mount: {point}: No such file or directory")
    if mounted_at(point) and not overlay:
        raise MountError(f"mount: {special} is already mounted or {point} is busy")
    words = options.split(",")
    if kind == "zfs":
        _mount_zfs(special, point)
    elif kind == "lofs":
        _mount_lofs(special, point, words)
    else:
        _mount_stand_in(kind, point)
    write = "ro" if "ro" in words else "rw"
    kept = [word for word in words if word not in ("", "ro", "rw")]
    _remember(Mounted(special, point, kind, ",".join([write, *kept, "dev=1"])))
    write_mnttab()


def umount(point: str) -> None:
    """Unmount what is mounted last at a path; MountError when it is busy or not mounted."""
    try:
        _run(REAL_UMOUNT, point)
    finally:
        standing = [one.point for one in table()]
        register = _register()
        while [one.point for one in register].count(point) > standing.count(point):
            register.remove(next(one for one in reversed(register) if one.point == point))
        REGISTER.write_text(json.dumps(register))
        write_mnttab()


def _mount_zfs(dataset: str, point: str) -> None:
    """Have zfs-fuse mount a dataset: what its own zfs command asks of it, which refuses legacy ones."""
    name, place = dataset.encode(), point.encode()
    request = struct.pack("<I4xIIiI8x", 6, len(name), len(place), 0, 0)
    with socket.socket(socket.AF_UNIX) as daemon:
        daemon.connect(ZFS_SOCKET)
        daemon.sendall(request + name + place)
        (error,) = struct.unpack("<I", daemon.recv(4))
    if error:
        raise MountError(f"cannot mount '{dataset}': {os.strerror(error)}")


def _mount_lofs(special: str, point: str, words: list[str]) -> None:
    """Bind: the source's symlinks are followed, its submounts shown, and read-only goes for all of them."""
    source = os.path.realpath(special)
    if not os.path.exists(source):
        raise MountError(f"mount: {special}: No such file or directory")
    _run(REAL_MOUNT, "--bind" if "nosub" in words else "--rbind", source, point)
    flags = [linux for word, linux in {"ro": "ro", "nodevices": "nodev"}.items() if word in words]
    for place in [point, *mounts_below(point)] if flags else []:
        _run(REAL_MOUNT, "-o", ",".join(["remount", "bind", *flags]), place)


def _mount_stand_in(kind: str, point: str) -> None:
    """Mount something for a file system that only illumos has: a tmpfs; on a file, an empty file."""
    if kind == "proc":
        _run(REAL_MOUNT, "-t", "proc", "proc", point)
    elif stat.S_ISDIR(os.stat(point).st_mode):
        _run(REAL_MOUNT, "-t", "tmpfs", "none", point)
        if kind == "dev":
            for name, minor in (("null", 3), ("zero", 5)):
                os.mknod(f"{point}/{name}", stat.S_IFCHR | 0o666, os.makedev(1, minor))
    elif kind in ("mntfs", "sharefs"):
        _run(REAL_MOUNT, "--bind", str(MNTTAB), point)
    else:
        raise MountError(f"mount: {point}: Not a directory")


def _register() -> list[Mounted]:
    return [Mounted(*one) for one in json.loads(REGISTER.read_text())] if REGISTER.exists() else []


def _remember(one: Mounted) -> None:
    REGISTER.write_text(json.dumps([*_register(), one]))


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise MountError(done.stderr.strip())


def main_mount(argv: list[str]) -> int:
    """``mount [-F TYPE] [-O] [-r] [-o OPTIONS] SPECIAL POINT``"""
    kind, overlay, words = "zfs", False, list(argv)
    options: list[str] = []
    while words and words[0].startswith("-"):
        flag = words.pop(0)
        if flag == "-O":
            overlay = True
        elif flag == "-r":
            options.append("ro")
        elif flag == "-F":
            kind = words.pop(0)
        elif flag == "-o":
            options.append(words.pop(0))
        else:
            print(f"mount: unknown option {flag}", file=sys.stderr)
            return 1
    try:
        special, point = words
        mount(kind, special, point, ",".join(options), overlay=overlay)
    except (MountError, ValueError) as error:
        print(error, file=sys.stderr)
        return FAILED
    return 0


def main_umount(argv: list[str]) -> int:
    """``umount POINT``"""
    try:
        umount(argv[-1])
    except MountError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def main_mnttab(argv: list[str]) -> int:
    """Bring /etc/mnttab up to date."""
    del argv
    write_mnttab()
    return 0
