"""Work on many small things, half of it in a second process: threads would wait for each other in Python."""

import marshal
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")


def is_useful() -> bool:
    """Whether this process may use a second processor, and be forked: it must not have other threads."""
    threading = sys.modules.get("threading")
    if threading is not None and threading.active_count() > 1:
        return False
    affinity = getattr(os, "sched_getaffinity", None)
    return (len(affinity(0)) if affinity else os.cpu_count() or 1) > 1


def halved(work: Callable[[Sequence[T]], list[Any]], items: Sequence[T]) -> list[Any]:
    """Return what ``work`` makes of the items, in their order: values that marshal knows.

    Every second item is for a forked process (see :func:`meanwhile`); all errors are those of ``work``.
    """
    results: list[Any] = [None] * len(items)
    with meanwhile(work, items[1::2]) as theirs:
        results[::2] = work(items[::2])
        results[1::2] = theirs()
    return results


@contextmanager
def meanwhile(
    work: Callable[[Sequence[T]], list[Any]], items: Sequence[T]
) -> Iterator[Callable[[], list[Any]]]:
    """Let a forked process work on the items; yield what waits for it and returns its results.

    Its changes are lost but for those, values that marshal knows. If something goes wrong there, all is done
    again here. It is ended with the context, whether it was waited for or not; where this process is killed,
    before it begins with the next item.
    """
    reading, writing = os.pipe()
    wanted = _Wanted(items, os.getpid())
    child = os.fork()
    if child == 0:
        _answer(writing, work, wanted)
    os.close(writing)
    runs = True

    def results() -> list[Any]:
        nonlocal runs
        answer = pipe.read()
        _, status = os.waitpid(child, 0)
        runs = False
        done: list[Any] = work(items) if status or not answer else marshal.loads(answer)  # noqa: S302 - ours
        return done

    with open(reading, "rb") as pipe:
        try:
            yield results
        finally:
            if runs:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)


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


def _answer(writing: int, work: Callable[[Sequence[T]], list[Any]], items: Sequence[T]) -> NoReturn:
    """Write the results and end, without whatever else a process does at its end."""
    status = 1
    try:
        with open(writing, "wb") as pipe:
            pipe.write(marshal.dumps(work(items)))
        status = 0
    finally:
        os._exit(status)
