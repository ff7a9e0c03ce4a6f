"""status, verify, audit, explain: what is there, without changing any of it."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from partialroot.errors import PartialRootError
from partialroot.host import local
from partialroot.host.process import Process
from partialroot.model import Finding, Receipt
from partialroot.paths import RootPath
from partialroot.pipeline import live
from partialroot.pipeline.batches import WORTH_A_PROCESS
from partialroot.pipeline.workers import allowed_cores, spread
from partialroot.pipeline.zones import Outcome, each, looked_at, need_receipt, no_zone, refuse_unmounted
from partialroot.zone import receipt as receipts
from partialroot.zone.audit import audit as audit_zone
from partialroot.zone.explain import Step
from partialroot.zone.explain import explain as explain_path
from partialroot.zone.journal import all_intents
from partialroot.zone.settled import Settled
from partialroot.zone.site import CONFIG, IMAGE
from partialroot.zone.state import Known, limited
from partialroot.zone.state import state as state_of
from partialroot.zone.store import Registered, Store, zone_key
from partialroot.zone.verify import Images
from partialroot.zone.verify import verify as verify_zone

T = TypeVar("T")


def explain(zonepath: Path, path: str) -> tuple[Step, ...]:
    """Return why ``path`` is in the zone, down to a line of a profile."""
    receipt = need_receipt(zonepath)
    return explain_path(receipt, receipts.read_origins(receipt).reasons, RootPath.parse(path))


def verify(store: Path, zonepaths: Sequence[str]) -> tuple[Outcome[list[Finding]], ...]:
    """Compare zones with their receipts; an image that several share is read once."""
    images = Images()

    def one(zonepath: str) -> Outcome[list[Finding]]:
        with looked_at(store, Path(zonepath)) as notes:
            receipt = need_receipt(Path(zonepath))
            refuse_unmounted(Path(zonepath))
            return Outcome(zonepath, verify_zone(Path(zonepath), receipt, images), notes=notes)

    return _outcomes(zonepaths, one)


def audit(store: Path, zonepaths: Sequence[str]) -> tuple[Outcome[list[Finding]], ...]:
    """Look for what zones could misuse; the store's other zones are where second names may be found."""
    others = [zone.zonepath for zone in Store(store).zones()] if store.is_dir() else []

    def one(zonepath: str) -> Outcome[list[Finding]]:
        path = Path(zonepath)
        with looked_at(store, path) as notes:
            receipt = need_receipt(path)
            refuse_unmounted(path)
            return Outcome(zonepath, audit_zone(path, receipt, store, others, known), notes=notes)

    with live.views(store) as views:
        known = Known(views)
        return _outcomes(zonepaths, one)


def _outcomes(zonepaths: Sequence[str], look: Callable[[str], Outcome[T]]) -> tuple[Outcome[T], ...]:
    """Look at zones as :func:`_side_by_side` does; the error of one becomes its outcome."""
    return _side_by_side(zonepaths, lambda zonepath: each([zonepath], look)[0])


def _side_by_side(zonepaths: Sequence[str], look: Callable[[str], T]) -> tuple[T, ...]:
    """Look at zones, in several processes if they are many.

    What is found out of an image that several have, every process knows.
    """
    workers = min(allowed_cores(), len(zonepaths) // WORTH_A_PROCESS)
    if workers < 2:
        return tuple(map(look, zonepaths))
    found = {zonepath: look(zonepath) for zonepath in _first_with_their_images(zonepaths)}
    rest = [zonepath for zonepath in zonepaths if zonepath not in found]
    parts = [rest[start : start + WORTH_A_PROCESS] for start in range(0, len(rest), WORTH_A_PROCESS)]
    with spread(lambda number: list(map(look, parts[number])), len(parts), workers) as results:
        for done in results:
            part = parts[done.number]
            found.update(zip(part, done.result or map(look, part), strict=True))
    return tuple(found[zonepath] for zonepath in zonepaths)


def _first_with_their_images(zonepaths: Sequence[str]) -> Iterator[str]:
    """Yield the first zone of those that have the same image."""
    images: dict[str, list[str]] = {}
    for zonepath in zonepaths:
        images.setdefault(_image_at(zonepath), []).append(zonepath)
    return (alike[0] for alike in images.values() if len(alike) > 1)


def _image_at(zonepath: str) -> str:
    try:
        return os.readlink(f"{zonepath}/{IMAGE}")
    except OSError:
        return ""


class ZoneStatus(NamedTuple):
    """A zone's state, because of what, and the processes that live in it.

    ``exists`` is False where there is no zone of ours; ``error`` says so where none is known to have been
    either. ``profiles`` and ``image``, the digest, are what its receipt says; None where that cannot be read,
    or the zone shares nothing.
    """

    zonepath: str
    state: str
    because: tuple[str, ...]
    processes: tuple[Process, ...]
    exists: bool
    profiles: tuple[str, ...] | None
    image: str | None
    error: PartialRootError | None = None


def status(store: Path, zonepaths: Sequence[str]) -> tuple[ZoneStatus, ...]:
    """Tell the state of zones; nothing is locked or recovered for it."""
    opened = Store(store) if store.is_dir() else None
    busy = {intent.zonepath for intent in all_intents(opened)} if opened else set()
    with live.views(store) as views:
        known = _Known(Known(views), local.living())

        def one(zonepath: str) -> _Looked:
            registered = opened.registered(Path(zonepath)) if opened else None
            return _status_of(Path(zonepath), known, zonepath in busy, registered)

        found = _side_by_side(zonepaths, one)
    return tuple(_asked_again(store, found)) if opened else tuple(one.status for one in found)


class _Looked(NamedTuple):
    """A zone's state; ``alike`` is the same for zones to which a refresh would do the same."""

    status: ZoneStatus
    alike: object = None


def _asked_again(store: Path, found: Sequence[_Looked]) -> Iterator[ZoneStatus]:
    """Yield the states of zones as they are if packages and globs choose other files by now.

    Only a plan tells that, and none is made where nothing has changed that the last one was made from. Of
    zones that are alike one is asked about.
    """
    quick = Settled(str(store))
    doubtful: dict[object, list[str]] = {}
    for status, alike in found:
        zonepath = status.zonepath
        if status.state == "current" and not quick.follows(zonepath, zone_key(Path(zonepath))):
            doubtful.setdefault(alike, []).append(zonepath)
    stale = _why_stale(store, list(doubtful.values())) if doubtful else {}
    for status, _ in found:
        because = stale.get(status.zonepath)
        yield status._replace(state="stale", because=tuple(limited(because))) if because else status


def _why_stale(store: Path, groups: list[list[str]]) -> Mapping[str, tuple[str, ...]]:
    """Say why zones are stale, by what is told of the first of each group; of the next, if nothing is."""
    from partialroot.pipeline.refreshing import why_stale  # all that plans: seldom needed here

    stale: dict[str, tuple[str, ...]] = {}
    while groups:
        told = why_stale(store, [zones[0] for zones in groups])
        stale.update((one, told[zones[0]]) for zones in groups for one in zones if zones[0] in told)
        groups = [zones[1:] for zones in groups if zones[0] not in told and zones[1:]]
    return stale


class _Known(NamedTuple):
    """What one command has found out of images and sources, and who lives in a zone."""

    found: Known
    living: Callable[[Path], tuple[Process, ...]]


def _status_of(zonepath: Path, known: _Known, under_way: bool, registered: Registered | None) -> _Looked:
    receipt: Receipt | None = None
    judged: Receipt | PartialRootError | None
    try:
        judged = receipt = receipts.read(zonepath)
        refuse_unmounted(zonepath)
    except PartialRootError as error:
        judged = error
    found, because = state_of(zonepath, judged, known.found)
    if registered and registered.staged is not None and found in ("current", "stale"):
        found, because = "stale", ("a refresh is staged: it will be done at the next boot", *because)
    if under_way:
        found, because = "broken", ("work on it was interrupted, or is under way", *because)
    root = zonepath / "root"
    processes = known.living(root) if root.is_dir() else ()
    exists = under_way or judged is not None
    status = ZoneStatus(
        zonepath=str(zonepath),
        state=found,
        because=because,
        processes=processes,
        exists=exists,
        profiles=receipt.profiles if receipt else None,
        image=receipt.digest if receipt else None,
        error=None if exists or registered else no_zone(zonepath),
    )
    return _Looked(status, _alike(receipt, bool(processes)) if receipt and found == "current" else None)


def _alike(made: Receipt, runs: bool) -> object:
    """Return what is the same for zones, as their receipts say, to which a refresh would do the same.

    Of each root it is known that it is so. A zone whose spec was written after its receipt is like no other.
    """
    request = made.request._replace(address=None, hostname=None)
    entries = tuple(record._replace(mtime_ns=0) for record in made.entries)
    has_spec = request.platform == "linux" and not local.is_illumos()
    alone = made.zonepath if has_spec and _is_spec_newer(made.zonepath) else ""
    about = made._replace(zonepath=alone, request=request, entries=entries, created=0)
    return hash((about, runs))


def _is_spec_newer(zonepath: str) -> bool:
    try:
        spec, receipt = (os.lstat(f"{zonepath}/{name}") for name in (CONFIG, receipts.NAME))
    except OSError:
        return True
    return spec.st_ctime_ns > receipt.st_ctime_ns
