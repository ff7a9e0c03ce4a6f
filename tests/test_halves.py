"""Work in two processes: the same results, the same errors, and no process that stays."""

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from children import Meeting, children
from hypothesis import given, settings
from hypothesis import strategies as st
from killing import Point, begin, run
from needs import needs
from places import Place
from sources import write
from treedump import dump

from partialroot.errors import SourceError
from partialroot.source import halves
from partialroot.source.halves import halved, meanwhile
from partialroot.zone import layer

HERE = os.getpid()


@pytest.fixture(autouse=True)
def nobody_stays() -> Iterator[None]:
    before = children()
    yield
    assert children() <= before


def squares(items: Sequence[int]) -> list[int]:
    return [one * one for one in items]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(-1000, 1000), max_size=30))
def test_results_are_in_the_order_of_the_items(items: list[int]) -> None:
    assert halved(squares, items) == squares(items)


def test_both_take_part(meet: Meeting) -> None:
    def work(items: Sequence[int]) -> list[int]:
        meet()
        return [os.getpid()] * len(items)

    pids = halved(work, range(1000))
    assert len(set(pids)) == 2
    assert os.getpid() in pids


def test_who_is_slow_gets_less(meet: Meeting) -> None:
    """The second waits in its first part until the first has done all others."""
    waiting, done = os.pipe()

    def work(items: Sequence[int]) -> list[int]:
        meet()
        if os.getpid() == HERE:
            os.write(done, b"x")
        else:
            for _ in range(9):
                if select.select([waiting], [], [], 10)[0]:
                    os.read(waiting, 1)
        return [os.getpid()] * len(items)

    assert halved(work, range(10)).count(os.getpid()) == 9
    os.close(waiting)
    os.close(done)


def test_more_than_a_pipe_holds() -> None:
    assert halved(lambda items: [b"x" * 100_000 for _ in items], range(20)) == [b"x" * 100_000] * 20


def raising(items: Sequence[int]) -> list[int]:
    if 7 in items:
        raise SourceError("seven")
    return list(items)


@pytest.mark.parametrize("count", [8, 1000])
def test_an_error_is_the_one_of_the_work(count: int) -> None:
    with pytest.raises(SourceError, match="seven"):
        halved(raising, range(count))


def only_there(action: Callable[[], object], meet: Meeting) -> Callable[[Sequence[int]], list[object]]:
    """Return work that does something in the second process alone, which gets to do some."""

    def work(items: Sequence[int]) -> list[object]:
        meet()
        return [action() if os.getpid() != HERE else one for one in items]

    return work


@pytest.mark.parametrize(
    "action",
    [
        pytest.param(lambda: os.kill(os.getpid(), signal.SIGKILL), id="killed"),
        pytest.param(lambda: os._exit(0), id="ends without an answer"),
        pytest.param(lambda: 1 / 0, id="fails"),
        pytest.param(object, id="nothing that marshal knows"),
    ],
)
def test_what_goes_wrong_there_is_done_here(action: Callable[[], object], meet: Meeting) -> None:
    assert halved(only_there(action, meet), range(9)) == list(range(9))


def test_interrupted() -> None:
    def work(items: Sequence[int]) -> list[int]:
        if os.getpid() == HERE:
            raise KeyboardInterrupt
        signal.pause()
        return []

    with pytest.raises(KeyboardInterrupt):
        halved(work, range(4))


def waiting(items: Sequence[int]) -> list[int]:
    signal.pause()
    return []


def gone(process: int) -> None:
    """Wait until a process has another parent than this one, in it."""
    while os.getppid() == process:
        time.sleep(0.001)


def test_an_orphan_begins_nothing_more(tmp_path: Path) -> None:
    """Who is killed cannot end the second process: that looks for itself."""
    alive, inherited = os.pipe()
    child = os.fork()
    if child == 0:
        first = os.getpid()

        def work(items: Sequence[int]) -> list[int]:
            for one in items:
                (tmp_path / f"{os.getpid() == first}{one}").touch()
                if os.getpid() == first:
                    os.read(begun, 1)
                    os.kill(first, signal.SIGKILL)
                os.write(tell, b"x")
                gone(first)
            return list(items)

        begun, tell = os.pipe()
        halved(work, range(10))
    os.close(inherited)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert os.read(alive, 1) == b""  # the second has ended, too
    os.close(alive)
    assert sorted(path.name[:-1] for path in tmp_path.iterdir()) == ["False", "True"]


@needs("root", "mount")
def test_killed_while_a_second_process_links(tmp_path: Path, mounted: Callable[..., Path]) -> None:
    """The zone's lock is free when the orphan has ended; then the next command undoes what both did."""
    place = Place(mounted(tmp_path, "-o", "mode=0755"), "populate")
    for number in range(20):
        write(place.source / f"usr/share/{number}/file", f"{number}", 0o644)
    write(place.top / "many.toml", 'files = ["/usr/share/**"]\n', 0o644)
    place.before_source = dump(place.source)
    alive, inherited = os.pipe()
    first, linked = 0, 0

    def act(_: int, point: Point) -> None:
        nonlocal first, linked
        first = first or os.getpid()
        linked += point[0] == "os.link" and "usr/share" in point[1]
        if os.getpid() != first:
            gone(first)
        elif linked == 5:
            os.kill(first, signal.SIGKILL)

    before = place.prepare()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layer, "_MANY_LINKS", 5)
        patch.setattr(halves, "is_useful", lambda: True)
        killed = begin(*place.populating("many.toml"), act=act)
        os.close(inherited)
        assert os.WTERMSIG(killed.end().status) == signal.SIGKILL
    assert os.read(alive, 1) == b""
    os.close(alive)
    half = list(place.store.glob("images/.new-*/usr/share/*/file"))
    assert 2 <= len(half) < 10  # those of the first, and the one that the second was about to make
    assert "an interrupted populate was undone" in run(*place.next()).err
    place.drop_trials()
    assert place.judge(before, []) == "before"
    for words in (place.populating("many.toml"), place.next()):
        assert run(*words).code == 0
    place.clear()


@pytest.mark.parametrize("why", ["an error", "nobody asks"])
def test_what_is_not_waited_for_is_ended(why: str) -> None:
    with contextlib.suppress(SourceError), meanwhile(waiting, range(4)):
        if why == "an error":
            raise SourceError("here")


def test_not_beside_other_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    count, of_other_tests = threading.active_count, threading.active_count() - 1
    monkeypatch.setattr(threading, "active_count", lambda: count() - of_other_tests)
    assert halves.is_useful()
    ended = threading.Event()
    other = threading.Thread(target=ended.wait)
    other.start()
    try:
        assert not halves.is_useful()
    finally:
        ended.set()
        other.join()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    assert not halves.is_useful()


def test_what_a_process_prints_is_printed_once(tmp_path: Path) -> None:
    with open(tmp_path / "out", "w") as out:
        out.write("buffered")
        halved(squares, range(4))
    assert (tmp_path / "out").read_text() == "buffered"
