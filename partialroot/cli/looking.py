"""explain, status, verify, audit: what is there."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from partialroot.cli import documents, reports, show
from partialroot.cli.common import code, say_outcomes, zone_documents, zonepaths
from partialroot.errors import UsageError
from partialroot.pipeline import inspecting
from partialroot.pipeline.zones import Outcome
from partialroot.zone.store import store_path

FINDINGS = 5


def explain(args: Namespace) -> int:
    """Say why a path is in a zone."""
    for path in (args.zonepath, args.path):
        if not path.startswith("/"):
            raise UsageError(
                "paths are absolute", path=path, hint="explain ZONEPATH PATH, as the zone sees it"
            )
    chain = inspecting.explain(Path(args.zonepath), args.path)
    if args.json:
        print(documents.encode(documents.chain_document(args.zonepath, args.path, chain)))
    else:
        reports.print_chain(chain)
    return 0


def verify(args: Namespace) -> int:
    """Compare zones with their receipts."""
    return _show_findings(args, inspecting.verify(store_path(args.store), zonepaths(args)), args.strict)


def audit(args: Namespace) -> int:
    """Look for what zones could misuse."""
    return _show_findings(args, inspecting.audit(store_path(args.store), zonepaths(args)), False)


def _show_findings(args: Namespace, outcomes: Sequence[Outcome[Any]], strict: bool) -> int:
    """Print findings; exit 5 for those that count: errors, and with ``strict`` notes too."""
    found = [
        {**one._asdict(), "zonepath": outcome.zonepath} for outcome in outcomes for one in outcome.value or ()
    ]
    if args.json:
        about = zone_documents(args.verb, outcomes, lambda findings: {"findings": len(findings)})
        print(documents.encode({**about, "findings": found}))
    elif not args.quiet:
        reports.print_findings(found)
        for one in outcomes:
            if one.value == []:
                show.line(f"{one.zonepath}: as it should be")
    say_outcomes(outcomes)
    counted = any(strict or one["severity"] == "error" for one in found)
    return max(code(outcomes), FINDINGS if counted else 0)


def status(args: Namespace) -> int:
    """Say which zones are current, and what runs in them; exit 5 unless all are current."""
    states = inspecting.status(store_path(args.store), zonepaths(args))
    if args.json:
        print(documents.encode({"zones": [documents.status_document(one) for one in states]}))
    elif not args.quiet:
        reports.print_status(states)
    return FINDINGS if any(one.state != "current" for one in states) else 0
