"""Golden layers as datasets of ZFS: zones' roots are clones of one (``host.illumos.goldens``).

The notes lie in the layer, under a name of ours that is no zone's, and are taken out of each clone: no boot
environment and no pool can have the one without the other.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from partialroot.host.illumos import goldens
from partialroot.host.illumos.datasets import Datasets
from partialroot.zone import fs
from partialroot.zone.dirs import opened
from partialroot.zone.golden import LOST, RECORDS, Fill, Notes
from partialroot.zone.pruning import Image
from partialroot.zone.removal import remove
from partialroot.zone.store import Store
from partialroot.zone.zonepath import WORK_NAMES

_NOTES = WORK_NAMES[0]


def lock(store: Store) -> AbstractContextManager[None]:
    """Hold the lock under which golden layers are built, cloned and destroyed, in all pools."""
    return store.lock_image(store.images, "golden")


def prune(store: Store, *, dry_run: bool) -> Iterator[Image]:
    """Destroy the golden layers of all pools that no zone has any more, and yield them, by their datasets."""
    with lock(store):
        for these in goldens.everywhere():
            sizes = {name: these.size(name) for name in these.unused()}
            for name in sizes if dry_run else these.reclaim():
                yield Image(Path(name), sizes[name])


class Clones:
    """The golden layers that the root of one zone may be a clone of. The caller holds their lock."""

    def __init__(self, datasets: Datasets) -> None:
        self._datasets = datasets
        self._goldens = datasets.goldens

    def has(self, key: str) -> bool:
        """Whether a layer is there: its snapshot is taken when it is whole."""
        return self._goldens.has(key)

    def build(self, key: str, fill: Fill) -> None:
        """Fill it where the zone's root will be, so that nothing else is ever mounted."""
        where = self._datasets.mount_point
        with self._datasets.shown(self._goldens.begin(key)):
            root = fs.open_directory(where)
            try:
                fs.make_own_directory(root, _NOTES)
                with opened(_NOTES, root) as notes:
                    fill(root, notes, where)
            finally:
                os.close(root)
        self._goldens.finish(key)

    def copy(self, key: str) -> None:
        """Make the root, and mount it."""
        self._datasets.create(self._goldens.origin(key))

    def notes(self, key: str) -> Notes:
        """Return the notes, and leave the root as it was before they were laid into it."""
        where = self._datasets.mount_point
        root = fs.open_directory(where)
        try:
            before = os.fstat(root)
            with opened(_NOTES, root) as notes:
                records, lost = fs.read(notes, RECORDS) or b"", fs.read(notes, LOST) or b""
            remove(root, _NOTES)
            meta = (before.st_mode & 0o7777, before.st_uid, before.st_gid, before.st_mtime_ns)
            fs.mend_meta(root, *meta, str(where))
        finally:
            os.close(root)
        return Notes(records, lost, self._goldens.origin(key))
