"""populate and remove: one plan for all zones that ask for the same, each zone its own transaction."""

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from partialroot.errors import PartialRootError
from partialroot.model import Plan, Receipt, Request
from partialroot.pipeline.batches import Tell, do_all, ignore
from partialroot.pipeline.fleets import Wanted
from partialroot.pipeline.grouping import Asked, Planner
from partialroot.pipeline.planning import Planned
from partialroot.pipeline.sources import Options, reading
from partialroot.pipeline.zones import (
    Outcome,
    Shared,
    config_of,
    is_branded,
    need_receipt,
    opened,
    refuse_branded,
    refuse_running,
    refuse_unmounted,
    vetted,
)
from partialroot.zone import apply, journal
from partialroot.zone import receipt as receipts
from partialroot.zone.batch import Job
from partialroot.zone.store import Store, check_store
from partialroot.zone.transaction import remove_empty
from partialroot.zone.zonepath import Checker, check_vacant, check_zonepath


class Populated(NamedTuple):
    """What one populate did: a plan for each set of profiles, and for each zone whether it changed."""

    plans: tuple[Plan, ...]
    zones: tuple[Outcome[bool], ...]
    seconds: float

    @property
    def changed(self) -> bool:
        """Whether any zone changed."""
        return any(zone.value for zone in self.zones)


def populate(
    options: Options,
    wanted: Sequence[Wanted],
    *,
    workers: int = 1,
    tell: Tell = ignore,
) -> Populated:
    """Build the zones, or bring them to what the profiles say now.

    ``options`` are what is common to all. Raises what concerns all zones; the error of one zone is in its
    outcome, and the others go on.
    """
    started = time.monotonic()
    check_store(options.store)
    checker = Checker(options.source, options.store)
    check = partial(_check, options.store, checker)
    places, refused = vetted({one.zonepath: one.asked for one in wanted}, check)
    with reading(options) as seen:
        planner = Planner(seen, [(Path(place), one) for place, one in places.items()])
        plans = plans_for(planner, places.values())
        first = {one.profiles: place for place, one in places.items()}.values()
        store = Store(options.store)
        begin = partial(_populating, store, seen, planner, places)
        built = do_all(store, list(places), begin, workers=workers, first=tuple(first), tell=tell)
        planner.remember()
    return Populated(plans, (*refused, *built), time.monotonic() - started)


def plans_for(planner: Planner, wanted: Iterable[Asked]) -> tuple[Plan, ...]:
    """Return a plan for each set of profiles; where there is none at all, raise why."""
    plans: dict[tuple[str, ...], Plan] = {}
    errors = []
    for asked in wanted:
        if asked.profiles not in plans:
            try:
                plans[asked.profiles] = planner.plan(asked).plan
            except PartialRootError as error:
                errors.append(error)
    if errors and not plans:
        raise errors[0]
    return tuple(plans.values())


def _check(store: Path, checker: Checker, zonepath: str) -> Path:
    """Refuse early what can be told before anything is planned; under the lock it is asked again."""
    path = checker.check(zonepath)
    if not journal.is_under_way(store, path):
        _ours_or_vacant(path)
        refuse_running(path)
    return path


def check_place(options: Options, zonepath: str) -> Path:
    """Refuse a place where no zone of ours is or can be made; a zone that is there may run."""
    path = check_zonepath(zonepath, source=options.source, store=options.store)
    if not journal.is_under_way(options.store, path):
        _ours_or_vacant(path)
    return path


def _ours_or_vacant(zonepath: Path) -> Receipt | None:
    """Return the receipt of the zone that is there, None where a new one may be made.

    Raises ZonepathError for a place with something that is not ours.
    """
    if not os.path.lexists(zonepath):
        return None
    receipt = receipts.read(zonepath)
    if receipt is None:
        check_vacant(zonepath)
    else:
        refuse_unmounted(zonepath)
    return receipt


def _populating(
    store: Store,
    options: Options,
    planner: Planner,
    places: Mapping[str, Asked],
    zonepath: str,
    shared: Shared,
) -> Job[Outcome[bool]]:
    """Build one zone, or bring it to what is asked for."""
    asked, place = places[zonepath], Path(zonepath)
    planned = planner.plan(asked)
    plan = planned.plan
    if is_branded(place):
        request = asked.options(options).request(asked.profiles, plan.platform)
        return Outcome(zonepath, _converge(place, planned, options, request))
    with opened(store, place, plan.platform, planned.lost_owners, shared) as (site, notes):
        request = asked.options(options).request(asked.profiles, plan.platform)
        old, config = _ours_or_vacant(place), config_of(plan, place, asked.hostname)
        refuse_running(place)
        if old is None:
            made, changed = (yield from apply.creating(plan, site, request, config)), True
        else:
            changed = yield from apply.updating(plan, site, request, config, old)
            made = need_receipt(place) if changed else old
        return Outcome(zonepath, changed, notes=(*notes, *_own_warnings(made, plan)))


def _converge(zonepath: Path, planned: Planned, options: Options, request: Request) -> bool:
    """Bring a zone of the brand to what is asked for: its root is changed in place, behind a snapshot."""
    from partialroot.host.illumos.datasets import Datasets
    from partialroot.pipeline.branded import Branded

    refuse_running(zonepath)
    return Branded(options).converge(Datasets(zonepath), planned, request)


def _own_warnings(made: Receipt, plan: Plan) -> tuple[str, ...]:
    """Return what is worth a warning at this zone alone: edits that were kept, attributes that were lost."""
    return tuple(f"warning: {one}" for one in made.warnings if one not in plan.warnings)


def remove(
    store: Path,
    zonepaths: Sequence[str],
    *,
    workers: int = 1,
    tell: Tell = ignore,
) -> tuple[Outcome[bool], ...]:
    """Take zones away; an image goes with its last zone."""
    if not zonepaths:  # there may be no store, and none is to be made for that
        return ()
    opened_store = Store(store)
    parents = _made_for(opened_store, zonepaths) if workers > 1 else ()
    done = do_all(opened_store, zonepaths, partial(_removing, opened_store), workers=workers, tell=tell)
    for path in parents:  # whose last zones went at the same time
        with suppress(OSError):
            remove_empty([path])
    return done


def _made_for(store: Store, zonepaths: Iterable[str]) -> Sequence[str]:
    """Return the directories above zones that were made for these, the deepest first."""
    zones = filter(None, (store.registered(Path(zonepath)) for zonepath in zonepaths))
    made = {str(path) for zone in zones for path in zone.made if path != zone.zonepath}
    return sorted(made, reverse=True)


def _removing(store: Store, zonepath: str, shared: Shared) -> Job[Outcome[bool]]:
    place = Path(zonepath)
    with opened(store, place, shared=shared) as (site, notes):
        registered = store.registered(place)
        if registered is None and not place.exists() and notes:
            return Outcome(zonepath, True, notes=notes)  # recovery finished the removal
        if registered and not os.path.lexists(place):
            from partialroot.zone.pruning import forget

            forget(store, registered)
            return Outcome(zonepath, True, notes=(*notes, "nothing was there any more: it is forgotten"))
        receipt = need_receipt(place)
        refuse_branded(place, "uninstall removes it")
        refuse_running(place)
        yield from apply.removing(site, receipt)
        return Outcome(zonepath, True, notes=notes)
