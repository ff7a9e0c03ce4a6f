"""One verb over several zones: each locked and recovered first; the others go on after an error."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from errno import EROFS
from pathlib import Path
from typing import Any, Generic, NamedTuple, Self, TypeVar

from partialroot.errors import (
    BusyError,
    ConflictError,
    NoReceiptError,
    PartialRootError,
    StoreError,
    UsageError,
    ZonepathError,
)
from partialroot.host import local
from partialroot.host.local import is_illumos, zone_processes
from partialroot.model import Plan, Receipt
from partialroot.zone import apply, fs, journal
from partialroot.zone import receipt as receipts
from partialroot.zone.apply import Site
from partialroot.zone.binds import LinuxBinds, Mounter
from partialroot.zone.image import Images
from partialroot.zone.originals import Originals
from partialroot.zone.store import Store

A = TypeVar("A")
T = TypeVar("T")


class Outcome(NamedTuple, Generic[T]):
    """What a verb did to one zone: a value, or the error that stopped it; ``notes`` are worth a line."""

    zonepath: str
    value: T | None = None
    error: PartialRootError | None = None
    notes: tuple[str, ...] = ()


def chosen(store: Path, words: Sequence[str], every: bool) -> tuple[str, ...]:
    """Return the zones a verb is about: those named, or all of the store's register.

    Raises UsageError when none is named, some are named beside all, or one is no absolute path.
    """
    for word in words:
        if not word.startswith("/"):
            hint = f"say /{word.removeprefix('./')}, or the whole path"
            raise UsageError("zonepaths are absolute", path=word, hint=hint)
    if words and every:
        raise UsageError("zones are named beside --all", path=words[0], hint="leave one of the two out")
    if words:
        return tuple(dict.fromkeys(words))
    if not every:
        raise UsageError("no ZONEPATH is given", hint="name zones, or say --all")
    if not store.is_dir():
        return ()
    return tuple(str(zone.zonepath) for zone in Store(store).zones())


def each(zonepaths: Iterable[str], work: Callable[[str], Outcome[T]]) -> tuple[Outcome[T], ...]:
    """Do ``work`` to each zone; its error becomes that zone's outcome."""
    outcomes = []
    for zonepath in zonepaths:
        try:
            outcomes.append(work(zonepath))
        except PartialRootError as error:
            notes = tuple(getattr(error, "__notes__", ()))
            outcomes.append(Outcome[T](zonepath, error=error, notes=notes))
        except OSError as error:
            outcomes.append(Outcome[T](zonepath, error=fs.failed(error, str(error.filename or zonepath))))
    return tuple(outcomes)


def vetted(asked: Mapping[str, A], vet: Callable[[str], Path]) -> tuple[dict[str, A], list[Outcome[Any]]]:
    """Return what is asked of each place that ``vet`` lets pass, and the outcomes of those that it refuses.

    Raises the first refusal where no place passes.
    """
    outcomes = each(asked, lambda zonepath: Outcome(zonepath, vet(zonepath)))
    refused = [Outcome[Any](one.zonepath, error=one.error) for one in outcomes if one.error]
    places = {str(one.value): asked[one.zonepath] for one in outcomes if one.value is not None}
    if refused and not places:
        raise refused[0].error or AssertionError
    return places, refused


class Shared:
    """What the zones of one batch share, all of them locked: what is mounted, and what their images are."""

    def __init__(self) -> None:
        self.images = Images()
        self.originals = Originals()
        self.binds = LinuxBinds(for_many=True) if not is_illumos() else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.binds:
            self.binds.close()


@contextmanager
def opened(
    store: Store,
    zonepath: Path,
    platform: str | None = None,
    lost_owners: frozenset[tuple[int, int]] = frozenset(),
    shared: Shared | None = None,
) -> Iterator[tuple[Site, tuple[str, ...]]]:
    """Hold a zone's lock, with what was interrupted there recovered; yield its site and what to tell of that.

    ``platform`` is the zone's, None that of its receipt. Raises BusyError when somebody else works on it, or
    when recovery is not possible. What was recovered is also a note on every error that follows. A batch's
    zones have something ``shared``.
    """
    with store.lock_zone(zonepath):
        mounter = mounter_of(platform or _platform_of(zonepath), shared)
        known = (shared.images, shared.originals) if shared else ()
        site = Site(store, zonepath, mounter, lost_owners, *known)
        note = apply.recover(site)
        try:
            yield site, (note,) if note else ()
        except PartialRootError as error:
            if note:
                error.add_note(note)
            raise


def mounter_of(platform: str, shared: Shared | None = None) -> Mounter | None:
    """On illumos nothing may be mounted below a zone's root while it is down: zone_create refuses that."""
    if platform != "linux" or is_illumos():
        return None
    return shared.binds if shared else LinuxBinds()


def _platform_of(zonepath: Path) -> str:
    try:
        receipt = receipts.read(zonepath)
    except NoReceiptError:
        return "linux"
    return receipt.request.platform if receipt else "linux"


@contextmanager
def looked_at(store: Path, zonepath: Path) -> Iterator[tuple[str, ...]]:
    """Hold a zone's lock for looking at it; where there is no store, nothing could have been interrupted.

    Where nothing can be written in the store, nobody can begin anything either, and no lock is needed.
    """
    if not store.is_dir():
        yield ()
        return
    with ExitStack() as stack:
        try:
            _, notes = stack.enter_context(opened(Store(store), zonepath))
        except StoreError as error:
            is_read_only = isinstance(error.__cause__, OSError) and error.__cause__.errno == EROFS
            if not is_read_only or journal.is_under_way(store, zonepath):
                raise
            notes = ()
        yield notes


def need_receipt(zonepath: Path) -> Receipt:
    """Return the zone's receipt; NoReceiptError when there is none."""
    receipt = receipts.read(zonepath)
    if receipt is None:
        raise no_zone(zonepath)
    return receipt


def no_zone(zonepath: Path) -> NoReceiptError:
    """Return the error of who asks for a zone where there is none of ours."""
    hint = "partialroot status --all lists them"
    return NoReceiptError("there is no zone of ours", path=str(zonepath), hint=hint)


def is_branded(zonepath: Path) -> bool:
    """Whether zoneadm(8) has made a zone: then its root is a dataset, one for each boot environment."""
    return os.path.isdir(f"{zonepath}/{receipts.PER_ROOT}")


def refuse_branded(zonepath: Path, hint: str) -> None:
    """Raise ConflictError for a zone of the brand: zoneadm(8) keeps its state."""
    if is_branded(zonepath):
        raise ConflictError("zoneadm has made this zone", path=str(zonepath), hint=f"zoneadm {hint}")


def refuse_unmounted(zonepath: Path) -> None:
    """Raise ZonepathError for a zone of the brand whose root is not mounted: nothing of it is to be seen."""
    if is_branded(zonepath) and not local.is_mount_point(zonepath / "root"):
        hint = "zoneadm mounts it: sysboot, ready, boot"
        raise ZonepathError("its root is not mounted", path=str(zonepath), hint=hint)


def config_of(plan: Plan, zonepath: Path, hostname: str | None) -> Mapping[str, Any] | None:
    """Return the OCI bundle's spec; zones of illumos are configured by zonecfg(8)."""
    if plan.platform != "linux":
        return None
    from partialroot.host.linux.oci import bundle_config, host_name

    return bundle_config(plan.settings, hostname or host_name(zonepath), plan.tops, os.uname().machine)


def refuse_running(zonepath: Path) -> None:
    """Raise BusyError while a process lives in the zone."""
    root = zonepath / "root"
    living = zone_processes(root) if os.path.isdir(root) else ()
    if living:
        raise BusyError(
            f"the zone is running: process {living[0].pid}",
            path=str(zonepath),
            hint=f"partialroot halt {zonepath}",
        )
