"""mount, unmount, boot, halt: what makes a populated zone run, and stop."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from partialroot.errors import BusyError, ConflictError
from partialroot.model import Receipt
from partialroot.pipeline.planning import refuse_host_network
from partialroot.pipeline.zones import Outcome, each, need_receipt, opened, refuse_running
from partialroot.zone.apply import Site
from partialroot.zone.store import Store

if TYPE_CHECKING:
    from partialroot.host.linux.boot import Booted, Watch


def mount(store: Path, zonepaths: Sequence[str]) -> tuple[Outcome[tuple[str, ...]], ...]:
    """Bring the shared layer up again, after a reboot; the outcome names what was missing."""
    return each(zonepaths, lambda one: _mount_one(Store(store), Path(one)))


def _mount_one(store: Store, zonepath: Path) -> Outcome[tuple[str, ...]]:
    with opened(store, zonepath) as (site, notes):
        notes = (*notes, *_catch_up(site))
        return Outcome(str(zonepath), bring_up(site), notes=notes)


def bring_up(site: Site) -> tuple[str, ...]:
    """Mount what is not mounted yet of the zone's shared layer, and return it."""
    binds = site.binds(need_receipt(site.zonepath))
    return site.mounter.up(site.zonepath, binds) if binds and site.mounter else ()


def _catch_up(site: Site) -> tuple[str, ...]:
    """Do the refresh that waits for a zone, now that no process lives in it; return what to tell of it."""
    known = site.store.registered(site.zonepath)
    if known is None or known.staged is None:
        return ()
    from partialroot.pipeline.staging import carry_out

    try:
        refuse_running(site.zonepath)
    except BusyError:
        return ()
    return carry_out(site)


def unmount(store: Path, zonepaths: Sequence[str]) -> tuple[Outcome[tuple[str, ...]], ...]:
    """Take the shared layer down; the outcome names what was mounted."""
    return each(zonepaths, lambda one: _unmount_one(Store(store), Path(one)))


def _unmount_one(store: Store, zonepath: Path) -> Outcome[tuple[str, ...]]:
    with opened(store, zonepath) as (site, notes):
        binds = site.binds(need_receipt(zonepath))
        refuse_running(zonepath)
        down = site.mounter.down(zonepath, binds) if binds and site.mounter else ()
        return Outcome(str(zonepath), down, notes=notes)


def boot(
    store: Path,
    zonepaths: Sequence[str],
    *,
    runtime: str,
    foreground: bool,
    address: str | None,
    trust_zone: bool,
    watch: "Watch | None" = None,
) -> "tuple[Outcome[Booted], ...]":
    """Start zones; one in the foreground must be attended (``host.linux.boot.attend``)."""
    want = Boot(runtime, foreground, address, trust_zone, watch)
    return each(zonepaths, lambda one: _boot_one(Store(store), Path(one), want))


class Boot(NamedTuple):
    """How a zone is started; ``watch`` is told of its first process before that runs the zone's program."""

    runtime: str = "auto"
    foreground: bool = False
    address: str | None = None
    trust_zone: bool = False
    watch: "Watch | None" = None


def _boot_one(store: Store, zonepath: Path, want: Boot) -> "Outcome[Booted]":
    with opened(store, zonepath) as (site, notes):
        booted, more = start(site, want)
        return Outcome(str(zonepath), booted, notes=(*notes, *more))


def start(site: Site, want: Boot) -> "tuple[Booted, tuple[str, ...]]":
    """Start a zone whose lock we hold, after whatever was put off until now; also return what to tell."""
    _refuse_illumos("boot", site.zonepath, need_receipt(site.zonepath))
    from partialroot.host.linux.boot import boot

    notes = _catch_up(site)
    receipt = need_receipt(site.zonepath)
    _refuse_boot(site.zonepath, receipt, want)
    back = bring_up(site)
    booted = boot(
        site.zonepath,
        runtime=want.runtime,
        foreground=want.foreground,
        address=want.address or receipt.request.address,
        watch=want.watch,
    )
    if back:
        notes = (*notes, f"{site.zonepath}: mounted again: {' '.join(back)}")
    return booted, notes


def _refuse_boot(zonepath: Path, receipt: Receipt, want: Boot) -> None:
    if receipt.settings.start is None:
        raise ConflictError(
            "its profiles say nothing to start", path=str(zonepath), hint="add a [start] to one"
        )
    refuse_running(zonepath)
    refuse_host_network(receipt.settings, want.trust_zone or receipt.request.trust_zone)


def halt(store: Path, zonepaths: Sequence[str], *, grace: float) -> tuple[Outcome[bool], ...]:
    """Stop zones: SIGTERM, and after ``grace`` seconds SIGKILL; the outcome says whether one was running."""
    return each(zonepaths, lambda one: _halt_one(Store(store), Path(one), grace))


def _halt_one(store: Store, zonepath: Path, grace: float) -> Outcome[bool]:
    with opened(store, zonepath) as (_, notes):
        _refuse_illumos("halt", zonepath, need_receipt(zonepath))
        from partialroot.host.linux.halt import halt as stop

        return Outcome(str(zonepath), stop(zonepath, grace), notes=notes)


def _refuse_illumos(verb: str, zonepath: Path, receipt: Receipt) -> None:
    """Raise ConflictError for a zone of illumos: it is the system that starts and stops it."""
    if receipt.request.platform == "illumos":
        raise ConflictError(
            f"zoneadm(8) is what can {verb} a zone of illumos",
            path=str(zonepath),
            hint=f"zoneadm -z ZONE {verb}",
        )
