"""refresh and rollback: zones become what their receipts ask of the source as it is now, or what they were.

Zones that ask for the same share one plan. While processes live in a zone its mounts cannot change under
them, so its refresh is staged: the image is built, and the rest is done when the zone is next booted.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from partialroot.errors import BusyError, PartialRootError, StoreError, ZonepathError
from partialroot.model import Receipt, Request
from partialroot.pipeline.batches import Tell, do_all, ignore
from partialroot.pipeline.comparing import (
    Comparison,
    lacks_mounts,
    manifest_of,
    refuse_under_way,
    refuse_unready,
)
from partialroot.pipeline.grouping import Asked, Planner
from partialroot.pipeline.planning import Planned
from partialroot.pipeline.settling import Settling
from partialroot.pipeline.sources import Options, reading
from partialroot.pipeline.staging import stage, unstage
from partialroot.pipeline.zones import (
    Outcome,
    Shared,
    config_of,
    each,
    is_branded,
    mounter_of,
    need_receipt,
    opened,
    refuse_branded,
    refuse_running,
)
from partialroot.zone import apply, difference
from partialroot.zone.batch import Job
from partialroot.zone.change import Brought, Change
from partialroot.zone.difference import Difference
from partialroot.zone.rollback import Rollback, kept
from partialroot.zone.settled import Settled, sweep
from partialroot.zone.site import Site
from partialroot.zone.store import Store, zone_key
from partialroot.zone.zonepath import check_zonepath


class Refreshed(NamedTuple):
    """Whether anything was done to a zone, or would be; whether that waits for the next boot; what it is.

    ``only_mounts``: it is what it should be, but not mounted.
    """

    changed: bool
    staged: bool
    brought: Brought
    only_mounts: bool = False


class How(NamedTuple):
    """How zones are refreshed: only told, by how many processes, who hears of progress."""

    dry_run: bool = False
    workers: int = 1
    tell: Tell = ignore


def refresh(store: Path, zonepaths: Sequence[str], how: How = How()) -> tuple[Outcome[Refreshed], ...]:  # noqa: B008
    """Bring zones to what their receipts ask for, of the source as it is now; or only tell what that is."""
    quick = Settled(str(store))
    done = {one: Outcome(one, found) for one in zonepaths if (found := settled(quick, one))}
    rest = [one for one in zonepaths if one not in done]
    asked = each(rest, lambda one: Outcome(one, _request(store, one)))
    groups: dict[Request, dict[str, Asked]] = {}
    for zonepath, request in ((one.zonepath, one.value) for one in asked):
        if request is not None:
            common = request._replace(profiles=(), parameters=())
            groups.setdefault(common, {})[zonepath] = _asked(request)
    done.update((one.zonepath, Outcome[Refreshed](one.zonepath, error=one.error)) for one in asked)
    for common, zones in groups.items():
        done.update((one.zonepath, one) for one in _refresh_all(store, common, zones, how))
    return tuple(done[zonepath] for zonepath in zonepaths)


def settled(quick: Settled, zonepath: str) -> Refreshed | None:
    """Return that there is nothing to do to a zone, if that can be told without a plan."""
    digest = quick.digest(zonepath, zone_key(Path(zonepath)))
    return None if digest is None else Refreshed(False, False, Brought((*digest, *digest), (), (), (), ()))


def _request(store: Path, zonepath: str) -> Request:
    """Return what a zone asks for, at a place where one may be made.

    A plan depends on neither its address nor its host name.
    """
    return _in_place(store, zonepath).request._replace(address=None, hostname=None)


def _in_place(store: Path, zonepath: str) -> Receipt:
    """Return the receipt of a zone; ZonepathError where no zone may be made any more."""
    receipt = need_receipt(Path(zonepath))
    check_zonepath(zonepath, source=Path(receipt.request.source), store=store)
    return receipt


def _asked(request: Request) -> Asked:
    return Asked(request.profiles, dict(request.parameters))


def _refresh_all(
    store: Path, common: Request, zones: dict[str, Asked], how: How
) -> Iterable[Outcome[Refreshed]]:
    """Refresh zones that differ in their profiles and parameters at most. Nothing is newer than a tarball."""
    if common.is_from_tarball:
        return each(zones, lambda one: Outcome(one, _nothing(need_receipt(Path(one)))))
    try:
        with reading(Options.again(common, store)) as options:
            planner = Planner(options, [(Path(one), zones[one]) for one in zones])
            group = _Group(store, common, zones, planner)
            if how.dry_run:
                with Shared() as shared:
                    return each(zones, lambda one: group.show(one, shared))
            first = {asked.profiles: zonepath for zonepath, asked in zones.items()}.values()
            done = do_all(
                group.store,
                list(zones),
                group.refresh,
                workers=how.workers,
                first=tuple(first),
                tell=how.tell,
            )
            sweep(str(store))
            return done
    except PartialRootError as error:
        return [Outcome[Refreshed](one, error=error) for one in zones]


class _Group:
    """Zones that one planner is for, with what is asked of each."""

    def __init__(self, store: Path, common: Request, zones: dict[str, Asked], planner: Planner) -> None:
        if not store.is_dir():
            raise StoreError("there is no store", path=str(store), hint="--store DIR names it")
        self.store = Store(store)
        self._common, self._zones, self._planner = common, zones, planner
        self._comparisons: dict[object, Comparison] = {}
        self._settling = Settling(self.store)

    def show(self, zonepath: str, shared: Shared | None = None) -> Outcome[Refreshed]:
        """Tell what a refresh would do, without any effect."""
        path, planned = Path(zonepath), self._planner.plan(self._zones[zonepath])
        refuse_under_way(self.store, path)
        old, lives = self._receipt(path), _lives(path)
        site = Site(self.store, path, mounter_of(planned.plan.platform, shared), planned.lost_owners)
        if not lives:
            refuse_unready(site, old)
        # The mounts of a zone that runs are in our sight where zoneadm(8) makes them.
        found = self._needed(site, planned, old, is_hidden=lives and is_branded(path))
        if found is None:
            lacking = lacks_mounts(site, old)
            return Outcome(zonepath, _nothing(old)._replace(changed=lacking, only_mounts=lacking))
        return Outcome(zonepath, Refreshed(True, lives, found))

    def refresh(self, zonepath: str, shared: Shared) -> Job[Outcome[Refreshed]]:
        """Bring a zone to its plan, or stage that."""
        path, planned = Path(zonepath), self._planner.plan(self._zones[zonepath])
        if is_branded(path):
            return self._refresh_branded(path)
        with opened(self.store, path, planned.plan.platform, planned.lost_owners, shared) as (site, notes):
            old = self._receipt(path)
            found = self._needed(site, planned, old)
            if found and _lives(path):
                return Outcome(zonepath, Refreshed(stage(site, old, planned), True, found), notes=notes)
            changed = False
            if found or lacks_mounts(site, old):
                config = config_of(planned.plan, path, old.request.hostname)
                changed = yield from apply.updating(planned.plan, site, old.request, config, old, _name)
            unstage(site)
            self._settling.note(site, planned, need_receipt(path) if changed else old)
            return Outcome(zonepath, Refreshed(changed, False, found or _nothing(old).brought), notes=notes)

    def _refresh_branded(self, zonepath: Path) -> Outcome[Refreshed]:
        """Bring a zone of the brand to its source; one that runs is brought to it when it is made ready."""
        from partialroot.host.illumos.datasets import Datasets
        from partialroot.pipeline.branded import Branded

        shown, old = self.show(str(zonepath)), need_receipt(zonepath)
        if shown.value and shown.value.changed and not shown.value.staged:
            branded, datasets = Branded(Options.again(old.request, self.store.root)), Datasets(zonepath)
            branded.adopt(datasets)  # a change that was interrupted is undone
            branded.refresh(datasets)
        return shown

    def _receipt(self, zonepath: Path) -> Receipt:
        """Return a zone's receipt; BusyError when it asks for something else by now."""
        receipt = need_receipt(zonepath)
        request = receipt.request._replace(address=None, hostname=None)
        is_same = request._replace(profiles=(), parameters=()) == self._common
        if not is_same or _asked(request) != self._zones[str(zonepath)]:
            raise BusyError("was changed meanwhile", path=str(zonepath), hint="run the command again")
        return receipt

    def _needed(
        self, site: Site, planned: Planned, old: Receipt, *, is_hidden: bool = False
    ) -> Brought | None:
        asked = self._zones[str(site.zonepath)]
        comparison = self._comparisons.setdefault(asked.key, Comparison(planned))
        return comparison.needed(site, old.request, old, is_hidden=is_hidden)


def _name(change: Change) -> None:
    change.verb = "refresh"


def _nothing(old: Receipt) -> Refreshed:
    return Refreshed(False, False, Brought((old.digest, old.digest), (), (), (), ()))


def _lives(zonepath: Path) -> bool:
    """Whether a process lives in the zone."""
    try:
        refuse_running(zonepath)
    except BusyError:
        return True
    return False


# --- what status asks ---------------------------------------------------------------------------------


def why_stale(store: Path, zonepaths: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Say of zones that a refresh would make something else what that is, or why it could not be made.

    Nothing is told of one that somebody works on, or whose place is not fit for zones any more; there are no
    lines for one that would stay as it is.
    """
    told = refresh(store, zonepaths, How(dry_run=True))
    return {
        one.zonepath: tuple(_why(one)) for one in told if not isinstance(one.error, BusyError | ZonepathError)
    }


def _why(told: Outcome[Refreshed]) -> Iterator[str]:
    if told.error:
        yield f"it cannot be refreshed: {told.error}"
    if told.value is None or not told.value.changed or told.value.only_mounts:
        return
    brought = told.value.brought
    yield from (f"{path}: a refresh would add it" for path in brought.added)
    yield from (f"{path}: a refresh would remove it" for path in brought.removed)
    yield from (f"{path}: a refresh would change it" for path in brought.changed)
    if not any(brought[1:4]):
        yield "a refresh would write its receipt or its config.json anew"


# --- back ---------------------------------------------------------------------------------------------

_BRANDED = "boots what it was in the boot environment of then"


def rollback(
    store: Path, zonepaths: Sequence[str], *, dry_run: bool = False
) -> tuple[Outcome[Refreshed], ...]:
    """Bring zones back to what they were before their last change; or only tell what that would change."""
    how = _would_bring_back if dry_run else _roll_back
    return each(zonepaths, lambda one: how(Store(store), one))


def _roll_back(store: Store, zonepath: str) -> Outcome[Refreshed]:
    path = Path(zonepath)
    refuse_branded(path, _BRANDED)
    with opened(store, path) as (site, notes):
        old = _in_place(store.root, zonepath)
        refuse_running(path)
        found: list[Brought] = []
        apply.roll_back(
            site, old, lambda change: found.append(change.brought(_images_apart(old, change.image)))
        )
        return Outcome(zonepath, Refreshed(True, False, found[0]), notes=notes)


def _would_bring_back(store: Store, zonepath: str) -> Outcome[Refreshed]:
    path = Path(zonepath)
    refuse_branded(path, _BRANDED)
    refuse_under_way(store, path)
    old = _in_place(store.root, zonepath)
    refuse_running(path)
    site = Site(store, path, mounter_of(old.request.platform))
    refuse_unready(site, old)
    before = kept(site)
    shared = _images_apart(old, before.receipt.image)
    if set(old.mounts) == set(before.receipt.mounts):
        return Outcome(zonepath, Refreshed(True, False, Rollback(before, site, old).brought(shared)))
    private = difference.between(old.entries, before.receipt.entries)  # what is mounted hides what is there
    digests = (old.digest, before.receipt.digest)
    return Outcome(zonepath, Refreshed(True, False, Brought(digests, *(shared + private), kept=())))


def _images_apart(old: Receipt, image: str | None) -> Difference:
    """Return what differs between a zone's image and another."""
    same = old.image == image
    return Difference() if same else difference.between(manifest_of(old.image), manifest_of(image))
