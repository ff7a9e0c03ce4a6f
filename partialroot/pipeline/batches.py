"""One verb over many zones, some at a time; the others go on after an error."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from partialroot.errors import ApplyError, PartialRootError
from partialroot.pipeline.workers import spread
from partialroot.pipeline.zones import Outcome, Shared
from partialroot.zone import batch
from partialroot.zone.batch import Job
from partialroot.zone.store import Store

T = TypeVar("T")

MOST_TOGETHER = 100
"""So many zones share their syncs. Each needs a descriptor for its lock."""
WORTH_A_PROCESS = 50

Begin = Callable[[str, Shared], Job[Outcome[T]]]
"""Begins the work on a zonepath."""


Tell = Callable[[tuple[int, int]], object]
"""Is told how many zones are done of how many."""


def ignore(progress: tuple[int, int]) -> None:
    """Tell nobody."""


def do_all(
    store: Store,
    zonepaths: Sequence[str],
    begin: Begin[T],
    *,
    workers: int = 1,
    first: Sequence[str] = (),
    tell: Tell = ignore,
) -> tuple[Outcome[T], ...]:
    """Do the work on all zonepaths, and return the outcomes in their order.

    Where it is spread over ``workers``, ``first`` are done before: what they find out every worker knows.
    """
    workers = max(1, min(workers, len(zonepaths) // WORTH_A_PROCESS))
    outcomes: dict[str, Outcome[T]] = {}

    def note(results: Iterable[Outcome[T]]) -> None:
        outcomes.update((outcome.zonepath, outcome) for outcome in results)
        tell((len(outcomes), len(zonepaths)))

    if workers > 1 and first:
        note(_do_some(store, first, begin))
    batches = list(_batches([one for one in zonepaths if one not in outcomes], workers))
    with spread(lambda number: _do_some(store, batches[number], begin), len(batches), workers) as results:
        for done in results:
            note(done.result or [_died(zonepath, done.died) for zonepath in batches[done.number]])
    return tuple(outcomes[zonepath] for zonepath in zonepaths)


def _batches(zonepaths: Sequence[str], workers: int) -> Iterator[Sequence[str]]:
    """Yield the zonepaths in batches of about one size, as many for each worker."""
    count = len(zonepaths)
    rounds = -(-count // (MOST_TOGETHER * workers))
    size = max(1, -(-count // (rounds * workers or 1)))
    for start in range(0, count, size):
        yield zonepaths[start : start + size]


def _do_some(store: Store, zonepaths: Sequence[str], begin: Begin[T]) -> list[Outcome[T]]:
    """Do the work on some zonepaths together; their locks are taken in the order of their names."""
    ordered = sorted(zonepaths)
    with Shared() as shared:
        results = batch.run_all(store, [begin(zonepath, shared) for zonepath in ordered])
    return [_outcome(*pair) for pair in zip(ordered, results, strict=True)]


def _outcome(zonepath: str, result: Outcome[T] | PartialRootError) -> Outcome[T]:
    if isinstance(result, PartialRootError):
        return Outcome(zonepath, error=result, notes=tuple(getattr(result, "__notes__", ())))
    return result


def _died(zonepath: str, why: str) -> Outcome[T]:
    error = ApplyError(why, path=zonepath, hint="the next command on this zonepath puts it in order")
    return Outcome(zonepath, error=error)
