"""sbom: what a zone is made of, for those who have to account for it."""

from argparse import Namespace
from pathlib import Path

from partialroot.accounting import cyclonedx
from partialroot.cli import documents, messages, show
from partialroot.pipeline import accounting
from partialroot.pipeline.accounting import Billed
from partialroot.pipeline.zones import chosen
from partialroot.zone.place import store_path


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
