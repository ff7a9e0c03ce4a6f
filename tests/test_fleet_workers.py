"""Work spread over processes: results, a worker that dies, an interrupt."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from children import children

from partialroot.pipeline import workers
from partialroot.pipeline.workers import Done, spread

T = TypeVar("T")
WORKERS = (1, 2, 3)


def all_of(work: Callable[[int], T], count: int, workers: int) -> list[Done[T]]:
    """Return what comes of all pieces of work."""
    with spread(work, count, workers) as results:
        return list(results)


@pytest.mark.parametrize("count", WORKERS)
def test_every_piece_is_done_once(count: int) -> None:
    done = all_of(lambda number: (number, os.getpid()), 20, count)
    assert sorted(one.number for one in done) == list(range(20))
    assert all(one.result and one.result[0] == one.number for one in done)
    others = {one.result[1] for one in done if one.result} - {os.getpid()}
    assert len(others) == (0 if count == 1 else count)


def test_nothing_to_do() -> None:
    assert all_of(str, 0, 2) == []


def test_a_worker_that_dies_loses_only_what_it_did() -> None:
    def work(number: int) -> int:
        if number == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    done = {one.number: one for one in all_of(work, 10, 2)}
    assert sorted(done) == list(range(10))
    assert done[3].result is None
    assert "(-9)" in done[3].died
    assert [one.result for number, one in sorted(done.items()) if number != 3] == [0, 1, 2, *range(4, 10)]


def test_work_that_nobody_is_left_for_is_told() -> None:
    def work(number: int) -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        return number

    done = all_of(work, 5, 2)
    assert sorted(one.number for one in done) == list(range(5))
    assert all(one.died for one in done)


def test_an_interrupt_has_the_workers_undo_what_they_do(tmp_path: Path) -> None:
    def work(number: int) -> int:
        if number == 0:
            return 0
        try:
            (tmp_path / f"begun{number}").touch()
            while True:  # not pause(2): what interrupts may come just before it
                time.sleep(0.01)
        except KeyboardInterrupt:
            (tmp_path / f"undone{number}").touch()
            raise

    def interrupted() -> None:
        with spread(work, 3, 2) as results:
            assert next(results).number == 0
            while not list(tmp_path.glob("begun*")):
                pass
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    begun = [path.name.removeprefix("begun") for path in tmp_path.glob("begun*")]
    assert begun
    assert sorted(path.name.removeprefix("undone") for path in tmp_path.glob("undone*")) == sorted(begun)


def test_an_interrupt_while_workers_are_begun_leaves_none(monkeypatch: pytest.MonkeyPatch) -> None:
    before, begin = children(), workers._Crew._begin

    def interrupted(crew: workers._Crew[int]) -> workers._Worker:
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)  # not os.kill: pytest may have threads
        return begin(crew)

    monkeypatch.setattr(workers._Crew, "_begin", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        all_of(int, 3, 2)
    assert children() <= before
    del caught  # until here it held all that would let them end by being forgotten


def test_the_terminal_s_interrupt_is_not_for_workers() -> None:
    def work(number: int) -> int:
        os.kill(os.getpid(), signal.SIGINT)
        return number

    assert sorted(one.result or 0 for one in all_of(work, 4, 2)) == [0, 1, 2, 3]


def test_what_a_worker_could_not_undo_is_told(tmp_path: Path) -> None:
    def work(number: int) -> int:
        try:
            (tmp_path / str(number)).touch()
            while len(list(tmp_path.iterdir())) < 2:
                time.sleep(0.01)
            if number == 1:
                os.kill(os.getppid(), signal.SIGINT)
            while True:
                time.sleep(0.01)
        except KeyboardInterrupt as error:
            error.add_note(f"{number} is half done")
            raise

    with pytest.raises(KeyboardInterrupt) as caught:
        all_of(work, 2, 2)
    assert set(caught.value.__notes__) == {"0 is half done", "1 is half done"}


def test_what_a_worker_could_not_undo_is_told_whatever_was_interrupted(tmp_path: Path) -> None:
    """Whoever uses a result is interrupted, not who waits for the next one."""

    def work(number: int) -> int:
        try:
            while number:
                (tmp_path / "begun").touch()
                time.sleep(0.01)
        except KeyboardInterrupt as error:
            error.add_note("it is half done")
            raise
        return number

    def interrupted() -> None:
        with spread(work, 2, 2) as results:
            next(results)
            while not (tmp_path / "begun").exists():
                pass
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        interrupted()
    assert caught.value.__notes__ == ["it is half done"]


@pytest.mark.parametrize("size", [1, 1 << 20], ids=["small", "more than a pipe holds"])
def test_a_result_that_was_quicker_than_the_interrupt_stops_nobody(size: int) -> None:
    before = children()
    with spread(lambda number: bytes(size if number else 1), 2, 2) as results:
        next(one for one in results if one.number == 0)
    assert children() <= before
