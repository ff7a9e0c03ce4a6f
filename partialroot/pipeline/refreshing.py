"""refresh and rollback: zones become what their receipts ask of the source as it is now, or what they were.

Zones that ask for the same share one plan. While processes live in a zone its mounts cannot change under
them, so its refresh is staged: the image is built, and the rest is done when the zone is next booted.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from partialroot.errors import BusyError, PartialRootError, StoreError
from partialroot.model import Receipt, Request
from partialroot.pipeline.comparing import Comparison, manifest_of
from partialroot.pipeline.planning import Planned, make_plan
from partialroot.pipeline.sources import Options, reading
from partialroot.pipeline.zones import (
    Outcome,
    config_of,
    each,
    is_branded,
    need_receipt,
    opened,
    refuse_branded,
    refuse_running,
    refuse_unmounted,
)
from partialroot.zone import apply, difference, fs, journal
from partialroot.zone.change import Brought, Change
from partialroot.zone.difference import Difference
from partialroot.zone.image import ensure_image, release_image
from partialroot.zone.site import Site, image_path
from partialroot.zone.store import Registered, Store


class Refreshed(NamedTuple):
    """Whether anything was done to a zone, or would be; whether that waits for the next boot; what it is."""

    changed: bool
    staged: bool
    brought: Brought


def refresh(
    store: Path, zonepaths: Sequence[str], *, dry_run: bool = False
) -> tuple[Outcome[Refreshed], ...]:
    """Bring zones to what their receipts ask for, of the source as it is now; or only tell what that is."""
    asked = each(zonepaths, lambda one: Outcome(one, _request(Path(one))))
    groups: dict[Request, list[str]] = {}
    for one in asked:
        if one.value is not None:
            groups.setdefault(one.value, []).append(one.zonepath)
    done = {one.zonepath: Outcome[Refreshed](one.zonepath, error=one.error) for one in asked}
    for request, zones in groups.items():
        done.update((one.zonepath, one) for one in _refresh_all(store, request, zones, dry_run))
    return tuple(done[one.zonepath] for one in asked)


def _request(zonepath: Path) -> Request:
    """Return what a zone asks for; a plan depends on neither its address nor its host name."""
    return need_receipt(zonepath).request._replace(address=None, hostname=None)


def _refresh_all(
    store: Path, request: Request, zonepaths: Sequence[str], dry_run: bool
) -> tuple[Outcome[Refreshed], ...]:
    """Do the same for zones that ask for the same: one plan. Nothing is newer than a tarball."""
    if request.is_from_tarball:
        return each(
            zonepaths, lambda one: Outcome(one, Refreshed(False, False, _nothing(need_receipt(Path(one)))))
        )
    try:
        with reading(Options.again(request, store)) as options:
            planned = make_plan(options, request.profiles, [Path(one) for one in zonepaths])
            group = _Group(store, planned, request)
            return each(zonepaths, group.show if dry_run else group.refresh)
    except PartialRootError as error:
        return tuple(Outcome[Refreshed](one, error=error) for one in zonepaths)


class _Group:
    """Zones that one plan is for."""

    def __init__(self, store: Path, planned: Planned, request: Request) -> None:
        if not store.is_dir():
            raise StoreError("there is no store", path=str(store), hint="--store DIR names it")
        self._store = Store(store)
        self._planned = planned
        self._request = request
        self._comparison = Comparison(planned)

    def show(self, zonepath: str) -> Outcome[Refreshed]:
        """Tell what a refresh would do, without any effect."""
        path = Path(zonepath)
        refuse_unmounted(path)
        if journal.is_under_way(self._store.root, path):
            raise BusyError("work on it was interrupted, or is under way", path=zonepath)
        old, site = self._receipt(path), Site(self._store, path, None, self._planned.lost_owners)
        found = self._comparison.needed(site, old.request, old)
        if found is None:
            return Outcome(zonepath, Refreshed(False, False, _nothing(old)))
        return Outcome(zonepath, Refreshed(True, _lives(path), found))

    def refresh(self, zonepath: str) -> Outcome[Refreshed]:
        """Bring a zone to the plan, or stage that."""
        path, plan = Path(zonepath), self._planned.plan
        if is_branded(path):
            return self._refresh_branded(path)
        with opened(self._store, path, plan.platform, self._planned.lost_owners) as (site, notes):
            old = self._receipt(path)
            if _lives(path):
                return Outcome(zonepath, self._stage(site, old), notes=notes)
            found: list[Brought] = []

            def tell(change: Change) -> None:
                change.verb = "refresh"
                found.append(change.brought(self._comparison.between_images(old)))

            changed = apply.update(
                plan, site, old.request, config_of(plan, path, old.request.hostname), old, tell
            )
            _unstage(site)
            return Outcome(zonepath, Refreshed(changed, False, (*found, _nothing(old))[0]), notes=notes)

    def _refresh_branded(self, zonepath: Path) -> Outcome[Refreshed]:
        """Bring a zone of the brand to its source; one that runs is brought to it when it is made ready."""
        from partialroot.host.illumos.datasets import Datasets
        from partialroot.pipeline.branded import Branded

        shown = self.show(str(zonepath))
        if shown.value and shown.value.changed and not shown.value.staged:
            branded, datasets = Branded(Options.again(self._request, self._store.root)), Datasets(zonepath)
            branded.adopt(datasets)  # a change that was interrupted is undone
            branded.refresh(datasets)
        return shown

    def _receipt(self, zonepath: Path) -> Receipt:
        receipt = need_receipt(zonepath)
        if receipt.request._replace(address=None, hostname=None) != self._request:
            raise BusyError("was changed meanwhile", path=str(zonepath), hint="run the command again")
        return receipt

    # --- a zone that runs ---------------------------------------------------------------------------

    def _stage(self, site: Site, old: Receipt) -> Refreshed:
        """Build the image, and note that the zone waits for it, unless nothing would change."""
        found = self._comparison.needed(site, old.request, old)
        if found is None:
            _unstage(site)
            return Refreshed(False, False, _nothing(old))
        image = image_path(self._planned.plan) or ""
        known = site.store.registered(site.zonepath) or _unregistered(site.zonepath, old)
        if known.staged != image:
            self._wait_for(site, known, image)
        return Refreshed(known.staged != image, True, found)

    def _wait_for(self, site: Site, known: Registered, image: str) -> None:
        _register(site.store, known._replace(staged=image))  # before it is there: nobody removes it then
        try:
            if self._planned.plan.digest:
                ensure_image(self._planned.plan, site.store, self._planned.lost_owners)
        except BaseException:
            _register(site.store, known)
            raise
        for one in known.waiting:
            release_image(site.store, Path(one))


def _nothing(old: Receipt) -> Brought:
    return Brought((old.digest, old.digest), (), (), (), ())


def _lives(zonepath: Path) -> bool:
    """Whether a process lives in the zone."""
    try:
        refuse_running(zonepath)
    except BusyError:
        return True
    return False


# --- staged -------------------------------------------------------------------------------------------


def _unregistered(zonepath: Path, made: Receipt) -> Registered:
    return Registered(zonepath, Path(made.image) if made.image else None, ())


def _register(store: Store, zone: Registered) -> None:
    try:
        store.register(zone)
    except OSError as error:
        raise fs.failed(error, str(store.root / "zones")) from error


def _unstage(site: Site) -> None:
    """Forget that a refresh waits, with the image that it would have used."""
    known = site.store.registered(site.zonepath)
    if known is not None and known.staged is not None:
        _register(site.store, known._replace(staged=None))
        for image in known.waiting:
            release_image(site.store, Path(image))


def carry_out(site: Site) -> tuple[str, ...]:
    """Do the refresh that waits for the zone, in which no process lives; return what to tell of it.

    The plan is made anew. When that or its work fails the zone stays as it is: it can still be booted. The
    caller holds the zone's lock.
    """
    known = site.store.registered(site.zonepath)
    if known is None or known.staged is None:
        return ()
    old = need_receipt(site.zonepath)
    try:
        with reading(Options.again(old.request, site.store.root)) as options:
            planned = make_plan(options, old.request.profiles, [site.zonepath])
            place = Site(site.store, site.zonepath, site.mounter, planned.lost_owners)
            config = config_of(planned.plan, site.zonepath, old.request.hostname)
            apply.update(planned.plan, place, old.request, config, old)
            _unstage(place)
    except PartialRootError as error:
        return (f"warning: {site.zonepath}: stays as it was, the staged refresh failed: {error}",)
    return (f"{site.zonepath}: the staged refresh was carried out",)


# --- back ---------------------------------------------------------------------------------------------


def rollback(store: Path, zonepaths: Sequence[str]) -> tuple[Outcome[Refreshed], ...]:
    """Bring zones back to what they were before their last change."""
    return each(zonepaths, lambda one: _roll_back(Store(store), one))


def _roll_back(store: Store, zonepath: str) -> Outcome[Refreshed]:
    path = Path(zonepath)
    refuse_branded(path, "boots what it was in the boot environment of then")
    with opened(store, path) as (site, notes):
        old = need_receipt(path)
        refuse_running(path)
        found: list[Brought] = []

        def tell(change: Change) -> None:
            same = old.image == change.image
            then = Difference() if same else _between(old.image, change.image)
            found.append(change.brought(then))

        apply.roll_back(site, old, tell)
        return Outcome(zonepath, Refreshed(True, False, found[0]), notes=notes)


def _between(before: str | None, after: str | None) -> Difference:
    """Return what differs between two images."""
    return difference.between(manifest_of(before), manifest_of(after))
