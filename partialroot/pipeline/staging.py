"""Refreshes that wait until no process lives in a zone: noted in the register, done at the next boot."""

from pathlib import Path

from partialroot.errors import PartialRootError
from partialroot.model import Receipt
from partialroot.pipeline.planning import Planned, make_plan
from partialroot.pipeline.sources import Options, reading
from partialroot.pipeline.zones import config_of, need_receipt
from partialroot.zone import apply, fs
from partialroot.zone.image import ensure_image, release_image
from partialroot.zone.site import Site, image_path
from partialroot.zone.store import Registered, Store


def stage(site: Site, old: Receipt, planned: Planned) -> bool:
    """Build a plan's image, and note that the zone of ``old`` waits for it; return whether that is new."""
    image = image_path(planned.plan) or ""
    known = site.store.registered(site.zonepath)
    if known is None:
        known = Registered.of(site.zonepath, old.image)
    is_new = known.staged != image
    if is_new:
        _register(site.store, known._replace(staged=image))  # before it is there: nobody removes it then
    try:
        if planned.plan.digest:  # who staged it may have been killed before it was there
            ensure_image(planned.plan, site.store, planned.lost_owners)
    except BaseException:
        if is_new:
            _register(site.store, known)
        raise
    for one in known.waiting if is_new else ():
        release_image(site.store, Path(one))
    return is_new


def unstage(site: Site) -> None:
    """Forget that a refresh waits, with the image that it would have used."""
    known = site.store.registered(site.zonepath)
    if known is not None and known.staged is not None:
        _register(site.store, known._replace(staged=None))
        for image in known.waiting:
            release_image(site.store, Path(image))


def _register(store: Store, zone: Registered) -> None:
    try:
        store.register(zone)
    except OSError as error:
        raise fs.failed(error, str(store.root / "zones")) from error


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
            unstage(place)
    except PartialRootError as error:
        return (f"warning: {site.zonepath}: stays as it was, the staged refresh failed: {error}",)
    return (f"{site.zonepath}: the staged refresh was carried out",)
