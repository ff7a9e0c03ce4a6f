"""Work on many small things with a second process: threads would wait for each other in Python."""

import marshal
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any, NoReturn, TypeVar

from partialroot import observed

T = TypeVar("T")

_MOST_PARTS = 256  # whose numbers are a byte each: both processes may read them from one pipe


def is_useful() -> bool:
    """Whether this process may use a second processor, and be forked: it must not have other threads."""
    threading = sys.modules.get("threading")
    if threading is not None and threading.active_count() > 1:
        return False
    affinity = getattr(os, "sched_getaffinity", None)
    return (len(affinity(0)) if affinity else os.cpu_count() or 1) > 1


def halved(work: Callable[[Sequence[T]], list[Any]], items: Sequence[T]) -> list[Any]:
    """Return what ``work`` makes of the items, in their order (see :func:`meanwhile`)."""
    with meanwhile(work, items) as results:
        return results()


@contextmanager
def meanwhile(
    work: Callable[[Sequence[T]], list[Any]], items: Sequence[T]
) -> Iterator[Callable[[], list[Any]]]:
    """Let a forked process begin with the items; yield what takes part in that and returns all results.

    Both take the next few until none are left. Of what happens there only the results come here, values that
    marshal knows, and what was looked at (module observed); if something goes wrong there, its part is done
    again here: all errors are those of ``work``. It is ended with the context, whether it was waited for or
    not; where this process is killed, before it begins with the next item.
    """
    size = max(1, -(-len(items) // _MOST_PARTS))
    parts = [items[at : at + size] for at in range(0, len(items), size)]
    queue, filling = os.pipe()
    os.write(filling, bytes(range(len(parts))))
    os.close(filling)
    reading, writing = os.pipe()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        _answer(writing, lambda: _take(queue, lambda part: work(_Wanted(part, parent)), parts))
    os.close(writing)
    runs = True

    def results() -> list[Any]:
        nonlocal runs
        done = _take(queue, work, parts)
        answer = pipe.read()
        _, status = os.waitpid(child, 0)
        runs = False
        if not status and answer:
            theirs, seen = marshal.loads(answer)  # noqa: S302 - ours
            done.update(theirs)
            if observed.current:
                observed.current.add(seen)
        found = (done[number] if number in done else work(part) for number, part in enumerate(parts))
        return list(chain.from_iterable(found))

    with open(reading, "rb") as pipe, open(queue, "rb"):
        try:
            yield results
        finally:
            if runs:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)


def _take(
    queue: int, work: Callable[[Sequence[T]], list[Any]], parts: Sequence[Sequence[T]]
) -> dict[int, list[Any]]:
    """Work on parts whose numbers come out of a pipe; return the results by these numbers."""
    done = {}
    while number := os.read(queue, 1):
        done[number[0]] = work(parts[number[0]])
    return done


class _Wanted(list[T]):
    """Items for a second process: when the one is gone that wants them, it ends in place of the next."""

    def __init__(self, items: Sequence[T], parent: int) -> None:
        super().__init__(items)
        self._parent = parent

    def __iter__(self) -> Iterator[T]:
        for one in super().__iter__():
            if os.getppid() != self._parent:
                os._exit(1)
            yield one


def _answer(writing: int, answer: Callable[[], Any]) -> NoReturn:
    """Write the answer and end, without whatever else a process does at its end."""
    status = 1
    try:
        with open(writing, "wb") as pipe, observed.watching() as watch:
            pipe.write(marshal.dumps((answer(), watch.seen)))
        status = 0
    finally:
        os._exit(status)
