"""affected: which zones hold something, and whether it is still what the source has."""

from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

from partialroot.cli import documents, messages, show
from partialroot.cli.common import code, say_outcomes, zone_documents
from partialroot.pipeline import affected as looking
from partialroot.pipeline.affected import Held
from partialroot.zone.place import store_path


def affected(args: Namespace) -> int:
    """Say which zones hold paths or packages; that some do, or none, is an answer: exit 0."""
    outcomes = looking.affected(store_path(args.store), args.words)
    held = [(one.zonepath, found) for one in outcomes for found in one.value or ()]
    if args.json:
        unread = [one for one in outcomes if one.error is not None]
        about = zone_documents("affected", unread, lambda _: {})
        zones = [_held_document(*one) for one in held]
        print(documents.encode({**about, "unread": about["zones"], "zones": zones}))
    elif not args.quiet:
        _print_held(held, verbose=args.verbose)
        for word in args.words:
            if not any(found.asked == word for _, found in held):
                messages.say(f"no zone holds {word}")
    say_outcomes(outcomes)
    return code(outcomes)


def _held_document(zonepath: str, held: Held) -> documents.Document:
    return {
        "zonepath": zonepath,
        "asked": held.asked,
        "package": held.supplier.package if held.supplier else None,
        "version": held.supplier.version if held.supplier else None,
        "paths": [record.path for record in held.records],
        "methods": dict(sorted(Counter(str(record.method) for record in held.records).items())),
        "state": held.state,
        "because": list(held.stale or ()),
        "since": _time(held.since),
    }


def _print_held(held: Sequence[tuple[str, Held]], *, verbose: bool) -> None:
    """Print a row for each zone and what it holds of what was asked for."""
    headings = ("ASKED", "STATE", "METHOD", "SINCE", "PACKAGE", "ZONEPATH", "PATH")
    rows = [_held_row(zonepath, one, verbose=verbose) for zonepath, one in held]
    if rows:
        show.table(headings, rows)


def _held_row(zonepath: str, held: Held, *, verbose: bool) -> tuple[str, ...]:
    document = _held_document(zonepath, held)
    paths = document["paths"] if verbose else document["paths"][:1]
    more = len(document["paths"]) - len(paths)
    return (
        held.asked,
        held.state,
        ", ".join(f"{name} {count}" for name, count in document["methods"].items()),
        document["since"],
        f"{held.supplier.package} {held.supplier.version}" if held.supplier else "",
        zonepath,
        f"{' '.join(paths)}{f' and {more} more' if more else ''}",
    )


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).isoformat().replace("+00:00", "Z")
