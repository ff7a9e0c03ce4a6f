"""Work spread over processes: forked, so that each begins with all that is known by then.

Only the parent decides when to stop: a worker does not hear the terminal's interrupt, ends the piece of work
it has begun, and undoes that only when it is told to.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Generic, NamedTuple, NoReturn, TypeVar

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkProcess

T = TypeVar("T")


class Done(NamedTuple, Generic[T]):
    """What came of a piece of work; ``died`` says how the process that did it ended instead."""

    number: int
    result: T | None
    died: str = ""


def allowed_cores() -> int:
    """Return how many processors this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


@contextmanager
def spread(work: Callable[[int], T], count: int, workers: int) -> Iterator[Iterator[Done[T]]]:
    """Do ``work`` with every number below ``count``; yield what yields each result as it comes, in no order.

    Where whoever asks stops asking, or is interrupted, the workers undo what they have begun; none is left
    behind the context. What they tell of that are notes on the error.
    """
    if workers < 2:
        yield (Done(number, work(number)) for number in range(count))
        return
    crew = _Crew(work)
    try:
        crew.begin(workers)
        yield crew.results(iter(range(count)))
    except BaseException as error:
        for note in crew.end():
            error.add_note(note)
        raise
    crew.end()


class _Worker(NamedTuple):
    process: "ForkProcess"
    connection: "Connection"


class _Crew(Generic[T]):
    """The workers, each with a pipe to it."""

    def __init__(self, work: Callable[[int], T]) -> None:
        self._work = work
        self._workers: list[_Worker] = []
        self._doing: dict[Connection, int] = {}

    def begin(self, count: int) -> None:
        """Start so many workers: an interrupt comes when they are known, and can be ended."""
        interrupts = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited
        try:
            for _ in range(count):
                self._workers.append(self._begin())
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, interrupts)

    def _begin(self) -> _Worker:
        import multiprocessing

        context = multiprocessing.get_context("fork")
        ours, theirs = context.Pipe()
        inherited = [*(worker.connection for worker in self._workers), ours]
        process = context.Process(target=_serve, args=(theirs, inherited, self._work))
        process.start()
        theirs.close()
        return _Worker(process, ours)

    def results(self, numbers: Iterator[int]) -> Iterator[Done[T]]:
        from multiprocessing.connection import wait

        for worker in self._workers:
            self._give(worker.connection, numbers)
        while self._doing:
            ready = wait(list(self._doing))
            for connection in [one for one in self._doing if one in ready]:
                yield self._result(connection)
                self._give(connection, numbers)
        yield from (Done(number, None, "no process is left to work on it") for number in numbers)

    def _give(self, connection: "Connection", numbers: Iterator[int]) -> None:
        """Give a worker the next piece, if there is one and it lives."""
        if connection.closed or (number := next(numbers, None)) is None:
            return
        self._doing[connection] = number
        with suppress(OSError):  # it died: its pipe will say so
            connection.send(number)

    def _result(self, connection: "Connection") -> Done[T]:
        number = self._doing.pop(connection)
        try:
            return Done(number, connection.recv())
        except (EOFError, OSError):
            worker = next(one for one in self._workers if one.connection is connection)
            worker.process.join()
            connection.close()
            return Done(number, None, f"the process that worked on it ended ({worker.process.exitcode})")

    def end(self) -> tuple[str, ...]:
        """Let the workers end; what one is doing now nobody wants any more.

        Return what they tell of what could not be undone.
        """
        busy = [worker for worker in self._workers if worker.connection in self._doing]
        for worker in self._workers:
            if worker in busy:
                worker.process.terminate()
            else:
                worker.connection.close()
        try:
            return tuple(note for worker in busy for note in _last_words(worker.connection))
        finally:
            for worker in busy:
                worker.connection.close()
            for worker in self._workers:
                worker.process.join()


class _Interrupted(NamedTuple):
    """What a worker says in place of a result; ``notes`` are those of the interrupt."""

    notes: tuple[str, ...]


def _last_words(connection: "Connection") -> tuple[str, ...]:
    """Wait for what a worker says that was told to stop: a last result, too, if it was quicker."""
    try:
        said = connection.recv()
    except (EOFError, OSError):
        return ()
    return said.notes if isinstance(said, _Interrupted) else ()


def _serve(connection: "Connection", inherited: "list[Connection]", work: Callable[[int], T]) -> None:
    """Do what the parent gives until it gives nothing more, or is gone."""
    for one in inherited:
        one.close()
    with suppress(EOFError, OSError):
        try:
            signal.signal(signal.SIGTERM, _stop)
            while True:
                _send_whole(connection, work(connection.recv()))
        except KeyboardInterrupt as interrupt:
            connection.send(_Interrupted(tuple(getattr(interrupt, "__notes__", ()))))


def _send_whole(connection: "Connection", result: object) -> None:
    """Send a result, and hear of nothing until it is sent: half of one is nothing that can be read."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        connection.send(result)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _stop(*_: object) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # what is undone now must come to its end
    raise KeyboardInterrupt
