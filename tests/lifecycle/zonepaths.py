"""What zoneadm demands of a zonepath, makes of it and takes away again."""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from lifecycle import mounts, zones
from lifecycle.zones import Zone

ZFS = "/usr/sbin/zfs"
EXPECTED = {"dev", "lu", "root", "SUNWattached.xml"}


class Refused(Exception):  # noqa: N818 -- zoneadm's word
    """zoneadm does not go on; its reason."""


def validate(zone: Zone, *, attaching: bool = False) -> None:
    """Check the zonepath (validate_zonepath), making it if it is not there; Refused for what is wrong."""
    path = zone.zonepath
    if not path.startswith("/"):
        raise Refused(f"zonepath {path!r} is not an absolute path")
    if not os.path.lexists(path):
        Path(path).mkdir(parents=True, mode=0o700)
        Path(path).chmod(0o700)
    if os.path.realpath(path) != path or not os.path.isdir(path):
        raise Refused(f"{path}: symlink, or no canonical directory")
    os.chown(path, 0, 0)
    Path(path).chmod(0o700)
    parent = os.stat(os.path.dirname(path))
    if parent.st_uid != 0 or parent.st_mode & 0o022 or parent.st_mode & 0o700 != 0o700:
        raise Refused(f"{os.path.dirname(path)} must be root's alone to write")
    for other in zones.all_zones():
        if other.name != zone.name and other.state != "configured" and _overlap(path, other.zonepath):
            raise Refused(f"{path} overlaps zone {other.name}")
    if zone.state == "configured" and not attaching and os.path.lexists(zone.root):
        _validate_old_root(zone)


def _validate_old_root(zone: Zone) -> None:
    """A root that is there before the installation: of a detached zone, or one that may be used."""
    if os.path.lexists(f"{zone.zonepath}/SUNWdetached.xml"):
        raise Refused(f"{zone.root} exists, the zone was detached: attach it")
    found = os.lstat(zone.root)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != 0 or stat.S_IMODE(found.st_mode) != 0o755:
        raise Refused(f"{zone.root} is no directory of root with mode 0755")


def _overlap(one: str, other: str) -> bool:
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")


def dataset_at(path: str) -> str | None:
    """Return the dataset that is mounted exactly there (path2name)."""
    found = mounts.mounted_at(path)
    return found.special if found and found.type == "zfs" else None


def create_dataset(zone: Zone) -> None:
    """Make the zonepath a dataset if its parent is one (create_zfs_zonepath); a failure is only told."""
    parent = dataset_at(os.path.dirname(zone.zonepath))
    if parent is None or dataset_at(zone.zonepath):
        return
    name = f"{parent}/{os.path.basename(zone.zonepath)}"
    done = subprocess.run(
        [ZFS, "create", "-o", "sharenfs=off", name], capture_output=True, text=True, check=False
    )
    if done.returncode:
        print(f"cannot create ZFS dataset {name}: {done.stderr}", file=sys.stderr)
    Path(zone.zonepath).chmod(0o700)
    mounts.write_mnttab()


def clean_up(zonepath: str) -> bool:
    """Remove what an installation left (cleanup_zonepath): mounts are not looked at, rm crosses them."""
    there = set(os.listdir(zonepath))
    if there - EXPECTED:
        print(f"WARNING: {zonepath} contains additional user data", file=sys.stderr)
        return _rm(f"{zonepath}/{name}" for name in sorted(there & EXPECTED))
    dataset = dataset_at(zonepath)
    if dataset is None:
        return _rm([zonepath])
    if subprocess.run([ZFS, "destroy", dataset], capture_output=True).returncode == 0:
        if os.path.isdir(zonepath):
            os.rmdir(zonepath)
        return True
    return _rm(f"{zonepath}/{name}" for name in sorted(there))


def _rm(paths: Iterator[str] | list[str]) -> bool:
    words = list(paths)
    return not words or subprocess.run(["/bin/rm", "-rf", *words]).returncode == 0


def rename_dataset(dataset: str, zonepath: str) -> None:
    """Let a zonepath's dataset follow it (move_func)."""
    parent = dataset_at(os.path.dirname(zonepath))
    if parent is None:
        raise Refused(f"{os.path.dirname(zonepath)} is no dataset")
    new = f"{parent}/{os.path.basename(zonepath)}"
    text = subprocess.run(
        [ZFS, "get", "-H", "-r", "-o", "name", "-s", "local", "zoned", dataset],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    zoned = text.splitlines()  # zfs-fuse does not rename what has such below it
    for name in zoned:
        subprocess.run([ZFS, "set", "zoned=off", name], check=True)
    subprocess.run([ZFS, "rename", dataset, new], check=True)
    for name in zoned:
        subprocess.run([ZFS, "set", "zoned=on", name.replace(dataset, new, 1)], check=True)
    mounts.write_mnttab()
