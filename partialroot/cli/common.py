"""What the verbs have in common: their options, and how what was done to each zone is printed."""

from argparse import Namespace
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from partialroot.cli import documents, messages, show
from partialroot.zone.place import store_path

if TYPE_CHECKING:
    from partialroot.pipeline.zones import Outcome

_NAMED = 5
"""So many zones are named of those that something is about; the others are counted."""


def zonepaths(args: Namespace) -> tuple[str, ...]:
    """Return the zones a verb is about."""
    from partialroot.pipeline.zones import chosen

    return chosen(store_path(args.store), args.zonepaths, args.all)


def code(outcomes: "Iterable[Outcome[Any]]") -> int:
    """Return the highest exit code among the zones' errors."""
    return max((one.error.code for one in outcomes if one.error is not None), default=0)


def say_outcomes(outcomes: "Sequence[Outcome[Any]]") -> None:
    """Tell what was noticed at each zone, and the errors; what several zones have in common is told once.

    Where a command is about several, they are named if that does not say which it is about.
    """
    notes: dict[str, list[str]] = {}
    errors: dict[object, list[Outcome[Any]]] = {}
    for one in outcomes:
        for note in one.notes:
            notes.setdefault(note, []).append(one.zonepath)
        if one.error is not None:
            errors.setdefault((str(one.error), one.error.missing), []).append(one)
    several = len(outcomes) > 1
    for note, zonepaths in notes.items():
        messages.say(note)
        _say_zones(note, zonepaths if several else ())
    for alike in errors.values():
        error = alike[0].error
        assert error is not None
        messages.say_error(error)
        _say_zones(str(error), [one.zonepath for one in alike] if several else ())


def _say_zones(text: str, zonepaths: Sequence[str]) -> None:
    """Say which zones a text was about that does not name them."""
    unnamed = [zonepath for zonepath in zonepaths if zonepath not in text]
    more = f" and {len(unnamed) - _NAMED} more" if len(unnamed) > _NAMED else ""
    if unnamed:
        messages.say(f"that is about {', '.join(unnamed[:_NAMED])}{more}")


def zone_documents(
    verb: str, outcomes: "Sequence[Outcome[Any]]", describe: Callable[[Any], documents.Document]
) -> documents.Document:
    """Describe zones one by one; the first error is also the object's."""
    zones = []
    for one in outcomes:
        done = None if one.value is None else describe(one.value)
        zones.append(documents.zone_document(verb, one.zonepath, done, one.error))
    about: documents.Document = {"zones": zones}
    failed = next((one.error for one in outcomes if one.error is not None), None)
    return about if failed is None else {**about, **documents.error_document(failed)}


def finish(
    args: Namespace,
    outcomes: "Sequence[Outcome[Any]]",
    describe: Callable[[Any], documents.Document],
    tell: Callable[[str, Any], str],
) -> int:
    """Print what was done to each zone, as JSON or as a line each; return the exit code."""
    return finish_long(args, outcomes, describe, lambda zonepath, done: [tell(zonepath, done)])


def finish_long(
    args: Namespace,
    outcomes: "Sequence[Outcome[Any]]",
    describe: Callable[[Any], documents.Document],
    lines: Callable[[str, Any], Iterable[str]],
) -> int:
    """The same, with several lines for each zone."""
    if args.json:
        print(documents.encode(zone_documents(args.verb, outcomes, describe)))
    elif not args.quiet:
        for one in outcomes:
            if one.value is not None:
                for line in lines(one.zonepath, one.value):
                    show.line(line)
    say_outcomes(outcomes)
    return code(outcomes)
