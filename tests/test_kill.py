"""The command line, killed at every single change it makes: then all is as before, or as after."""

import os
import re
import subprocess
from collections import Counter

import pytest
from killing import Point, killed_at, run
from needs import needs
from places import Place
from test_refresh import living
from treedump import differences, dump

pytestmark = [needs("root", "mount"), pytest.mark.kill]


def through(place: Place) -> tuple[list[str], list[Point]]:
    """Let the command come to its end once; return how all is then, and every effect it had."""
    place.prepare()
    done = run(*place.words)
    assert done.code == 0, done.err
    return place.look(), done.points


def recovered(place: Place) -> None:
    """Give the next command: it says in one line what it did, if there was anything to do."""
    was_begun = any((place.store / "journal").glob("*[!w]")) if place.store.exists() else False
    place.drop_trials()  # who swept them: test_a_trial_that_was_killed_leaves_nothing
    done = run(*place.next())
    lines = [line for line in done.err.splitlines() if " an interrupted " in line]
    verb = "populate" if place.verb == "change" else place.verb
    said = rf"partialroot: {place.zone}: an interrupted {verb} was (undone|finished)"
    assert done.code == (0 if (place.zone / "root").exists() else 2), done.err
    assert len(lines) == was_begun, done.err
    assert all(re.fullmatch(said, line) for line in lines), lines


def test_killed_at_each_effect(place: Place) -> None:
    after, points = through(place)
    before, ends = place.prepare(), ""
    for number, point in enumerate(points):
        killed_at(number, point, *place.words)
        recovered(place)
        ends += place.judge(before, after)[0]
        if ends.endswith("a") or place.verb == "populate":  # which also makes the store, step by step
            before = place.prepare()
    assert re.fullmatch("b+a+", ends), ends
    kinds = Counter(name for name, _ in points)
    assert len(points) >= 40, kinds
    assert kinds["move_mount"] or place.verb == "remove"
    assert kinds["unmount"] or place.verb == "populate"


@pytest.mark.parametrize("place", ["refresh"], indirect=True)
def test_staging_killed_at_each_effect(place: Place) -> None:
    """A zone that runs is as it was whenever its refresh is killed, and can be staged after all."""
    before = place.prepare()
    [images, entries] = [place.store / part for part in ("images", "zones")]
    [entry], [old] = list(entries.iterdir()), list(images.glob("[0-9a-f]*"))
    registered, zone = entry.read_bytes(), dump(place.zone)
    with living(place.zone / "root"):
        done = run(*place.words)
        assert "at the next boot" in done.out, done.err
        staged = place.look()
        for number, point in enumerate(done.points):
            entry.write_bytes(registered)
            for image in images.glob("*"):
                if image != old:
                    subprocess.run(["rm", "-rf", image], check=True)
            assert differences(before, place.look(times=True)) == []
            killed_at(number, point, *place.words)
            assert differences(zone, dump(place.zone)) == []
            place.drop_trials()
            assert run("prune", "--store", place.store).code == 0
            assert run(*place.words).code == 0
            assert differences(staged, place.look()) == []
    assert len(done.points) >= 20
    assert run("mount", place.zone, "--store", place.store).code == 0
    assert (place.zone / "root/etc/motd").read_text() == "new"


@pytest.mark.parametrize("place", ["populate", "change", "remove", "rollback"], indirect=True)
def test_recovery_killed_at_each_effect(place: Place) -> None:
    """One recovery after another is killed, each a step later than the one before, until one gets through."""
    after, points = through(place)
    before, kills = place.prepare(), 0
    for number in range(len(points) % 7, len(points), 7):
        killed_at(number, points[number], *place.words)
        place.drop_trials()
        second = 0
        while died(place, second):
            second += 1
        kills += second
        if place.judge(before, after) == "after" or place.verb == "populate":
            before = place.prepare()
    assert kills > 40


@pytest.mark.parametrize("place", ["populate", "change"], indirect=True)
def test_a_trial_that_was_killed_leaves_nothing(place: Place) -> None:
    """A link that was only made to see whether one can be made goes with the next trial there."""
    place.prepare()
    plan = ("plan", *place.words[2:])
    points = run(*plan).points
    tried = [number for number, (name, _) in enumerate(points) if name == "os.remove"]
    assert tried
    for number in tried:
        killed_at(number, points[number], *plan)
    assert len(place.trials()) >= len(tried)
    assert run(*plan).code == 0
    assert place.trials() == []


def died(place: Place, number: int) -> bool:
    """Kill the next command at its effect ``number``; False when it had none of that number any more."""

    def act(count: int, _: Point) -> None:
        if count == number:
            os.kill(os.getpid(), 9)

    ran = run(*place.next(), act=act)
    assert not os.WIFSIGNALED(ran.status) or len(ran.points) == number + 1
    return os.WIFSIGNALED(ran.status)
