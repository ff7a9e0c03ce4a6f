"""What this host offers, found by trying, before anything is planned (``model.HostFacts``).

Every trial is made where it counts: with real files of the selection, in the nearest existing directory
of the image's home and of each zonepath.
"""

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import cache
from heapq import nsmallest
from itertools import chain
from pathlib import Path
from typing import NamedTuple, Protocol

from partialroot.host.scratch import Scratch
from partialroot.model import Layer, Selection
from partialroot.nodes import FileType
from partialroot.paths import host_path
from partialroot.plan.facts import COPIED_LEAST, SNAPSHOT_LEAST, Golden, HostFacts, Least

# These copy a file up to their upper layer instead of linking it; even to try would change the source.
UNIONS = frozenset({"overlay", "aufs", "fuse.fuse-overlayfs", "fuse.unionfs"})
# One mount of these may hold several subvolumes, each with an st_dev of its own; link(2) stops at each.
SUBVOLUMES = frozenset({"btrfs"})
# Where pathconf(3) does not know (glibc then says 127). btrfs: BTRFS_LINK_MAX; the others have no such limit.
LINK_MAX = {"btrfs": 65535, "tmpfs": 2**31 - 1, "zfs": 2**31 - 1}
# So many files of a kind are tried; the smallest, since a link changes a file's ctime: it is read again then.
CANDIDATES = 3


class Mount(Protocol):
    """A mount: where it is, and of which type."""

    @property
    def point(self) -> str:
        """The mount point."""

    @property
    def fstype(self) -> str:
        """The type of the file system."""


class MountTable(Protocol):
    """All mounts that this process sees."""

    @property
    def is_rooted(self) -> bool:
        """Whether ``/`` is a mount, so that all can be told."""

    @property
    def points(self) -> frozenset[str]:
        """Every mount point, also hidden ones."""

    def holding(self, path: str | os.PathLike[str]) -> Mount:
        """Return the mount that holds a path."""


class Sample(NamedTuple):
    """Some files of one kind; all have this mode."""

    mode: int
    files: list[str]


Samples = dict[str, list[Sample]]
"""Files to try, by the mount point that holds them."""


def probe(
    selection: Selection,
    store: Path,
    zonepaths: Sequence[Path],
    mounts: MountTable,
    trial: type[Scratch],
    *,
    into_root: bool = False,
) -> HostFacts:
    """Return what the host offers for building this selection; its ``source`` has no symlink in it.

    Neither the store nor the zonepaths need to exist; without zonepaths, the store stands for one. ``trial``
    is how this system is tried. Where nothing can be written, every reason says so and all owners are lost.
    ``free_root`` is what each zonepath may use if all use the same. Links into the zonepaths are tried only
    for ``into_root``: for a moment they need a name there.
    """
    places = Places(mounts)
    samples = _samples(selection, places)
    home = _image_home(selection, store, places)
    where, roots = existing(home.parent), _existing_all(zonepaths or [store])
    free_image, free_root = _free([where]), _free(roots)
    with ExitStack() as stack:
        image = stack.enter_context(trial(where))
        zones = [stack.enter_context(trial(root)) for root in dict.fromkeys(roots)]
        root_clones = _clones(samples, zones)
        least = COPIED_LEAST if any(root_clones.values()) else SNAPSHOT_LEAST
        owners = {(entry.uid, entry.gid) for entry in selection.entries}
        return HostFacts(
            image_home=home,
            mount_points=tuple(samples),
            links=_links(samples, [image], places),
            clones=_clones(samples, [image]),
            root_links=_links(samples, zones, places) if into_root else {},
            root_clones=root_clones,
            no_mount=_why_no_mount(image, mounts),
            lost_owners=frozenset(
                one for one in owners if any(place.loses(*one) for place in (image, *zones))
            ),
            link_max=_link_max(where, mounts),
            free_image=free_image,
            free_root=free_root,
            golden=golden(selection, least, lambda: _why_no_snapshots(image, zones)),
        )


def golden(selection: Selection, least: Least, trial: Callable[[], str]) -> Golden:
    """Return what ``trial`` says of golden layers: asked only where one is worth it, as it takes time."""
    return Golden(least.why_not(selection.entries) or trial(), least)


def _why_no_snapshots(image: Scratch, zones: Iterable[Scratch]) -> str:
    return next(filter(None, (image.why_no_snapshots(zone.directory) for zone in zones)), "")


def _existing_all(paths: Iterable[Path]) -> list[Path]:
    """Return :func:`existing` of each; of a thousand new zones most have one parent."""
    of_parent = cache(existing)
    return [existing(path) if os.path.lexists(path) else of_parent(path.parent) for path in paths]


def existing(path: Path) -> Path:
    """Return the nearest directory above ``path``, or itself, that exists and that we can see; resolved."""
    candidates = chain([path], path.parents)
    return Path(os.path.realpath(next(one for one in candidates if os.path.isdir(one))))


class Places:
    """Which mount holds a path, or which subvolume of it: what link(2) does not cross. Paths are real."""

    def __init__(self, mounts: MountTable) -> None:
        self._mounts = mounts
        self._device = cache(_device)
        self.of_directory = cache(self._of_directory)

    def of_file(self, path: str) -> str:
        """Return the mount point, or the subvolume's top, that holds a file (which may be a mount point)."""
        if path in self._mounts.points:
            return self._mounts.holding(path).point
        return self.of_directory(path.rpartition("/")[0] or "/")

    def kind(self, point: str) -> str:
        """Return the type of the file system that is mounted at a point."""
        return self._mounts.holding(point).fstype

    def _of_directory(self, path: str) -> str:
        """Return the same for a directory."""
        mount = self._mounts.holding(path)
        if mount.fstype in SUBVOLUMES:
            while path != mount.point and self._device(path) == self._device(os.path.dirname(path)):
                path = os.path.dirname(path)
            return path
        return mount.point


def _device(path: str) -> int:
    """Return the device that stat(2) shows for a path; 0 if it is not there."""
    try:
        return os.stat(path).st_dev
    except OSError:
        return 0


def _image_home(selection: Selection, store: Path, places: Places) -> Path:
    """Return where images go: into the store, if files can be linked there or nowhere better.

    Better is the top of the mount that holds the first shared directory's files, if only we can write it.
    """
    inside = store / "images"
    if not selection.tops:
        return inside
    point = places.of_directory(host_path(selection.source, {}, selection.tops[0]))
    if places.of_directory(str(existing(store))) == point or places.kind(point) in UNIONS:
        return inside
    return Path(point, ".partialroot", "images") if _is_ours_to_write(point) else inside


def _is_ours_to_write(directory: str) -> bool:
    """Whether we can write a directory that no one else but root can."""
    status = os.stat(directory)
    private = status.st_uid in (0, os.geteuid()) and not status.st_mode & 0o022
    return private and os.access(directory, os.W_OK | os.X_OK)


def _samples(selection: Selection, places: Places) -> Samples:
    """Return some files of each kind for every mount that holds files of the selection.

    Of one kind are files that fs.protected_hardlinks treats alike: same owner, group and mode. Only where
    a mount holds no shared file, private ones stand for it.
    """
    kinds: dict[tuple[str, bool, int, int, int], list[tuple[int, str]]] = {}
    source, views = selection.source, selection.views
    for entry in selection.entries:  # perhaps a hundred thousand
        node = entry.node
        if node is not None and entry.source is not None and node.type is FileType.FILE:
            path = host_path(source, views, entry.source)
            kind = (places.of_file(path), entry.layer is Layer.SHARED, node.uid, node.gid, node.mode)
            kinds.setdefault(kind, []).append((node.size, path))
    sharing = {point for point, shared, *_ in kinds if shared}
    samples: Samples = {}
    for (point, shared, _, _, mode), files in kinds.items():
        if shared or point not in sharing:
            samples.setdefault(point, []).append(Sample(mode, _smallest(files)))
    return samples


def _smallest(files: Iterable[tuple[int, str]]) -> list[str]:
    """Return the smallest of the files, empty ones last: those tell nothing of reflinks."""
    return [path for _, path in nsmallest(CANDIDATES, files, key=lambda file: file[0] or sys.maxsize)]


def _links(samples: Samples, scratch: Sequence[Scratch], places: Places) -> dict[str, str]:
    """Return why files of each mount cannot be linked to all of the scratch places; "" if they can."""
    return {point: _why_no_link(point, samples[point], scratch, places) for point in samples}


def _why_no_link(point: str, samples: list[Sample], scratch: Sequence[Scratch], places: Places) -> str:
    """Return the same for one mount."""
    if places.kind(point) in UNIONS:
        return f"{places.kind(point)} copies a file up instead of linking it"
    plain = [sample.files for sample in samples if not sample.mode & 0o6000]
    if not plain:
        return "it has no plain file to try"
    return _first(place.why_no_links(files) for place in scratch for files in plain)


def _clones(samples: Samples, scratch: Sequence[Scratch]) -> dict[str, str]:
    """Return why files of each mount cannot be reflinked to all of the scratch places; "" if they can."""
    files = {point: [file for one in samples[point] for file in one.files] for point in samples}
    return {point: _first(place.why_no_clones(files[point]) for place in scratch) for point in samples}


def _first(reasons: Iterable[str]) -> str:
    """Return the first reason; "" if there is none."""
    return next(filter(None, reasons), "")


def _why_no_mount(image: Scratch, mounts: MountTable) -> str:
    """Return why the image cannot be mounted; "" if it can."""
    if not mounts.is_rooted:
        return "this process is in a chroot, where the mounts cannot be told"
    return image.why_no_mount()


def _link_max(directory: Path, mounts: MountTable) -> int:
    """Return how many links a file in a directory may have."""
    return LINK_MAX.get(mounts.holding(directory).fstype) or os.pathconf(directory, "PC_LINK_MAX")


def _free(directories: Sequence[Path]) -> tuple[int, int]:
    """Return the free bytes and inodes for each of some directories, if all of them use the same."""
    devices = {directory: _device(str(directory)) for directory in directories}  # each asked once: it may go
    users = Counter(devices[directory] for directory in directories)
    free = []
    for directory, device in devices.items():
        system, count = os.statvfs(directory), users[device]
        inodes = system.f_favail if system.f_files else sys.maxsize  # btrfs counts none
        free.append((system.f_bavail * system.f_frsize // count, inodes // count))
    return min(one[0] for one in free), min(one[1] for one in free)
