"""plan and populate --dry-run: the plans, and what they would change of each zone, without any effect."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from partialroot.errors import BusyError
from partialroot.model import Plan, Receipt, Record
from partialroot.pipeline.comparing import Comparison, lacks_mounts, manifest_of, refuse_unready
from partialroot.pipeline.fleets import Wanted
from partialroot.pipeline.grouping import Asked, Planner
from partialroot.pipeline.populating import check_place, plans_for
from partialroot.pipeline.sources import Options, reading
from partialroot.pipeline.zones import Outcome, Shared, each, mounter_of, refuse_running, vetted
from partialroot.zone import journal
from partialroot.zone import receipt as receipts
from partialroot.zone.change import Brought
from partialroot.zone.site import Site
from partialroot.zone.store import Store, check_store


class Preview(NamedTuple):
    """Whether a zone would change, and how; ``brought`` is None for one that is not there yet.

    ``before`` has the records of what would be replaced or removed.
    """

    changed: bool
    brought: Brought | None
    before: tuple[Record, ...]


class Previewed(NamedTuple):
    """What one populate would do: a plan for each set of profiles, and for each zone what would change."""

    plans: tuple[Plan, ...]
    zones: tuple[Outcome[Preview], ...]


def preview(options: Options, wanted: Sequence[Wanted]) -> Previewed:
    """Return what a populate would do, with every refusal that needs no effect.

    Raises what concerns all zones; the error of one zone is in its outcome. A zone that runs has both: what
    would change, and that it cannot be changed now.
    """
    check_store(options.store)
    places, refused = vetted({one.zonepath: one.asked for one in wanted}, partial(check_place, options))
    with reading(options) as seen, Shared() as shared:
        looking = _Looking(seen, places, shared)
        return Previewed(plans_for(looking.planner, places.values()), (*refused, *each(places, looking.look)))


class _Looking:
    """Looks at the zones of one command, what is asked of each given by its zonepath."""

    def __init__(self, options: Options, places: Mapping[str, Asked], shared: Shared) -> None:
        self._options, self._places, self._shared = options, places, shared
        self.planner = Planner(options, [(Path(place), one) for place, one in places.items()])
        self._comparisons: dict[object, Comparison] = {}

    def look(self, zonepath: str) -> Outcome[Preview]:
        """Return what would change of a zone."""
        path, asked = Path(zonepath), self._places[zonepath]
        planned = self.planner.plan(asked)
        old = receipts.read(path)
        if old is None or journal.is_under_way(self._options.store, path):
            return Outcome(zonepath, Preview(True, None, ()))
        request = asked.options(self._options).request(asked.profiles, planned.plan.platform)
        mounter = mounter_of(planned.plan.platform, self._shared)
        site = Site(Store(self._options.store), path, mounter, planned.lost_owners)
        running = _running(path)
        if running is None:
            refuse_unready(site, old)
        found = self._comparisons.setdefault(asked.key, Comparison(planned)).needed(site, request, old)
        changed = found is not None or lacks_mounts(site, old)
        brought = found or Brought((old.digest, old.digest), (), (), (), ())
        return Outcome(zonepath, Preview(changed, brought, tuple(_before(old, brought))), running)


def _before(old: Receipt, brought: Brought) -> Iterator[Record]:
    """Yield the records of what would be replaced or removed."""
    paths = {*brought.removed, *brought.changed}
    if paths:
        records = (*old.entries, *manifest_of(old.image))
        yield from (record for record in records if record.path in paths)


def _running(zonepath: Path) -> BusyError | None:
    try:
        refuse_running(zonepath)
    except BusyError as error:
        return error
    return None
