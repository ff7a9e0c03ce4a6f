"""What a plan would change of zones that are there: looked at, without any effect."""

from pathlib import Path

from partialroot.errors import BusyError, NoReceiptError
from partialroot.model import Receipt, Record, Request
from partialroot.pipeline.planning import Planned
from partialroot.pipeline.zones import config_of, refuse_unmounted
from partialroot.zone import apply, difference, journal
from partialroot.zone.change import Brought, Change
from partialroot.zone.difference import Difference
from partialroot.zone.receipt import read_manifest
from partialroot.zone.site import Site, dump_config, image_path
from partialroot.zone.store import Store
from partialroot.zone.transaction import refuse_foreign_work


def refuse_under_way(store: Store, zonepath: Path) -> None:
    """Raise BusyError for a zone that is being changed, or was when that was interrupted."""
    if journal.is_under_way(store.root, zonepath):
        raise BusyError("work on it was interrupted, or is under way", path=str(zonepath))


def refuse_unready(site: Site, old: Receipt) -> None:
    """Raise what keeps a zone of ours, in which no process lives, from being changed: to be told beforehand.

    ZonepathError where its root is not mounted; BusyError where another store's work is unfinished, or
    something that is not ours is mounted.
    """
    refuse_unmounted(site.zonepath)
    refuse_foreign_work(site.zonepath)
    apply.refuse_foreign_mounts(site, old)


class Comparison:
    """Zones beside a plan; those that share an image share what differs from it."""

    def __init__(self, planned: Planned) -> None:
        self._planned = planned
        self._shared: dict[str | None, Difference] = {}

    def needed(
        self, site: Site, request: Request, old: Receipt, *, is_hidden: bool = False
    ) -> Brought | None:
        """Return what bringing a zone to the plan comes to; None if it is what the plan says.

        Where much of its root ``is_hidden`` by mounts, what was measured is compared, not what is there.
        """
        plan, shared = self._planned.plan, self.between_images(old)
        is_mounted_so = set(old.mounts) == set(plan.tops)
        if is_hidden or not is_mounted_so:  # what is mounted hides what the plan is about
            found = shared + difference.private(plan, old, self._planned.lost_owners)
            is_same = (old.digest, old.definitions) == (plan.digest, plan.definitions) and not any(found)
            return None if is_mounted_so and is_same else Brought((old.digest, plan.digest), *found, kept=())
        config = config_of(plan, site.zonepath, request.hostname)
        change = Change(plan, site, request, None if config is None else dump_config(config), old)
        return None if change.is_nothing else change.brought(shared)

    def between_images(self, old: Receipt) -> Difference:
        """Return what differs between a zone's image and the plan's."""
        plan = self._planned.plan
        if old.image == image_path(plan):
            return Difference()
        if old.image not in self._shared:
            records = manifest_of(old.image)
            self._shared[old.image] = difference.shared(plan, records, self._planned.lost_owners)
        return self._shared[old.image]


def lacks_mounts(site: Site, old: Receipt) -> bool:
    """Whether the shared layer is not up, as after a reboot: any change brings it back."""
    binds = site.binds(old)
    return bool(binds and site.mounter and site.mounter.missing(site.zonepath, binds))


def manifest_of(image: str | None) -> tuple[Record, ...]:
    """Return what is in an image, nothing if that cannot be read: then all of it is new."""
    try:
        return read_manifest(Path(image)) if image else ()
    except NoReceiptError:
        return ()
