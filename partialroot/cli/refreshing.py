"""refresh, rollback, prune: zones become what the source is now, or what they were; leftovers go."""

from argparse import Namespace
from collections.abc import Iterator, Sequence

from partialroot.cli import documents, messages, show
from partialroot.cli.common import finish_long, zonepaths
from partialroot.pipeline import refreshing
from partialroot.pipeline.refreshing import How, Refreshed
from partialroot.pipeline.workers import allowed_cores
from partialroot.pipeline.zones import Outcome
from partialroot.zone.place import store_path

MOST_LINES = 20
"""So many paths of a zone are shown; the others are counted, unless all are asked for."""


def refresh(args: Namespace) -> int:
    """Bring zones up to date with the source, or show what that would change."""
    places = zonepaths(args)
    with messages.progress("refreshing") as tell:
        how = How(args.dry_run, args.jobs or allowed_cores(), tell)
        outcomes = refreshing.refresh(store_path(args.store), places, how)
    return _finish(args, outcomes)


def rollback(args: Namespace) -> int:
    """Bring zones back to what they were before their last change, or show what that would change."""
    return _finish(args, refreshing.rollback(store_path(args.store), zonepaths(args), dry_run=args.dry_run))


def prune(args: Namespace) -> int:
    """Remove what no zone needs, or show what that would be."""
    from partialroot.pipeline.pruning import prune as prune_store

    done = prune_store(store_path(args.store), dry_run=args.dry_run, give_up_previous=args.previous)
    if args.json:
        print(documents.encode(documents.pruned_document(done)))
    elif not args.quiet:
        would = "would be removed" if args.dry_run else "removed"
        for one in (*done.images, *done.leftovers):
            show.line(f"{one.path}: {would}")
        show.line(f"{show.size(done.size)} {'would be freed' if args.dry_run else 'freed'}")
    for stale in done.stale:
        messages.say(f"{stale.path}: {stale.why}; {stale.hint}")
    return 0


def _finish(args: Namespace, outcomes: Sequence[Outcome[Refreshed]]) -> int:
    def report(zonepath: str, done: Refreshed) -> Iterator[str]:
        lines = list(_lines(done))
        most = len(lines) if args.verbose else MOST_LINES
        yield f"{zonepath}: {_what(args, done)}"
        yield from lines[:most]
        if lines[most:]:
            yield f"  and {len(lines[most:])} more: -v shows all"

    return finish_long(args, outcomes, documents.refreshed_document, report)


def _what(args: Namespace, done: Refreshed) -> str:
    if args.verb == "rollback":
        return "would be what it was before" if args.dry_run else "is what it was before"
    if done.staged:
        return "to be refreshed at the next boot: it is running"
    return ("would be refreshed" if args.dry_run else "refreshed") if done.changed else "nothing to do"


def _lines(done: Refreshed) -> Iterator[str]:
    """Yield a line for each path: ``+`` is new, ``-`` goes, ``~`` becomes another, ``=`` is kept."""
    before, after = done.brought.digests
    if before != after:
        yield f"  image {_short(before)} -> {_short(after)}"
    for mark, paths in zip("+-~", done.brought[1:4], strict=True):
        yield from (f"  {mark} {path}" for path in paths)
    for path, beside in done.brought.kept:
        yield f"  = {path} is kept as the zone has edited it" + (f"; see {beside}" if beside else "")


def _short(digest: str | None) -> str:
    return digest[:12] if digest else "none"
