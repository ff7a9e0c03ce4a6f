"""The command line, killed at every single change it makes: then all is as before, or as after."""

import os
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from killing import Point, killed_at, run, same_second, warm_up
from needs import needs
from sources import write
from spaces import mounts_below
from treedump import differences, dump

pytestmark = [needs("root", "mount"), pytest.mark.kill]

OLD = """
files = ["/usr/bin/tool", "/usr/bin/rise", "/etc/hosts", "/srv"]
[directories."/var/app"]
mode = "2770"
[text."/etc/motd"]
content = "old"
[text."/etc/edited"]
content = "old"
[text."/etc/old-only"]
content = "old"
"""
NEW = """
files = ["/usr/bin/tool", "/usr/bin/rise", "/usr/bin/other", "/etc/hosts"]
[directories."/var/app"]
mode = "0700"
[directories."/var/new"]
[text."/etc/motd"]
content = "new"
[text."/etc/edited"]
content = "new"
[text."/var/new/only"]
content = "new"
"""
TRIAL = re.compile(r"\.partialroot-\d+-[0-9a-f]{16}")


class Place:
    """A source, a store and a zone in memory, with one command about to be given."""

    def __init__(self, top: Path, verb: str) -> None:
        self.top, self.verb = top, verb
        self.source, self.store, self.zone = top / "source", top / "made/store", top / "made/zones/web"
        for name, mode in (("tool", 0o755), ("other", 0o755), ("rise", 0o4755)):
            write(self.source / "usr/bin" / name, name, mode)
        write(self.source / "etc/hosts", "127.0.0.1 localhost\n", 0o644)
        write(self.source / "srv/page", "page", 0o644)
        write(top / "old.toml", OLD, 0o644)
        write(top / "new.toml", NEW, 0o644)
        self.before_source = dump(self.source)

    def populating(self, profile: str) -> tuple[str | Path, ...]:
        options = ("--source", self.source, "--store", self.store)
        return ("populate", self.zone, self.top / profile, *options)

    @property
    def words(self) -> tuple[str | Path, ...]:
        """The command that is to be killed."""
        return {
            "populate": self.populating("old.toml"),
            "change": self.populating("new.toml"),
            "remove": ("remove", self.zone, "--store", self.store),
        }[self.verb]

    def next(self) -> tuple[str | Path, ...]:
        """A command that recovers and does nothing else."""
        return ("verify", self.zone, "--store", self.store)

    def prepare(self) -> list[str]:
        """Make all as it is before the command; return it."""
        self.clear()
        if self.verb != "populate":
            done = run(*self.populating("old.toml"))
            assert done.code == 0, done.err
            write(self.zone / "root/etc/edited", "by the tenant", 0o644)
            write(self.zone / "root/etc/own", "the tenant's", 0o600)
        return self.look(times=True)

    def clear(self) -> None:
        for mount in mounts_below(self.top):
            subprocess.run(["umount", mount], check=True)
        subprocess.run(["rm", "-rf", self.top / "made"], check=True)
        (self.top / "made").mkdir()

    def look(self, *, times: bool = False) -> list[str]:
        """Return what must be as before or as after: the zone, its mounts, what the store says and has."""
        zones = self.zone.parent
        zone = [line for line in dump(zones, times=times) if line[:2] != "/ "] if zones.exists() else []
        if not times:
            zone = [line for line in zone if not line.startswith("/web/receipt.json ")] + self.receipt()
        return [*zone, *mounts_below(self.top), *self.look_at_store()]

    def receipt(self) -> list[str]:
        """Return the receipt without the times at which files were written: no two runs have the same."""
        try:
            return [re.sub(r"\b[0-9]{19}\b", "TIME", (self.zone / "receipt.json").read_text())]
        except FileNotFoundError:
            return []

    def look_at_store(self) -> list[str]:
        if not self.store.exists():
            return []
        lines = dump(self.store, times=False, skip=("/locks", "/contents.sqlite", "/contents.sqlite-journal"))
        return [line for line in lines if line.split(" ")[0] not in ("/", "/images", "/zones", "/journal")]

    def trials(self) -> list[Path]:
        """Return the links that were made to try whether one can, by who died before removing them."""
        return [path for path in self.top.glob("made/**/.*") if TRIAL.fullmatch(path.name)]

    def judge(self, before: list[str], after: list[str]) -> str:
        """Return whether all is as before or as after; neither fails the test."""
        assert differences(self.before_source, dump(self.source)) == []
        if self.look(times=True) == before:
            return "before"
        assert differences(after, self.look()) == []
        return "after"


@pytest.fixture(params=["populate", "change", "remove"])
def place(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    mounted: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Place]:
    warm_up()
    made = Place(mounted(tmp_path, "-o", "mode=0755"), str(request.param))
    with same_second(monkeypatch):
        yield made
    made.clear()


def through(place: Place) -> tuple[list[str], list[Point]]:
    """Let the command come to its end once; return how all is then, and every effect it had."""
    place.prepare()
    done = run(*place.words)
    assert done.code == 0, done.err
    return place.look(), done.points


def recovered(place: Place) -> None:
    """Give the next command: it says in one line what it did, if there was anything to do."""
    was_begun = any((place.store / "journal").glob("*[!w]")) if place.store.exists() else False
    for trial in place.trials():  # who swept them: test_a_trial_that_was_killed_leaves_nothing
        trial.unlink()
    done = run(*place.next())
    lines = [line for line in done.err.splitlines() if " an interrupted " in line]
    verb = "remove" if place.verb == "remove" else "populate"
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


def test_recovery_killed_at_each_effect(place: Place) -> None:
    """One recovery after another is killed, each a step later than the one before, until one gets through."""
    after, points = through(place)
    before, kills = place.prepare(), 0
    for number in range(len(points) % 7, len(points), 7):
        killed_at(number, points[number], *place.words)
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
