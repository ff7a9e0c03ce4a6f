"""explain, status, verify, audit, doctor: what is there."""

from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from partialroot.cli import documents, messages, reports, show
from partialroot.cli.common import code, say_outcomes, zone_documents, zonepaths
from partialroot.errors import UsageError
from partialroot.paths import RootPath
from partialroot.pipeline import inspecting
from partialroot.pipeline.zones import Outcome
from partialroot.zone.place import store_path

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
        removed = _removal(args, chain[0].path)[0] if args.what_if_removed else None
        about = documents.chain_document(args.zonepath, args.path, chain)
        print(documents.encode({**about, "removed": removed}))
    else:
        reports.print_chain(chain)
        if args.what_if_removed:
            show.tree([_removal(args, chain[0].path)[1]])
    return 0


def _removal(args: Namespace, path: RootPath) -> tuple[documents.Document, show.Branch]:
    """Return what would go with a path, as a document and as a tree."""
    from partialroot.cli import sizes
    from partialroot.pipeline import sizing

    removal = sizing.removal(Path(args.zonepath), path)
    return sizes.removal_document(removal), sizes.removal_tree(path, removal)


def verify(args: Namespace) -> int:
    """Compare zones with their receipts, or run them and tell what they look for in vain."""
    if args.watch:
        return _watch(args)
    if args.probes or args.seconds is not None or args.runtime != "auto":
        raise UsageError("--probe, --for and --runtime go with --watch")
    outcomes = inspecting.verify(store_path(args.store), zonepaths(args))
    return _show_findings(args, outcomes, _print_findings, strict=args.strict)


def _watch(args: Namespace) -> int:
    from partialroot.cli.learning import exercise_of
    from partialroot.pipeline import watching

    with messages.busy("watching"):
        wish = watching.Watch(exercise_of(args), args.runtime)
        outcomes = watching.watch(store_path(args.store), zonepaths(args), wish)
    return _show_findings(args, outcomes, _print_lines)


def audit(args: Namespace) -> int:
    """Look for what zones could misuse."""
    return _show_findings(args, inspecting.audit(store_path(args.store), zonepaths(args)), _print_findings)


def _show_findings(
    args: Namespace,
    outcomes: Sequence[Outcome[Any]],
    show_them: Callable[[Sequence[Outcome[Any]], Sequence[Mapping[str, Any]]], None],
    *,
    strict: bool = False,
) -> int:
    """Print findings; exit 5 for those that count: errors, and with ``strict`` notes too."""
    found = [
        {**one._asdict(), "zonepath": outcome.zonepath} for outcome in outcomes for one in outcome.value or ()
    ]
    if args.json:
        about = zone_documents(args.verb, outcomes, lambda findings: {"findings": len(findings)})
        print(documents.encode({**about, "findings": found}))
    elif not args.quiet:
        show_them(outcomes, found)
    say_outcomes(outcomes)
    counted = any(strict or one["severity"] == "error" for one in found)
    return max(code(outcomes), FINDINGS if counted else 0)


def _print_findings(outcomes: Sequence[Outcome[Any]], found: Sequence[Mapping[str, Any]]) -> None:
    reports.print_findings(found)
    for one in outcomes:
        if one.value == []:
            show.line(f"{one.zonepath}: as it should be")


def _print_lines(outcomes: Sequence[Outcome[Any]], found: Sequence[Mapping[str, Any]]) -> None:
    """Print what can be pasted into a profile, and nothing where nothing is lacking."""
    for zonepath in dict.fromkeys(one["zonepath"] for one in found):
        if len(outcomes) > 1:
            show.line(f"# {zonepath}")
        for one in found:
            if one["zonepath"] == zonepath:
                show.line(f"{one['expected']}  # {one['actual']}")


def status(args: Namespace) -> int:
    """Say which zones are current, and what runs in them; exit 5 unless all that are there are current."""
    states = inspecting.status(store_path(args.store), zonepaths(args))
    errors = [one.error for one in states if one.error]
    there = [one for one in states if not one.error]
    if args.json:
        found = _sizes(there) if args.size else {}
        zones = [{**documents.status_document(one), "size": found.get(one.zonepath)} for one in states]
        print(documents.encode({"zones": zones, **(documents.error_document(errors[0]) if errors else {})}))
    elif not args.quiet:
        if there or not errors:
            reports.print_status(there)
        if args.size:
            _print_sizes(there, args.verbose)
    for error in errors:
        messages.say_error(error)
    codes = [FINDINGS for one in there if one.state != "current"]
    return max((*codes, *(error.code for error in errors)), default=0)


def _sizes(states: Sequence[inspecting.ZoneStatus]) -> dict[str, documents.Document]:
    from partialroot.cli import sizes
    from partialroot.pipeline import sizing

    found = sizing.sizes([one.zonepath for one in states])
    return {zonepath: sizes.document(one) for zonepath, one in found.items()}


def _print_sizes(states: Sequence[inspecting.ZoneStatus], verbose: bool) -> None:
    from partialroot.cli import sizes
    from partialroot.pipeline import sizing

    sizes.print_sizes(sizing.sizes([one.zonepath for one in states]), verbose=verbose)


def doctor(args: Namespace) -> int:
    """Say what this host offers to zones, and what to do about what it lacks."""
    from partialroot.pipeline.doctoring import examine
    from partialroot.pipeline.sources import Options

    with messages.busy("trying"):
        checks = examine(Options(store_path(args.store), Path(args.source), args.platform), args.zonepaths)
    if args.json:
        print(documents.encode({"checks": [one._asdict() for one in checks]}))
    elif not args.quiet:
        rows = [("yes" if one.offered else "no", one.name, one.about, one.remedy) for one in checks]
        show.table(("", "WHAT", "FOUND", "IF IT MATTERS"), rows)
    return 0
