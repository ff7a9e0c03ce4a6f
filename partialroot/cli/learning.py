"""learn: a profile from a run."""

from argparse import Namespace
from pathlib import Path

from partialroot.cli import documents, messages, show
from partialroot.errors import UsageError
from partialroot.pipeline import learning
from partialroot.pipeline.exercise import Exercise
from partialroot.pipeline.sources import Options
from partialroot.zone.place import store_path


def learn(args: Namespace) -> int:
    """Run a command and write a profile of what it used; exit 2 when that lacks something."""
    out, merge = Path(args.out), Path(args.merge) if args.merge else None
    if out.suffix != ".toml":
        raise UsageError("a profile's file ends in .toml", path=args.out)
    if out.exists() and (merge is None or not out.samefile(merge)):
        raise UsageError(
            "it exists", path=args.out, hint=f"say --merge {args.out} to add to it, or remove it"
        )
    with messages.busy("learning"):
        result = learning.learn(_options(args), _wish(args, merge), out.name)
    changed = learning.save(out, result.text)
    if args.json:
        print(documents.encode(documents.learn_document(args.out, changed, result)))
    elif not args.quiet:
        _print_learned(args, changed, result)
    if not args.quiet:
        messages.say_missing(result.missing)
        messages.say_warnings(result.warnings)
    return 2 if any(one.severity == "error" for one in result.missing) else 0


def _options(args: Namespace) -> Options:
    return Options(
        store=store_path(args.store),
        source=Path(args.source),
        platform=args.platform,
        manifests=tuple(Path(place) for place in args.manifests),
    )


def _wish(args: Namespace, merge: Path | None) -> learning.Wish:
    return learning.Wish(
        command=args.command,
        exercise=exercise_of(args),
        traces=tuple(Path(place) for place in args.trace),
        uses=tuple(args.uses or ("base",)),
        merge=merge,
        secrets=args.secrets,
    )


def exercise_of(args: Namespace) -> Exercise:
    """Return how something that runs is to be exercised."""
    return Exercise(tuple(args.probes), args.wait, args.seconds)


def _print_learned(args: Namespace, changed: bool, result: learning.Result) -> None:
    """Print what is new, and what comes next."""
    lines = [*result.learned.lines, *result.learned.places]
    seen = f"{len(result.trace.lookups)} lookups by {result.trace.processes} processes"
    if not changed:
        show.line(f"{args.out}: nothing new in {seen}")
        return
    show.line(f"{args.out}: {len(lines)} lines from {seen}")
    if args.verbose:
        show.table(("KEY", "WHAT", "WHY"), ((one.key, one.text, one.why) for one in result.learned.lines))
