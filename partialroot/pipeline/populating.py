"""populate and remove: one plan for all zones of a command, each zone its own transaction."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from partialroot.model import Plan, Receipt
from partialroot.pipeline.planning import Options, Planned, make_plan, reading
from partialroot.pipeline.zones import (
    Outcome,
    config_of,
    each,
    need_receipt,
    opened,
    refuse_branded,
    refuse_running,
)
from partialroot.zone import apply, journal
from partialroot.zone import receipt as receipts
from partialroot.zone.store import Store, check_store
from partialroot.zone.zonepath import check_vacant, check_zonepath


class Populated(NamedTuple):
    """What one populate did: the plan, and for each zone whether it changed, or its error."""

    plan: Plan
    zones: tuple[Outcome[bool], ...]
    seconds: float

    @property
    def changed(self) -> bool:
        """Whether any zone changed."""
        return any(zone.value for zone in self.zones)


def dry_run(options: Options, zonepaths: Sequence[str], profiles: Sequence[str]) -> Plan:
    """Return the plan, with every refusal that needs no effect; nothing is touched."""
    check_store(options.store)
    paths = [_check(options, one) for one in zonepaths]
    with reading(options) as seen:
        return make_plan(seen, profiles, paths, suppliers=False).plan


def populate(options: Options, zonepaths: Sequence[str], profiles: Sequence[str]) -> Populated:
    """Build the zones, or bring them to what the profiles say now.

    Raises what concerns all zones; the error of one zone is in its outcome, and the others go on.
    """
    started = time.monotonic()
    check_store(options.store)
    checked = each(zonepaths, lambda one: Outcome(one, _check(options, one)))
    places = [one.value for one in checked if one.value is not None]
    if not places:
        raise next(one.error for one in checked if one.error is not None)
    with reading(options) as seen:
        planned = make_plan(seen, profiles, places)
        store = Store(options.store)
        built = each(
            [str(place) for place in places],
            lambda one: _populate_one(Path(one), planned, store, options, profiles),
        )
    refused = tuple(Outcome[bool](one.zonepath, error=one.error) for one in checked if one.error)
    return Populated(planned.plan, (*refused, *built), time.monotonic() - started)


def _check(options: Options, zonepath: str) -> Path:
    """Refuse early what can be told before anything is planned; under the lock it is asked again."""
    path = check_zonepath(zonepath, source=options.source, store=options.store)
    if not journal.is_under_way(options.store, path):
        _ours_or_vacant(path)
    return path


def _ours_or_vacant(zonepath: Path) -> Receipt | None:
    """Return the receipt of the zone that is there, None where a new one may be made.

    Raises ZonepathError for a place with something that is not ours, BusyError for a zone that runs.
    """
    receipt = receipts.read(zonepath)
    if receipt is None:
        check_vacant(zonepath)
    else:
        refuse_branded(zonepath, "brings it up to date whenever it is made ready")
        refuse_running(zonepath)
    return receipt


def _populate_one(
    zonepath: Path, planned: Planned, store: Store, options: Options, profiles: Sequence[str]
) -> Outcome[bool]:
    plan = planned.plan
    with opened(store, zonepath, plan.platform, planned.lost_owners) as (site, notes):
        request, config = options.request(profiles, plan.platform), config_of(plan, zonepath)
        old = _ours_or_vacant(zonepath)
        if old is None:
            made, changed = apply.create(plan, site, request, config), True
        else:
            changed = apply.update(plan, site, request, config, old)
            made = need_receipt(zonepath) if changed else old
        return Outcome(str(zonepath), changed, notes=(*notes, *_own_warnings(made, plan)))


def _own_warnings(made: Receipt, plan: Plan) -> tuple[str, ...]:
    """Return what is worth a warning at this zone alone: edits that were kept, attributes that were lost."""
    return tuple(f"warning: {one}" for one in made.warnings if one not in plan.warnings)


def remove(store: Path, zonepaths: Sequence[str]) -> tuple[Outcome[bool], ...]:
    """Take zones away; an image goes with its last zone."""
    opened_store = Store(store)
    return each(zonepaths, lambda one: _remove_one(opened_store, Path(one)))


def _remove_one(store: Store, zonepath: Path) -> Outcome[bool]:
    with opened(store, zonepath) as (site, notes):
        if store.registered(zonepath) is None and not zonepath.exists() and notes:
            return Outcome(str(zonepath), True, notes=notes)  # recovery finished the removal
        receipt = need_receipt(zonepath)
        refuse_branded(zonepath, "uninstall removes it")
        refuse_running(zonepath)
        apply.remove(site, receipt)
    return Outcome(str(zonepath), True, notes=notes)
