"""mount, unmount, boot, halt: what makes a zone run, and stop."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from partialroot.cli import documents, messages, reports
from partialroot.cli.common import finish, zonepaths
from partialroot.errors import UsageError
from partialroot.paths import RootPath
from partialroot.pipeline import running
from partialroot.zone.place import store_path

if TYPE_CHECKING:
    from partialroot.host.linux.boot import Booted, Watch


def mount(args: Namespace) -> int:
    """Bring the shared layer up again."""
    outcomes = running.mount(store_path(args.store), zonepaths(args))
    return finish(args, outcomes, _changed_tops, lambda zone, tops: f"{zone}: mounted {_tops(tops)}")


def unmount(args: Namespace) -> int:
    """Take the shared layer down."""
    outcomes = running.unmount(store_path(args.store), zonepaths(args))
    return finish(args, outcomes, _changed_tops, lambda zone, tops: f"{zone}: unmounted {_tops(tops)}")


def _changed_tops(tops: Sequence[RootPath]) -> documents.Document:
    return {"changed": bool(tops), "mounts": list(tops)}


def _tops(tops: Sequence[RootPath]) -> str:
    return " ".join(tops) or "nothing: all was as wanted"


def boot(args: Namespace) -> int:
    """Start zones, and say loudly what does not isolate them."""
    places = zonepaths(args)
    if not args.foreground:
        return _start(args, places)[1]
    if len(places) != 1:
        raise UsageError("--foreground takes one zone", hint="leave it out, or name one ZONEPATH")
    return _stay(args, places)


def _stay(args: Namespace, places: Sequence[str]) -> int:
    """Start a zone that ends with us, also where an interrupt comes before it is attended."""
    from partialroot.host.linux.boot import attend
    from partialroot.host.linux.halt import halt as stop

    begun: list[int] = []
    try:
        started, code = _start(args, places, lambda _, pid: begun.append(pid))
        return attend(started[0]) if started else code
    except KeyboardInterrupt:
        if begun:
            stop(Path(places[0]))
        raise


def _start(
    args: Namespace, places: Sequence[str], watch: "Watch | None" = None
) -> "tuple[Sequence[Booted], int]":
    """Start zones and say what came of it; return those that run, and the exit code."""
    outcomes = running.boot(
        store_path(args.store),
        places,
        runtime=args.runtime,
        foreground=args.foreground,
        address=args.address,
        trust_zone=args.trust_zone,
        watch=watch,
    )
    started = [one.value for one in outcomes if one.value is not None]
    say_losses(started)
    return started, finish(args, outcomes, documents.boot_document, reports.boot_line)


def say_losses(started: "Sequence[Booted]") -> None:
    """Say what does not isolate zones that were started, and what else to know of them."""
    for booted in started:
        for loss in booted.not_isolated:
            messages.say(f"warning: {booted.zonepath}: NOT ISOLATED: {loss}")
        messages.say_warnings(f"{booted.zonepath}: {warning}" for warning in booted.warnings)


def halt(args: Namespace) -> int:
    """Stop zones."""
    outcomes = running.halt(store_path(args.store), zonepaths(args), grace=args.grace)
    return finish(
        args,
        outcomes,
        lambda halted: {"changed": halted},
        lambda zone, halted: f"{zone}: {'halted' if halted else 'was not running'}",
    )
