"""Two commands at once, as processes of their own: the second waits, or is told who is first and exits 3."""

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bootable import until
from killing import Point, Running, begin, run, stopped_at, warm_up
from needs import needs
from places import Place

pytestmark = needs("root", "mount")


@pytest.fixture
def place(tmp_path: Path, mounted: Callable[..., Path]) -> Iterator[Place]:
    warm_up()
    made = Place(mounted(tmp_path, "-o", "mode=0755"), "populate")
    made.prepare()
    yield made
    made.clear()


def at(points: list[Point], name: str, what: str = "") -> int:
    """Return the number of the first effect called ``name`` that is about something with ``what``."""
    return next(number for number, point in enumerate(points) if point[0] == name and what in point[1])


def comes_to(running: Running, what: str) -> bool:
    """Whether a command that runs has had an effect on something with ``what``."""
    return what.encode() in os.pread(running.seen, 1 << 20, 0)


def effects(place: Place, *words: str | Path) -> list[Point]:
    """Return the effects of a command, once it is done."""
    done = run(*words)
    assert done.code == 0, done.err
    return done.points


def check_whole(place: Place, *zones: Path) -> None:
    """Check that zones are whole, and that no lock, journal or half image is left."""
    for zone in zones or (place.zone,):
        assert run("verify", zone, "--store", place.store).code == 0
    assert os.listdir(place.store / "journal") == []
    assert os.listdir(place.store / "locks") == []
    images = [path for path in (place.store / "images").iterdir() if path.name.startswith(".")]
    assert images == []


def second_words(place: Place, verb: str) -> tuple[str | Path, ...]:
    place.verb = verb
    return {"verify": place.next(), "mount": ("mount", place.zone, "--store", place.store)}.get(
        verb
    ) or place.words


@pytest.mark.parametrize("second", ["populate", "change", "remove", "verify", "mount"])
@pytest.mark.parametrize("first", ["populate", "change", "remove"])
def test_the_second_is_told_who_is_first(place: Place, first: str, second: str) -> None:
    place.verb = first
    place.prepare()
    words = place.words
    points = effects(place, *words)
    begun, done = at(points, "fsync", "journal"), at(points, "syncfs", "zonepath")
    for number in (begun, (begun + done) // 2, done):
        place.verb = first
        place.prepare()
        with stopped_at(number, *words) as running:
            before = place.look(times=True)
            refused = run(*second_words(place, second))
            assert refused.code == 3
            assert f"{place.zone}: process {running.pid} works on it" in refused.err
            assert "hint: try again when it is done" in refused.err
            assert place.look(times=True) == before
            os.kill(running.pid, signal.SIGCONT)
            assert running.end().code == 0
        if first != "remove":
            check_whole(place)


@pytest.mark.parametrize("second", ["populate", "change", "remove"])
def test_a_dead_owner_s_lock_is_free(place: Place, second: str) -> None:
    place.verb = "change"
    place.prepare()
    words = place.words
    number = at(effects(place, *words), "syncfs", "zonepath")
    place.verb = "change"
    place.prepare()
    with stopped_at(number, *words) as running:
        running.kill()
    assert [name for name in os.listdir(place.store / "locks") if name.startswith("zone-")]
    done = run(*second_words(place, second))
    assert done.code == 0
    assert f"partialroot: {place.zone}: an interrupted populate was undone\n" in done.err
    assert os.listdir(place.store / "locks") == []


def test_status_needs_no_lock(place: Place) -> None:
    points = effects(place, *place.words)
    place.prepare()
    with stopped_at(at(points, "syncfs", "zonepath"), *place.words):
        said = run("status", place.zone, "--store", place.store)
        assert said.code == 5
        assert "interrupted, or is under way" in said.out


def test_who_needs_the_same_image_waits_for_it(place: Place) -> None:
    points = effects(place, *place.words)
    place.prepare()
    other = place.zone.with_name("other")
    words = ("populate", other, *place.words[2:])
    with stopped_at(at(points, "syncfs", "image"), *place.words) as first:
        second = begin(*words)
        until(lambda: comes_to(second, "image-"), "it wants the image's lock")
        time.sleep(0.3)
        assert os.waitpid(second.pid, os.WNOHANG) == (0, 0), "it did not wait"
        os.kill(first.pid, signal.SIGCONT)
        assert first.end().code == 0
        done = second.end()
        assert done.code == 0, done.err
    assert not any(name == "os.link" and "usr/bin/tool" in what for name, what in done.points[20:])
    check_whole(place, place.zone, other)
    assert len(os.listdir(place.store / "images")) == 1


def test_a_dead_builder_s_image_is_built_anew(place: Place) -> None:
    points = effects(place, *place.words)
    place.prepare()
    other = place.zone.with_name("other")
    with stopped_at(at(points, "syncfs", "image"), *place.words) as first:
        second = begin("populate", other, *place.words[2:])
        until(lambda: comes_to(second, "image-"), "it wants the image's lock")
        first.kill()
        assert second.end().code == 0
    assert run(*place.words).code == 0
    check_whole(place, place.zone, other)


def test_many_at_once(place: Place) -> None:
    """Populates and removes of one zone, all at the same time: each did its work or says who is first."""
    for _ in range(6):
        place.verb = "populate"
        first, other = place.populating("old.toml"), place.populating("new.toml")
        removing = ("remove", place.zone, "--store", place.store)
        commands = [begin(*words) for words in (first, other, first, removing, other)]
        done = [command.end() for command in commands]
        for one in done:
            assert one.code in (0, 2, 3), one.err
            assert one.code != 3 or re.search(r"process (\d+|unknown) works on it|went away", one.err)
            assert one.code != 2 or "there is no zone of ours" in one.err, one.err
        assert run(*first).code == 0
        check_whole(place)
