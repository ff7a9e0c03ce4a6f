"""The file systems of one zone, laid out as Tribblix and IPS systems do (zones facts 2.3).

::

    ZPDS                  mounted at the zonepath; made by zoneadm
    ZPDS/ROOT             mountpoint=legacy zoned=on
    ZPDS/ROOT/zbe         canmount=noauto, libbe's active=on and parentbe=<UUID of the boot environment>;
    ZPDS/ROOT/zbe-1 ...   the one of the running boot environment is mounted at ZONEPATH/root

So the zone's root is a file system of its own. In a plain directory below the zonepath it would share one
with what lies beside it, and link(2) could take a file out of a read-only loopback of that (4.3).
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from partialroot.errors import ApplyError, BusyError, ConflictError, ZonepathError
from partialroot.host.illumos import bootenvs, commands, mnttab
from partialroot.host.illumos.commands import MOUNT, UMOUNT, Run
from partialroot.host.illumos.goldens import Goldens
from partialroot.host.illumos.zfs import Dataset, Zfs

PARENT, ACTIVE = "org.opensolaris.libbe:parentbe", "org.opensolaris.libbe:active"
_CONTAINER = {"mountpoint": "legacy", "zoned": "on"}
MOST = 100
ROOT_MODE = 0o755


class ZoneRoot(NamedTuple):
    """A file system that is, or was, the root of the zone in one boot environment."""

    name: str
    boot_environment: str
    active: bool
    created: int


class Datasets:
    """The file systems of the zone at one zonepath. The caller holds the zone's lock."""

    def __init__(self, zonepath: Path, run: Run = commands.run) -> None:
        self.zonepath = zonepath
        self.mount_point = zonepath / "root"
        self._run = run
        self._zfs = Zfs(run)

    # --- looking ------------------------------------------------------------------------------------

    def top(self) -> str:
        """Return the zonepath's dataset; ZonepathError for a plain directory, or one in the system's own."""
        table = mnttab.read()
        found = table.at(self.zonepath)
        if found is None or found.fstype != "zfs":
            raise ZonepathError(
                "the zonepath must be a ZFS dataset: a root without its own is not safe from the zone",
                path=str(self.zonepath),
                hint="the directory above it must be the mount point of a dataset, so that zoneadm makes one",
            )
        system = table.at("/")
        if system and found.special.startswith(f"{system.special.rpartition('/')[0]}/"):
            raise ZonepathError("lies in a boot environment", path=str(self.zonepath))
        return found.special

    def is_dataset(self) -> bool:
        """Whether a dataset is mounted at the zonepath."""
        found = mnttab.read().at(self.zonepath)
        return found is not None and found.fstype == "zfs"

    def container(self) -> str:
        """Return the dataset that holds the roots; the zone may do in it as it likes (query)."""
        return f"{self.top()}/ROOT"

    def roots(self) -> tuple[ZoneRoot, ...]:
        """Return the zone's roots in all boot environments, in the order they were made."""
        container = self.container()
        if not self._zfs.exists(container):
            return ()
        found = self._zfs.below(container, PARENT, ACTIVE)
        roots = [_root(one) for one in found if _is_root(one, container)]
        return tuple(sorted(roots, key=lambda one: (one.created, one.name)))

    def roots_here(self) -> tuple[ZoneRoot, ...]:
        """Return the roots of the running boot environment: one, but for what an accident left."""
        here = bootenvs.running(self._run)
        return tuple(one for one in self.roots() if one.boot_environment == here)

    def roots_elsewhere(self) -> tuple[ZoneRoot, ...]:
        """Return the roots of other boot environments."""
        here = bootenvs.running(self._run)
        return tuple(one for one in self.roots() if one.boot_environment != here)

    def active(self) -> ZoneRoot | None:
        """Return the root of the running boot environment, None if there is none; ConflictError for two."""
        found = [one for one in self.roots_here() if one.active]
        if len(found) > 1:
            names = ", ".join(one.name for one in found)
            raise ConflictError("several datasets are active", path=names, hint=f"zfs set {ACTIVE}=off one")
        return found[0] if found else None

    def mounted(self) -> str | None:
        """Return the dataset that is mounted as the zone's root, None if nothing is; ConflictError."""
        found = mnttab.read().at(self.mount_point)
        if found is not None and found.fstype != "zfs":
            raise ConflictError(f"a {found.fstype} is mounted there", path=str(self.mount_point))
        return found.special if found else None

    # --- mounting -----------------------------------------------------------------------------------

    def mount(self) -> str:
        """Mount the root of the running boot environment, and return its dataset.

        Where it has none yet, the nearest one is cloned: libbe does that for other brands only. BusyError
        when another one is mounted and used.
        """
        wanted = self.active() or self._clone_nearest()
        if self.mounted() == wanted.name:
            return wanted.name
        self.unmount()
        self._mount(wanted.name)
        return wanted.name

    def unmount(self) -> None:
        """Unmount the root, and all that is left mounted below it; BusyError while something is used."""
        table = mnttab.read()
        for mount in table.below(self.mount_point):
            self._unmount(mount.point)
        if table.at(self.mount_point):
            self._unmount(str(self.mount_point))

    def unmount_below(self) -> tuple[str, ...]:
        """Unmount what is mounted below the root, and return it: at ready nothing may be (3.1)."""
        points = tuple(mount.point for mount in mnttab.read().below(self.mount_point))
        for point in points:
            self._unmount(point)
        return points

    def _mount(self, dataset: str) -> None:
        if not self.mount_point.is_symlink() and not self.mount_point.exists():
            os.mkdir(self.mount_point, ROOT_MODE)
        if not self.mount_point.is_dir() or self.mount_point.is_symlink():
            raise ZonepathError("is not a directory", path=str(self.mount_point))
        self._run(MOUNT, "-F", "zfs", dataset, str(self.mount_point))

    def _unmount(self, point: str) -> None:
        try:
            self._run(UMOUNT, point)
        except ApplyError as error:
            raise BusyError(error.message, path=point, hint="is a process inside? fuser -c tells") from error

    # --- making -------------------------------------------------------------------------------------

    def create(self, origin: str | None = None) -> str:
        """Make a root for the running boot environment, mount it and return its dataset.

        It is empty, or has what a golden dataset's snapshot has (:class:`Goldens`).
        """
        uuid = bootenvs.running(self._run)
        container = self._make_container()
        name = _free_name(container, self._zfs.below(container))
        if origin:
            self._zfs.clone(origin, name, _marks(uuid))
        else:
            self._zfs.create(name, _marks(uuid))
        self._mount(name)
        return name

    @property
    def goldens(self) -> Goldens:
        """The golden datasets that the root may be a clone of."""
        return Goldens.beside(self.top(), self._run)

    @contextmanager
    def shown(self, dataset: str) -> Iterator[None]:
        """Have another dataset mounted where the root will be."""
        self._mount(dataset)
        try:
            yield
        finally:
            self.unmount()

    def clone_from(self, source: "Datasets", label: str) -> str:
        """Make a root with the content of another zone's, mount it and return its dataset.

        ``label`` becomes the name of the snapshot in the source. ConflictError if that has no root.
        """
        origin = source.active()
        if origin is None:
            raise ConflictError("has no root in this boot environment", path=str(source.zonepath))
        container = self._make_container()
        name = _free_name(container, self._zfs.below(container))
        self._clone(origin.name, label, name)
        self._mount(name)
        return name

    def _clone_nearest(self) -> ZoneRoot:
        """Make a root for the running boot environment from the one of its nearest kin."""
        roots = self.roots()
        if not roots:
            raise ConflictError("the zone has no root in any boot environment", path=str(self.zonepath))
        here = bootenvs.running(self._run)
        order = bootenvs.by_kinship(here, bootenvs.kin(self._run, mnttab.read()))
        rank = {uuid: place for place, uuid in enumerate(order)}
        active = [one for one in roots if one.active] or roots
        nearest = min(active, key=lambda one: (rank.get(one.boot_environment, len(rank)), -one.created))
        container = self.container()
        name = _free_name(container, self._zfs.below(container))
        self._clone(nearest.name, name.rpartition("/")[2], name)
        return next(one for one in self.roots() if one.name == name)

    def _clone(self, origin: str, label: str, name: str) -> None:
        taken = {one.name for one in self._zfs.below(origin)}
        labels = [label, *(f"{label}-{number}" for number in range(1, MOST))]
        snapshot = next(one for one in (f"{origin}@{each}" for each in labels) if one not in taken)
        self._zfs.snapshot(snapshot)
        try:
            self._zfs.clone(snapshot, name, _marks(bootenvs.running(self._run)))
        except ApplyError:
            self._zfs.destroy(snapshot)
            raise

    def _make_container(self) -> str:
        container = self.container()
        if not self._zfs.exists(container):
            self._zfs.create(container, _CONTAINER)
        elif self._zfs.below(container, *_CONTAINER)[0].properties != tuple(_CONTAINER.values()):
            self._make_zoned(container)
        return container

    def _make_zoned(self, name: str) -> None:
        """Give a dataset that came from elsewhere the properties of a container.

        What was received with it may win over what it inherits; of what is zoned no mount point can be set.
        """
        self._zfs.set(name, {"zoned": "off"})
        self._zfs.set(name, _CONTAINER)

    # --- moving to and from other systems -----------------------------------------------------------

    def detach(self) -> None:
        """Make the root an ordinary file system, mounted wherever the zonepath goes."""
        name = self.active()
        if name is None:
            raise ConflictError("the zone has no root in this boot environment", path=str(self.zonepath))
        properties = {"zoned": "off", "mountpoint": str(self.mount_point), "canmount": "on"}
        if self.mounted() == name.name and self._has(name.name, properties):
            return
        self.unmount()
        self._zfs.set(name.name, properties)
        if self.mounted() is None:  # setting canmount mounts on some systems, and not on others
            self._run(commands.ZFS, "mount", name.name)

    def attach(self) -> str:
        """Make what is mounted as the root, else the only one there is, that of the running boot environment.

        Return its dataset. ConflictError when it cannot be told which one is meant.
        """
        roots = {one.name: one for one in self.roots()}
        name = self.mounted() or (next(iter(roots)) if len(roots) == 1 else None)
        if name not in roots:
            raise ConflictError(
                "it cannot be told which dataset is the zone's root",
                path=str(self.mount_point),
                hint="mount it there",
            )
        uuid = bootenvs.running(self._run)
        if self.mounted() == name and self._has(name, {**_CONTAINER, **_marks(uuid)}):
            return name
        for other in roots.values():
            if other.name != name and other.active and other.boot_environment == uuid:
                self._zfs.set(other.name, {ACTIVE: "off"})
        self.unmount()
        self._make_container()
        self._make_zoned(name)
        self._zfs.set(name, _marks(uuid))
        self._mount(name)
        return name

    def _has(self, name: str, properties: Mapping[str, str]) -> bool:
        """Whether a dataset has these properties: then what would set them was done before."""
        return self._zfs.below(name, *properties)[0].properties == tuple(properties.values())

    # --- changing, all or nothing -------------------------------------------------------------------

    def snapshot(self, label: str) -> None:
        """Note the state of the mounted root."""
        self._zfs.snapshot(f"{self.mounted()}@{label}")

    def snapshots(self, prefix: str) -> tuple[str, ...]:
        """Return the snapshots of the mounted root whose label begins so."""
        name = self.mounted()
        if name is None:
            return ()
        there = self._zfs.below(name)
        return tuple(one.name for one in there if one.name.startswith(f"{name}@{prefix}"))

    def roll_back(self, snapshot: str) -> None:
        """Undo what happened since a snapshot; what was mounted stays mounted."""
        self._zfs.rollback(snapshot)

    def forget(self, snapshot: str) -> None:
        """Destroy a snapshot."""
        self._zfs.destroy(snapshot)

    def lineage(self) -> tuple[str, ...]:
        """Return the mounted root, then the dataset of this zone that it was cloned from."""
        name = self.mounted()
        if name is None:
            return ()
        origin = self._zfs.below(name)[0].origin
        parents = [origin.partition("@")[0]] if origin and origin.startswith(f"{self.container()}/") else []
        return (name, *parents)

    # --- taking away --------------------------------------------------------------------------------

    def destroy(self) -> None:
        """Destroy the roots of the running boot environment; with the last root all of the zone's datasets.

        Clones of them that other zones or boot environments use are promoted first, so they stay. May be
        called again after it failed half-way.
        """
        self.destroy_roots()
        self._destroy_if_empty(self.top())

    def destroy_roots(self) -> None:
        """The same, but for the zonepath's own dataset."""
        self.unmount()
        for root in self.roots_here():
            self._destroy(root.name)
        self._destroy_if_empty(self.container())

    def _destroy(self, name: str) -> None:
        origin = next(one.origin for one in self._zfs.below(name) if one.name == name)
        self._let_clones_go(name)
        self._zfs.destroy(name, recursive=True)
        is_golden = origin and origin.startswith(
            f"{self.goldens.container}/"
        )  # that one has an end of its own
        if origin and not is_golden and not any(one.origin == origin for one in self._zfs.clones()):
            self._zfs.destroy(origin)

    def _let_clones_go(self, name: str) -> None:
        """Promote what was cloned from a dataset or below it, that of the latest snapshot first."""
        while True:
            inside = self._zfs.below(name)
            age = {one.name: place for place, one in enumerate(sorted(inside, key=lambda one: one.created))}
            outside = [one for one in self._zfs.clones() if one.origin in age and one.name not in age]
            if not outside:
                return
            self._zfs.promote(max(outside, key=lambda one: age[str(one.origin)]).name)

    def _destroy_if_empty(self, name: str) -> None:
        if self._zfs.exists(name) and len(self._zfs.below(name)) == 1:
            self._zfs.destroy(name)


def refuse_shared_dataset(root: Path, shared: Iterable[Path]) -> None:
    """Raise ConflictError when what is mounted read-only lies in the dataset of the zone's root.

    A loopback passes the device number of what lies below it through, so the comparison holds (4.3).
    """
    device = os.stat(root).st_dev
    for one in shared:
        if os.stat(one).st_dev == device:
            raise ConflictError(
                "is in the same dataset as the zone's root: the zone could link its files and change them",
                path=str(one),
            )


def _root(found: Dataset) -> ZoneRoot:
    parent, active = found.properties
    return ZoneRoot(found.name, parent, active == "on", found.created)


def _is_root(found: Dataset, container: str) -> bool:
    """Whether it is a direct child of the container, and marked as a root: zones make others there."""
    is_child = found.type == "filesystem" and found.name.rpartition("/")[0] == container
    return is_child and found.properties[0] != "-"


def _marks(uuid: str) -> dict[str, str]:
    return {"canmount": "noauto", ACTIVE: "on", PARENT: uuid}


def _free_name(container: str, there: Iterable[Dataset]) -> str:
    """Return the first name for a root that is not taken; ConflictError when all are."""
    taken = {one.name for one in there}
    names = [f"{container}/zbe", *(f"{container}/zbe-{number}" for number in range(1, MOST))]
    free = next((name for name in names if name not in taken), None)
    if free is None:
        raise ConflictError(f"has {MOST} roots already", path=container, hint="destroy those of no use")
    return free
