"""Datasets that zones' roots are clones of, each with the private layer of zones that have the same.

::

    PARENT                              the dataset that the zonepaths' datasets are made in
    PARENT/web, PARENT/web/ROOT/zbe     a zonepath's, and the zone's root: a clone of ...
    PARENT/partialroot-golden           mountpoint=legacy canmount=off
    PARENT/partialroot-golden/KEY       canmount=noauto: it is mounted only while it is filled
    PARENT/partialroot-golden/KEY@whole ... what was in it when all was written: so it is there, or is not

They lie beside the zonepaths' datasets, in the same pool and with the same encryption, where no zone has
anything to say, and where libbe looks for no roots. ZFS itself tells whether one is used: its snapshot has
clones, and cannot be destroyed then (zfs(8) does that with -R only, which is never said here).
"""

from contextlib import suppress

from partialroot.errors import ApplyError
from partialroot.host.illumos import commands, mnttab
from partialroot.host.illumos.commands import UMOUNT, ZFS, Run
from partialroot.host.illumos.zfs import Dataset, Zfs

CONTAINER, WHOLE = "partialroot-golden", "whole"
_FIXED = ("casesensitivity", "normalization", "utf8only", "encryption", "encryptionroot")
"""Properties that a clone has of its origin, not of where it is made; zfs-fuse does not know all of them."""


class Goldens:
    """The golden datasets beside one zonepath's dataset. The caller holds their lock."""

    def __init__(self, container: str, run: Run = commands.run) -> None:
        self.container = container
        self._run = run
        self._zfs = Zfs(run)

    @classmethod
    def beside(cls, dataset: str, run: Run = commands.run) -> "Goldens":
        """Return those that the zone may use whose zonepath's dataset is given."""
        return cls(f"{dataset.rpartition('/')[0]}/{CONTAINER}", run)

    def origin(self, key: str) -> str:
        """Return the snapshot that roots are cloned from."""
        return f"{self.container}/{key}@{WHOLE}"

    def has(self, key: str) -> bool:
        """Whether there is a golden dataset that is whole."""
        return self._zfs.exists(self.origin(key))

    def begin(self, key: str) -> str:
        """Make an empty golden dataset, and return its name; what was left of a half-made one goes first."""
        name = f"{self.container}/{key}"
        if not self._zfs.exists(self.container):
            self._zfs.create(self.container, {"mountpoint": "legacy", "canmount": "off"})
        elif self._zfs.exists(name):
            self._destroy(name)
        self._zfs.create(name, {"canmount": "noauto"})
        return name

    def finish(self, key: str) -> None:
        """Say that all is in it; it is not mounted any more."""
        self._zfs.snapshot(self.origin(key))

    def unused(self) -> tuple[str, ...]:
        """Return the golden datasets that no root is a clone of, half-made ones too."""
        if not self._zfs.exists(self.container):
            return ()
        used = {str(one.origin).partition("@")[0] for one in self._zfs.clones()}
        inside = self._zfs.below(self.container)
        return tuple(one.name for one in inside if self._is_golden(one) and one.name not in used)

    def reclaim(self) -> tuple[str, ...]:
        """Destroy what is unused, and return it; with the last one the container goes.

        What ZFS does not let go, as somebody holds a snapshot, stays.
        """
        gone = [name for name in self.unused() if self._let_go(name)]
        if self._zfs.exists(self.container) and len(self._zfs.below(self.container)) == 1:
            self._zfs.destroy(self.container)
        return tuple(gone)

    def size(self, name: str) -> int:
        """Return the bytes that a golden dataset has on the disk."""
        return int(self._run(ZFS, "get", "-H", "-p", "-o", "value", "used", name))

    def _is_golden(self, found: Dataset) -> bool:
        return found.type == "filesystem" and found.name.rpartition("/")[0] == self.container

    def _let_go(self, name: str) -> bool:
        with suppress(ApplyError):
            self._destroy(name)
            return True
        return False

    def _destroy(self, name: str) -> None:
        for mount in mnttab.read():
            if mount.special == name:  # who filled it was killed
                self._run(UMOUNT, mount.point)
        self._zfs.destroy(name, recursive=True)


def everywhere(run: Run = commands.run) -> tuple[Goldens, ...]:
    """Return the golden datasets of all pools; none where there is no ZFS."""
    with suppress(ApplyError):
        text = run(ZFS, "list", "-H", "-t", "filesystem", "-o", "name")
        return tuple(Goldens(name, run) for name in text.splitlines() if name.endswith(f"/{CONTAINER}"))
    return ()


def why_not(dataset: str, run: Run = commands.run) -> str:
    """Say why the root in a zonepath's dataset cannot be a clone of a golden one; "" if it can."""
    parent = dataset.rpartition("/")[0]
    if not parent:
        return f"{dataset} is a pool's own dataset: nothing can be beside it"
    text = run(ZFS, "get", "-H", "-o", "name,property,value", "all", parent, dataset)
    values = {tuple(line.split("\t")[:2]): line.split("\t")[2] for line in text.splitlines()}
    other = [one for one in _FIXED if values.get((parent, one)) != values.get((dataset, one))]
    return f"{dataset} has not the {', '.join(other)} of {parent}" if other else ""
