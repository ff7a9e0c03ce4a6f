"""A batch of zones killed at its changes, or interrupted: each zone is as before or as after."""

import errno
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from killing import Act, Point, killed_at, run, same_second, warm_up
from needs import needs
from places import Place
from sources import write
from spaces import mounts_below
from treedump import differences, dump

pytestmark = [needs("root", "mount"), pytest.mark.kill]
NAMES = ("changed", "new", "same")
DECISIVE = ("syncfs", "fsync", "move_mount")


class Batch:
    """Three zones that one command is about: one will change, one is not there yet, one is as it shall be."""

    def __init__(self, top: Path) -> None:
        self.place = Place(top, "change")
        self.zones = {name: self.place.zone.parent / name for name in NAMES}
        self.words = self._populate("new.toml", *NAMES)

    def _populate(self, profile: str, *names: str) -> tuple[str | Path, ...]:
        zones = [self.zones[name] for name in names]
        return ("populate", *zones, *self.place.populating(profile)[2:])

    def prepare(self) -> None:
        self.place.clear()
        assert run(*self._populate("old.toml", "changed")).code == 0
        assert run(*self._populate("new.toml", "same")).code == 0
        write(self.zones["changed"] / "root/etc/edited", "by the tenant", 0o644)

    def look(self) -> dict[str, list[str]]:
        """Return how each zone is, without the times at which it was written."""
        return {name: self._look_at(zone) for name, zone in self.zones.items()}

    def _look_at(self, zone: Path) -> list[str]:
        if not zone.exists():
            return []
        lines = [line for line in dump(zone, times=False) if not line.startswith(("/receipt.json ", "/ "))]
        receipt = re.sub(r"\b[0-9]{19}\b", "TIME", (zone / "receipt.json").read_text())
        return [*lines, receipt, *mounts_below(zone)]

    def recovered(self) -> dict[str, list[str]]:
        """Give the next command to each zone, and return how they are then."""
        for zone in self.zones.values():
            done = run("verify", zone, "--store", self.place.store)
            assert done.code == (0 if (zone / "root").exists() else 2), done.err
        assert os.listdir(self.place.store / "journal") == []
        assert os.listdir(self.place.store / "locks") == []
        self.place.drop_trials()
        assert differences(self.place.before_source, dump(self.place.source)) == []
        return self.look()


@pytest.fixture
def batch(tmp_path: Path, mounted: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Batch]:
    warm_up()
    made = Batch(mounted(tmp_path, "-o", "mode=0755"))
    with same_second(monkeypatch):
        yield made
    made.place.clear()


def chosen(points: list[Point]) -> list[int]:
    """Return which effects to try: those that decide, the ones around them, and some of the others."""
    decisive = [n for n, (name, what) in enumerate(points) if name in DECISIVE or "receipt.json" in what]
    near = {n + step for n in decisive for step in (0, 1)}
    return sorted(n for n in near | set(range(0, len(points), 11)) if n < len(points))


def test_each_zone_is_as_before_or_as_after(batch: Batch) -> None:
    batch.prepare()
    before = batch.look()
    done = run(*batch.words)
    assert done.code == 0, done.err
    after = batch.look()
    seen = set()
    batch.prepare()
    for number in chosen(done.points):
        killed_at(number, done.points[number], *batch.words)
        now = batch.recovered()
        ends = "".join(_judge(now[name], before[name], after[name]) for name in NAMES)
        seen.add(ends)
        if ends[0] == "a" or ends[1] == "a":
            batch.prepare()
    assert {"bb=", "aa="} <= seen <= {"bb=", "ab=", "ba=", "aa="}


def interrupting(number: int, busy: int = 0) -> Act:
    """Return what interrupts a command at an effect; so many times nothing can be unmounted from then on."""
    was, left = False, busy

    def act(count: int, point: Point) -> None:
        nonlocal was, left
        if count == number:
            was = True
            raise KeyboardInterrupt
        if was and left and point[0] == "unmount":
            left -= 1
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    return act


def test_an_interrupt_leaves_nothing_under_way(batch: Batch) -> None:
    """Not even a journal of what was not begun; the next command has nothing to put in order."""
    batch.prepare()
    before = batch.look()
    done = run(*batch.words)
    after = batch.look()
    batch.prepare()
    for number in chosen(done.points)[::2]:
        assert run(*batch.words, act=interrupting(number)).code in (0, 1)
        assert os.listdir(batch.place.store / "journal") == []
        now = batch.look()
        if "a" in [_judge(now[name], before[name], after[name]) for name in NAMES]:
            batch.prepare()


@pytest.mark.parametrize("busy", [1, 99])
def test_what_cannot_be_unmounted_is_tried_again_and_told(batch: Batch, busy: int) -> None:
    """Somebody looks into a zone just when an interrupt has it undone."""
    batch.prepare()
    before = batch.look()
    points = run(*batch.words).points
    mounted = max(number for number, (name, _) in enumerate(points) if name == "move_mount")
    batch.prepare()
    done = run(*batch.words, act=interrupting(mounted + 1, busy))
    assert done.code == 1 and "interrupted" in done.err
    said = "could not be put in order" in done.err
    assert said == bool(os.listdir(batch.place.store / "journal")) == (busy == 99), done.err
    assert busy == 99 or batch.look() == before
    assert batch.recovered() == before


def _judge(now: list[str], before: list[str], after: list[str]) -> str:
    if before == after:
        assert differences(before, now) == []
        return "="
    if now == before:
        return "b"
    assert differences(after, now) == []
    return "a"
