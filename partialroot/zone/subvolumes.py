"""Golden layers as subvolumes of btrfs: zonepaths are snapshots of one.

::

    IMAGE/golden-KEY/zone           a subvolume: a zonepath that has all of the root in .partialroot-new
    IMAGE/golden-KEY/records.json   what was measured when it was built
    IMAGE/golden-KEY/lost.json      what could not be kept

The zonepath, not the root, is the subvolume: rename(2) between two of them is EXDEV, and what is changed
later is moved into the root. It lives with the image, beside what zones see of that, and goes with it; a
snapshot needs neither.
"""

import os
from pathlib import Path

from partialroot.model import Action, Plan
from partialroot.plan.cloned import common
from partialroot.zone import fs, golden
from partialroot.zone.dirs import opened
from partialroot.zone.golden import LOST, RECORDS, Built, Fill, Notes
from partialroot.zone.removal import remove
from partialroot.zone.site import ROOT, ROOT_MODE
from partialroot.zone.store import Store
from partialroot.zone.transaction import NEW, PRIVATE_MODE

PREFIX = "golden-"
_ZONE, _FRESH = "zone", ".new"

_known: dict[tuple[Path, str], tuple[tuple[Action, ...], Built]] = {}


def snapshot(
    plan: Plan, image: Path, store: Store, lost_owners: frozenset[tuple[int, int]], at: int, name: str
) -> Built:
    """Make the zonepath ``name`` by a snapshot of the plan's golden layer, which is built if it is not there.

    Raises ApplyError. What was written before is on the disk then.
    """
    keeper = Subvolumes(image, at, name)
    with store.lock_image(image.parent, image.name):
        key = golden.ensure(plan, keeper, lost_owners)
    keeper.copy(key)
    return _read(plan, keeper, image)


def _read(plan: Plan, keeper: "Subvolumes", image: Path) -> Built:
    """Return what the copy is: found out once for all zones that differ in nothing but what is written."""
    key, actions = str(plan.golden), tuple(common(plan.private))
    known = _known.get((image, key))
    if known is None or known[0] != actions:
        known = _known[image, key] = (actions, golden.read(plan, keeper.notes(key)))
    return known[1]


def has(image: Path, key: str) -> bool:
    """Whether an image has a golden layer: that is renamed when it is whole."""
    return (image / f"{PREFIX}{key}").exists()


class Subvolumes:
    """The golden layers of one image. The copy will be the zonepath ``name`` in an open directory."""

    def __init__(self, image: Path, at: int, name: str) -> None:
        self._image = image
        self._at, self._name = at, name

    def has(self, key: str) -> bool:
        """Whether a layer is there."""
        return has(self._image, key)

    def build(self, key: str, fill: Fill) -> None:
        """Build it beside and rename it, once all of it is on the disk."""
        name = PREFIX + key
        top = fs.open_directory(self._image)
        try:
            remove(top, name + _FRESH)
            fs.make_own_directory(top, name + _FRESH)
            with opened(name + _FRESH, top) as new:
                _build(new, self._image / (name + _FRESH), fill)
            fs.rename(top, name + _FRESH, top, name)
        finally:
            os.close(top)

    def copy(self, key: str) -> None:
        """Make the zonepath, with the root in it."""
        zone = self._place(key) / _ZONE
        source = fs.open_directory(zone)
        try:
            fs.snapshot(source, self._at, self._name)
        except OSError as error:
            raise fs.failed(error, str(zone)) from error
        finally:
            os.close(source)

    def notes(self, key: str) -> Notes:
        """Return the notes, which lie beside what is copied."""
        place = self._place(key)
        return Notes((place / RECORDS).read_bytes(), (place / LOST).read_bytes(), str(place))

    def _place(self, key: str) -> Path:
        return self._image / f"{PREFIX}{key}"


def _build(new: int, place: Path, fill: Fill) -> None:
    above = f"{_ZONE}/{NEW}"
    fs.make_subvolume(new, _ZONE, PRIVATE_MODE)
    fs.make_own_directory(new, above)
    fs.make_own_directory(new, f"{above}/{ROOT}", ROOT_MODE)
    with opened(f"{above}/{ROOT}", new) as root:
        fill(root, new, place / above / ROOT)
    fs.sync_all(new, "golden layer")
