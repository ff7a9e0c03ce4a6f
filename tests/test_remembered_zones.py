"""Zones made of what is remembered are those made of what is chosen anew; what nobody needs is forgotten."""

import json
import os
import time
from pathlib import Path

import pytest
from killing import begin, killed_at, run
from needs import needs
from remembered import CHANGES, WEB, World
from sources import write
from treedump import differences, dump

from partialroot.zone import receipt as receipts
from partialroot.zone import settled
from partialroot.zone.observations import OBSERVED, PART, Observations

pytestmark = needs("root", "mount", "glibc")


@pytest.fixture
def world(scratch: Path) -> World:
    return World(scratch)


PROFILES = {
    "web": WEB,
    "bare": 'programs = ["sh"]\n',
    "warned": 'files = ["/etc/**"]\nprograms = ["cat"]\n',
    "private": 'programs = ["cat"]\nprivate = ["/usr/share/app"]\nfiles = ["/usr/share/app/**"]\n',
}


def populate(
    world: World, zone: str, profile: str, *words: str | Path
) -> tuple[list[str], object, str, object]:
    """Build a zone; return its tree, receipt, what was said, and what was told of the plan."""
    place = world.top / "zones" / zone
    manifests = ("--manifests", world.top / "first", "--manifests", world.top / "second")
    common = ("--source", world.source, "--store", world.store, *manifests)
    done = run("populate", place, profile, *common, *words, "--json")
    assert done.code == 0, done.err
    receipt = receipts.read(place)
    assert receipt is not None
    entries = tuple(one._replace(mtime_ns=one.mtime_ns if one.source else 0) for one in receipt.entries)
    receipt = receipt._replace(entries=entries, zonepath="", created=0)
    told = json.loads(done.out.replace(str(place), "ZONE"))
    told.pop("seconds")
    return dump(place / "root", times=False), receipt, done.err.replace(str(place), "ZONE"), told


def forget(world: World) -> None:
    for file in (world.store / PART).iterdir():
        file.unlink()
    (world.store / "memory").unlink(missing_ok=True)


def clear(world: World) -> None:
    zones = sorted((world.top / "zones").iterdir())
    assert run("remove", *zones, "--store", world.store).code == 0


def name_of(file: Path) -> str:
    found = Observations(str(file.parent.parent), file.name.removeprefix(OBSERVED))
    found.ask()
    return found.name


@pytest.mark.parametrize("words", [(), ("--share", "copy"), ("--set", "port=81"), ("--hostname", "h")])
@pytest.mark.parametrize("profile", PROFILES)
def test_zones_are_the_same(world: World, profile: str, words: tuple[str, ...]) -> None:
    if profile != "web" and "--set" in words:
        words = ("--address", "10.99.0.2")
    write(world.top / f"second/{profile}.toml", PROFILES[profile], 0o644)
    world.file.unlink()
    time.sleep(0.06)
    populate(world, "first", profile, *words)
    time.sleep(0.06)
    name = name_of(world.file)
    recalled = populate(world, "second", profile, *words)
    assert name and name_of(world.file) == name, "it was chosen anew"
    forget(world)
    anew = populate(world, "third", profile, *words)
    assert differences(anew[0], recalled[0]) == []
    assert recalled[1:] == anew[1:]
    if profile == "warned":
        assert "shadow" in anew[2]
    clear(world)


def test_what_changed_is_in_the_next_zone(world: World) -> None:
    time.sleep(0.06)
    populate(world, "first", "web")
    for change in ("a library replaced, with its size and time", "a new file for a glob", "accounts"):
        CHANGES[change](world)
        name = name_of(world.file)
        noticed = populate(world, f"{len(change)}-with", "web")
        assert name_of(world.file) != name
        forget(world)
        anew = populate(world, f"{len(change)}-without", "web")
        assert differences(anew[0], noticed[0]) == []
        assert anew[1:] == noticed[1:]
    clear(world)


def test_a_dry_run_reads_it_and_writes_nothing(world: World) -> None:
    manifests = ("--manifests", world.top / "first", "--manifests", world.top / "second")
    common = ("--source", world.source, "--store", world.store, *manifests)
    assert populate(world, "first", "web")
    os.link(world.source / "usr/bin/cat", world.top / "link")
    time.sleep(0.06)
    before = dump(world.store / PART)
    for words in (
        ("populate", "-n", world.top / "zones/second", "web", *common),
        ("plan", "web", *common),
        ("refresh", "-n", world.top / "zones/first", "--store", world.store),
    ):
        done = run(*words)
        assert done.code == 0, done.err
    assert dump(world.store / PART) == before
    forget(world)
    for words in (("populate", "-n", world.top / "zones/second", "web", *common), ("plan", "web", *common)):
        assert run(*words).code == 0
    assert list((world.store / PART).iterdir()) == []
    clear(world)


def test_a_refresh_follows_from_what_populate_remembered(world: World) -> None:
    populate(world, "first", "web")
    time.sleep(0.06)
    name = name_of(world.file)
    zone = world.top / "zones/first"
    assert run("refresh", zone, "--store", world.store).code == 0
    assert name_of(world.file) == name
    world.install("1.1")
    done = run("refresh", zone, "--store", world.store, "--json")
    assert json.loads(done.out)["zones"][0]["changed"], "its receipt says who supplied what"
    assert name_of(world.file) != name
    clear(world)


def test_one_zone_does_not_make_another_current(world: World) -> None:
    """Both ask for the same, and what that follows from is noted in one file."""
    populate(world, "first", "web")
    zone = world.top / "zones/first"
    time.sleep(0.06)
    assert run("refresh", zone, "--store", world.store).code == 0
    assert run("status", zone, "--store", world.store).code == 0
    write(world.source / "usr/share/app/new", "new", 0o644)
    time.sleep(0.06)
    populate(world, "second", "web")
    populate(world, "third", "web")
    assert run("status", zone, "--store", world.store).code == 5
    assert run("status", world.top / "zones/second", "--store", world.store).code == 0
    clear(world)


def test_killed_while_it_is_written(world: World) -> None:
    world.file.unlink()
    populate(world, "first", "web")
    expected = populate(world, "second", "web")
    manifests = ("--manifests", world.top / "first", "--manifests", world.top / "second")
    common = ("--source", world.source, *manifests, "--store", world.store)
    words: tuple[str | Path, ...] = ("populate", world.top / "zones/killed", "web", *common)
    forget(world)
    points = list(enumerate(run(*words).points))
    writes = [(number, point) for number, point in points if OBSERVED in point[1]]
    assert writes
    for number, point in writes:
        assert run("remove", world.top / "zones/killed", "--store", world.store).code == 0
        forget(world)
        killed_at(number, point, *words)
        assert run("verify", world.top / "zones/killed", "--store", world.store).code == 0
        again = populate(world, f"after{number}", "web")
        assert differences(expected[0], again[0]) == []
        assert again[1:] == expected[1:]
    clear(world)


def test_two_populates_at_once(world: World) -> None:
    manifests = ("--manifests", world.top / "first", "--manifests", world.top / "second")
    common = ("web", "--source", world.source, *manifests, "--store", world.store)
    world.file.unlink()
    zones = [world.top / "zones" / str(number) for number in range(4)]
    running = [begin("populate", zone, *common) for zone in zones]
    for one in running:
        ended = one.end()
        assert ended.code == 0, ended.err
    expected = populate(world, "last", "web")
    for zone in zones:
        assert differences(expected[0], dump(zone / "root", times=False)) == []
    assert name_of(world.file)
    clear(world)


# --- what goes ----------------------------------------------------------------------------------------


def test_the_last_requests_stay_and_with_the_last_zone_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settled, "SPARE", 3)
    monkeypatch.setattr(settled.sweep, "__defaults__", (3,))
    place = world.store / PART
    for number in range(6):
        populate(world, f"zone{number}", "web", "--set", f"port={number}")
        assert len(list(place.glob(f"{OBSERVED}*"))) <= 4
    zones = sorted((world.top / "zones").iterdir())
    assert run("refresh", *zones, "--store", world.store).code == 0
    assert len(list(place.glob(f"{OBSERVED}*"))) >= 1
    assert list(place.glob("image-*"))
    assert run("remove", *zones[1:], "--store", world.store).code == 0
    assert list(place.iterdir())
    assert run("remove", zones[0], "--store", world.store).code == 0
    assert list(place.iterdir()) == []
