"""Golden layers on btrfs: zones' roots are snapshots of a layer that is built once, and like any other."""

import os
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import killing
import pytest
from command import partialroot
from needs import needs
from sources import small_source
from spaces import LoopFs
from treedump import dump

from partialroot.plan.facts import COPIED_LEAST, SNAPSHOT_LEAST

pytestmark = needs("root", "mount", "btrfs", "glibc")

GOLDEN_PATHS = SNAPSHOT_LEAST.paths
PROFILE = """
programs = ["/usr/bin/greet", "/usr/bin/rise"]
files    = ["/srv/many/**"]
[text."/etc/greeting"]
content = "hello @who@\\n"
[parameters]
who = "you"
[start]
pause = true
"""


class Ground:
    """A btrfs with a source, a profile of a large private layer, and a store."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.source = small_source(top / "source")
        many = self.source / "srv/many"
        many.mkdir()
        for number in range(GOLDEN_PATHS):
            (many / f"file {number}").write_text(f"{number}\n")
        os.link(many / "file 1", many / "twin")
        (many / "file 2").chmod(0o4750)
        os.chown(many / "file 3", 1234, 4321)
        os.setxattr(many / "file 4", "user.said", b"so")
        self.profile = top / "many.toml"
        self.profile.write_text(PROFILE)
        self.store = top / "store"

    def words(self, *names: str, settings: tuple[str, ...] = ()) -> tuple[str | Path, ...]:
        """Return a populate of zones."""
        zones = [self.top / "zones" / name for name in names]
        return ("populate", *zones, self.profile, "--source", self.source, "--store", self.store, *settings)

    def zone(self, name: str) -> Path:
        """Return a zonepath."""
        return self.top / "zones" / name

    def on_all(self, verb: str, code: int = 0) -> None:
        """Do a verb to all zones."""
        partialroot(verb, "--all", "--store", self.store, code=code)

    def subvolumes(self) -> Counter[str]:
        """Return how many subvolumes there are, by what they are."""
        listed = subprocess.check_output(["btrfs", "subvolume", "list", self.top], text=True)
        paths = [line.split(" path ")[1] for line in listed.splitlines()]
        return Counter("golden" if "golden-" in path else "root" for path in paths)


@pytest.fixture
def ground(loop_fs: LoopFs) -> Ground:
    return Ground(loop_fs("btrfs"))


def test_roots_are_snapshots_and_like_any_other(ground: Ground) -> None:
    document = partialroot(*ground.words("one", "two"), "--json").document
    assert ground.subvolumes() == {"golden": 1, "root": 2}
    plain = partialroot(*ground.words("plain"), "--share", "mount,link,copy", "--json").document
    assert ground.subvolumes() == {"golden": 1, "root": 2}
    assert document["totals"]["files"] == plain["totals"]["files"]
    roots = [dump(ground.zone(name) / "root", times=False) for name in ("one", "two", "plain")]
    assert roots[0] == roots[1] == roots[2]
    times = [(ground.zone(name) / "root/srv/many/file 7").stat().st_mtime_ns for name in ("one", "plain")]
    assert times == [(ground.source / "srv/many/file 7").stat().st_mtime_ns] * 2
    for verb in ("verify", "audit", "status"):
        ground.on_all(verb)


def test_what_a_zone_writes_is_its_own(ground: Ground) -> None:
    partialroot(*ground.words("one", "two"))
    (ground.zone("one") / "root/srv/many/file 1").write_text("mine")
    (ground.zone("one") / "root/srv/many/file 9").unlink()
    assert (ground.zone("two") / "root/srv/many/file 1").read_text() == "1\n"
    partialroot(*ground.words("three"))
    assert (ground.zone("three") / "root/srv/many/file 1").read_text() == "1\n"
    assert (ground.zone("three") / "root/srv/many/file 9").read_text() == "9\n"


def test_a_fleet_shares_what_no_value_changes(ground: Ground) -> None:
    """What profiles write is each zone's own: in the same transaction, and in directories as they were."""
    fleet = ground.top / "fleet.toml"
    zones = {name: f'parameters = {{ who = "{name}" }}' for name in ("one", "two", "three")}
    lines = [f'[zones."{ground.zone(name)}"]\n{text}\n' for name, text in zones.items()]
    fleet.write_text(f'profiles = ["{ground.profile}"]\n{"".join(lines)}')
    more = ("--source", ground.source, "--store", ground.store)
    document = partialroot("populate", "--fleet", fleet, "--json", *more).document
    assert document["golden"]["key"] and document["totals"]["by_method"]["clone"] > GOLDEN_PATHS
    assert ground.subvolumes() == {"golden": 1, "root": 3}
    for name in zones:
        assert (ground.zone(name) / "root/etc/greeting").read_text() == f"hello {name}\n"
    times = {(ground.zone(name) / "root/etc").stat().st_mtime_ns for name in zones}
    assert len(times) == 1
    plain = ground.words("plain", settings=("--set", "who=two", "--share", "mount,link,copy"))
    assert not partialroot(*plain, "--json").document["golden"]["key"]
    roots = [dump(ground.zone(name) / "root", times=False) for name in ("two", "plain")]
    assert roots[0] == roots[1]
    ground.on_all("verify")


def test_another_content_or_time_is_another_layer(ground: Ground) -> None:
    partialroot(*ground.words("one"))
    os.utime(ground.source / "srv/many/file 5", ns=(0, 12345))
    partialroot(*ground.words("three"))
    assert ground.subvolumes() == {"golden": 2, "root": 2}
    assert (ground.zone("three") / "root/srv/many/file 5").stat().st_mtime_ns == 12345


def test_it_goes_with_its_image(ground: Ground) -> None:
    partialroot(*ground.words("one", "two"))
    ground.on_all("remove")
    partialroot("prune", "--store", ground.store)
    assert not ground.subvolumes()
    assert not list((ground.store / "images").glob("[!.]*"))


def test_small_layers_are_made_as_any(ground: Ground) -> None:
    small = ground.top / "small.toml"
    small.write_text(PROFILE.replace("/srv/many/**", "/srv/many/file 1"))
    ground.profile = small
    partialroot(*ground.words("one"))
    assert not ground.subvolumes()


@pytest.mark.parametrize("size", [COPIED_LEAST.size, 0], ids=["much", "little"])
def test_much_that_cannot_be_reflinked_is_copied_once(
    ground: Ground, mounted: Callable[[Path], Path], size: int
) -> None:
    """Few private files, of another file system than the shared ones."""
    other = ground.source / "srv/other"
    other.mkdir()
    (mounted(other) / "data").write_bytes(bytes(size))
    ground.profile.write_text(PROFILE.replace("/srv/many/**", "/srv/other/**"))
    partialroot(*ground.words("one", "two"))
    assert ground.subvolumes() == ({"golden": 1, "root": 2} if size else {})
    assert {(ground.zone(name) / "root/srv/other/data").stat().st_size for name in ("one", "two")} == {size}
    ground.on_all("verify")


def test_a_zone_of_a_snapshot_is_refreshed_like_any(ground: Ground) -> None:
    partialroot(*ground.words("one"))
    assert not partialroot(*ground.words("one"), "--json").document["changed"]
    (ground.source / "srv/many/new").write_text("new")
    partialroot("refresh", ground.zone("one"), "--store", ground.store)
    assert (ground.zone("one") / "root/srv/many/new").read_text() == "new"
    ground.on_all("verify")


@pytest.mark.kill
def test_killed_at_every_step(ground: Ground) -> None:
    """After the next command each zone is there in full, or not at all; nothing of a trial is left."""
    killing.warm_up()

    def clear() -> None:
        for name in ("counted", "zone"):
            partialroot("remove", ground.zone(name), "--store", ground.store, code=None)
        partialroot("prune", "--store", ground.store)

    killing.run(*ground.words("counted"))
    whole = dump(ground.zone("counted") / "root", times=False)
    clear()
    points = killing.run(*ground.words("counted")).points
    assert {"subvolume", "snapshot"} <= {name for name, _ in points}
    for number in sorted(worth_it(points)):
        clear()
        assert os.WIFSIGNALED(killing.run(*ground.words("counted"), act=dying_at(number)).status)
        partialroot(*ground.words("zone"))
        partialroot(*ground.words("counted"))
        assert dump(ground.zone("counted") / "root", times=False) == whole
    clear()
    assert not ground.subvolumes()


@pytest.mark.kill
def test_a_removal_that_was_killed_leaves_nothing(ground: Ground) -> None:
    """Whoever was the last to have the layer, and however far its image was taken away."""
    killing.warm_up()
    removing = ("remove", ground.zone("one"), "--store", ground.store)
    partialroot(*ground.words("one"))
    points = killing.run(*removing).points
    assert not ground.subvolumes()
    of_image = [number for number, (_, what) in enumerate(points) if "golden-" in what or what == "zone"]
    for number in sorted({*of_image, *(one + 1 for one in of_image[:-1]), len(points) // 2, len(points) - 2}):
        partialroot(*ground.words("one"))
        assert os.WIFSIGNALED(killing.run(*removing, act=dying_at(number)).status)
        partialroot(*removing, code=None)
        partialroot("prune", "--store", ground.store)
        assert not ground.subvolumes()
        assert not list((ground.store / "images").glob("[!.]*"))


def test_removed_in_any_order(ground: Ground) -> None:
    """Two zones of one layer, and one of another in the same image."""
    killing.warm_up()
    times = (1, 2)
    for order in permutations(("one", "two", "other")):
        for at, names in zip(times, (["one", "two"], ["other"]), strict=True):
            os.utime(ground.source / "srv/many/file 5", ns=(0, at))
            assert killing.run(*ground.words(*names)).code == 0
        assert ground.subvolumes() == {"golden": 2, "root": 3}
        for count, name in enumerate(order, 1):
            assert killing.run("remove", ground.zone(name), "--store", ground.store).code == 0
            assert ground.subvolumes()["root"] == 3 - count
            assert killing.run("verify", "--all", "--store", ground.store).code == 0
        assert not ground.subvolumes()


def worth_it(points: list[killing.Point]) -> set[int]:
    """Return where subvolumes come into being, right after, and some others."""
    special = [number for number, (name, _) in enumerate(points) if name in ("subvolume", "snapshot")]
    return {*special, *(number + 1 for number in special), special[0] + 40, special[-1] + 5}


def dying_at(number: int) -> killing.Act:
    """Return what kills the process at an effect."""

    def act(count: int, _: killing.Point) -> None:
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)

    return act
