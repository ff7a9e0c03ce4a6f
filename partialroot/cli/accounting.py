"""sbom, affected: what zones hold, for those who have to account for it."""

from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from partialroot.accounting import cyclonedx
from partialroot.cli import documents, messages, show
from partialroot.cli.common import code, say_outcomes, zone_documents
from partialroot.pipeline import accounting
from partialroot.pipeline import affected as looking
from partialroot.pipeline.accounting import Billed
from partialroot.pipeline.affected import Held
from partialroot.pipeline.zones import chosen
from partialroot.zone.store import store_path


def sbom(args: Namespace) -> int:
    """Print what a zone is made of, or write it to a file."""
    store = store_path(args.store)
    (zonepath,) = chosen(store, (args.zonepath,), every=False)
    billed = accounting.sbom(store, Path(zonepath))
    bom = cyclonedx.document(billed.bill)
    if args.out:
        accounting.save(cyclonedx.encode(bom), Path(args.out))
    if args.json:
        print(documents.encode(_document(args, billed, None if args.out else bom)))
    elif not args.out:
        print(cyclonedx.encode(bom).decode("ascii"), end="")
    elif not args.quiet:
        show.line(_summary(args, billed))
    for note in billed.notes:
        messages.say(note)
    if not args.quiet:
        messages.say_warnings(billed.warnings)
    return 0


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


def _document(args: Namespace, billed: Billed, bom: documents.Document | None) -> documents.Document:
    return {
        "zonepath": args.zonepath,
        "out": args.out,
        "bom": bom,
        "files": len(billed.bill.files),
        "packages": len(billed.bill.packages),
        "partial": _partial(billed),
        "warnings": list(billed.warnings),
    }


def _summary(args: Namespace, billed: Billed) -> str:
    packages = f"{len(billed.bill.packages)} packages ({_partial(billed)} in part)"
    return f"{args.zonepath}: {len(billed.bill.files)} files, {packages}: {args.out}"


def _partial(billed: Billed) -> int:
    return sum(one.is_whole is False for one in billed.bill.packages)
