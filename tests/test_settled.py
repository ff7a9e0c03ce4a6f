"""A refresh that is told at once to have nothing to do: never where a plan would say otherwise."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from killing import run, warm_up
from needs import needs
from places import Place
from sources import write

from partialroot import observed
from partialroot.pipeline import grouping, inspecting, refreshing
from partialroot.zone.observations import PART
from partialroot.zone.settled import Settled
from partialroot.zone.store import zone_key

pytestmark = needs("root", "mount")

PROFILE = """
uses = ["common"]
programs = ["tool"]
files = ["/usr/share/app/**", "/etc/hosts", "/etc/link"]
optional = ["/etc/perhaps"]
users = ["www-data"]
exclude = ["/usr/share/app/*.old"]
[text."/etc/motd"]
content = "hello"
"""
COMMON = 'files = ["/usr/bin/rise"]\n'


class World:
    """A source, profiles in two directories, a store and a zone that is settled."""

    def __init__(self, top: Path) -> None:
        self.place = Place(top, "populate")
        self.source, self.zone, self.store = self.place.source, self.place.zone, self.place.store
        write(self.source / "usr/share/app/one", "one", 0o644)
        write(self.source / "etc/passwd", "root:x:0:0::/:/bin/sh\nwww-data:x:33:33::/:/bin/sh\n", 0o644)
        write(self.source / "etc/group", "root:x:0:\nwww-data:x:33:\n", 0o644)
        write(self.source / "etc/a", "a", 0o644)
        write(self.source / "etc/b", "b", 0o644)
        (self.source / "etc/link").symlink_to("a")
        for name in ("first", "second"):
            (top / name).mkdir()
        write(top / "second/web.toml", PROFILE, 0o644)
        write(top / "second/common.toml", COMMON, 0o644)
        self.top = top
        self.place.clear()
        manifests = ("--manifests", top / "first", "--manifests", top / "second")
        done = run("populate", self.zone, "web", *manifests, *self.place.populating("")[3:])
        assert done.code == 0, done.err
        self.settle()

    def refresh(self, *words: str) -> bool:
        done = run("refresh", self.zone, *words, "--json", "--store", self.store)
        assert done.code == 0, done.err
        changed = json.loads(done.out)["zones"][0]["changed"]
        assert isinstance(changed, bool)
        return changed

    def settle(self) -> None:
        """Refresh until that is told at once: what changed in this moment is looked at once more."""
        self.refresh()
        for _ in range(5):
            time.sleep(0.06)
            if self.is_settled:
                return
            assert not self.refresh()
        raise AssertionError("it does not settle")

    @property
    def is_settled(self) -> bool:
        return Settled(str(self.store)).digest(str(self.zone), zone_key(self.zone)) is not None

    def status(self) -> tuple[str, list[str]]:
        """Return the zone's state, and why it is so."""
        done = run("status", self.zone, "--json", "--store", self.store)
        [zone] = json.loads(done.out)["zones"]
        assert done.code == (0 if zone["state"] == "current" else 5), done.err
        return zone["state"], zone["because"]

    @property
    def needs_refresh(self) -> bool:
        """Whether a plan that is made anew, knowing nothing, would change the zone."""
        aside = self.store / "aside"
        (self.store / PART).rename(aside)
        try:
            done = run("refresh", "-n", self.zone, "--json", "--store", self.store)
            return done.code != 0 or bool(json.loads(done.out)["zones"][0]["changed"])
        finally:
            shutil.rmtree(self.store / PART)
            aside.rename(self.store / PART)


Change = Callable[[World], object]


def same_time(path: Path, content: str) -> None:
    """Write into a file what has the same size, and put its time back: only its ctime tells."""
    before = os.stat(path)
    with open(path, "r+") as file:
        file.write(content[: before.st_size].ljust(before.st_size))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def toggle(path: Path, content: str = "", mode: int = 0o644) -> None:
    if path.exists():
        path.unlink()
    else:
        write(path, content, mode)


def retarget(path: Path) -> None:
    target = "b" if os.readlink(path) == "a" else "a"
    path.unlink()
    path.symlink_to(target)


def replace(path: Path, content: str) -> None:
    write(path.with_name("fresh"), content, 0o755)
    path.with_name("fresh").rename(path)


CHANGES: dict[str, Change] = {
    "written in place, with its time put back": lambda w: same_time(
        w.source / "usr/bin/tool", f"{time.time_ns()}"
    ),
    "a private file written so": lambda w: same_time(w.source / "etc/hosts", f"{time.time_ns()}"),
    "replaced": lambda w: replace(w.source / "usr/bin/tool", f"tool {time.time_ns()}"),
    "replaced by its like": lambda w: replace(
        w.source / "usr/bin/tool", (w.source / "usr/bin/tool").read_text()
    ),
    "another mode": lambda w: (w.source / "usr/bin/tool").chmod(
        0o755 if os.stat(w.source / "usr/bin/tool").st_mode & 0o7777 == 0o711 else 0o711
    ),
    "another owner": lambda w: os.chown(
        w.source / "etc/hosts", *[(os.stat(w.source / "etc/hosts").st_uid + 1) % 3] * 2
    ),
    "an attribute": lambda w: os.setxattr(w.source / "etc/hosts", "user.x", str(time.time_ns()).encode()),
    "a directory's mode": lambda w: (w.source / "usr/share/app").chmod(
        0o755 if os.stat(w.source / "usr/share/app").st_mode & 0o7777 == 0o711 else 0o711
    ),
    "a new file for a glob": lambda w: write(w.source / f"usr/share/app/new{time.time_ns()}", "new", 0o644),
    "a new file that is left out": lambda w: write(w.source / "usr/share/app/x.old", "new", 0o644),
    "a new directory below": lambda w: write(w.source / f"usr/share/app/d{time.time_ns()}/new", "new", 0o644),
    "a file deep in a glob": lambda w: write(w.source / "usr/share/app/one", f"one {time.time_ns()}", 0o644),
    "an optional file comes or goes": lambda w: toggle(w.source / "etc/perhaps"),
    "a program earlier on the path comes or goes": lambda w: toggle(
        w.source / "usr/local/bin/tool", "x", 0o755
    ),
    "a symlink leads elsewhere": lambda w: retarget(w.source / "etc/link"),
    "an account": lambda w: write(
        w.source / "etc/passwd",
        f"root:x:0:0::/:/bin/sh\nwww-data:x:33:33:{time.time_ns()}:/:/bin/sh\n",
        0o644,
    ),
    "a file nobody wants": lambda w: write(w.source / "usr/bin/unrelated", f"{time.time_ns()}", 0o755),
    "only a time": lambda w: os.utime(w.source / "etc/hosts"),
    "another name for a file": lambda w: toggle_link(w.source / "usr/bin/tool", w.top / "second-name"),
    "a profile": lambda w: write(
        w.top / "second/web.toml", PROFILE.replace("hello", f"hello {time.time_ns()}"), 0o644
    ),
    "a profile it uses": lambda w: write(
        w.top / "second/common.toml", COMMON + f'[text."/etc/new"]\ncontent = "{time.time_ns()}"\n', 0o644
    ),
    "a profile that hides one": lambda w: toggle(
        w.top / "first/common.toml", '[text."/etc/hid"]\ncontent = ""\n'
    ),
    "a profile others can write": lambda w: (w.top / "second/web.toml").chmod(
        0o644 if os.stat(w.top / "second/web.toml").st_mode & 0o2 else 0o646
    ),
    "a file of the zone is gone": lambda w: (w.zone / "root/etc/hosts").unlink(missing_ok=True),
    "a file of the zone is edited": lambda w: (w.zone / "root/etc/motd").write_text(f"{time.time_ns()}"),
    "a mode in the zone": lambda w: (w.zone / "root/etc").chmod(0o777),
    "a directory of the zone is a symlink": lambda w: swap_for_link(w.zone / "root/etc"),
    "the zone has files of its own": lambda w: write(w.zone / "root/etc/own", "own", 0o644),
    "the mounts are gone": lambda w: run("unmount", w.zone, "--store", w.store),
    "the image is damaged": lambda w: min(w.store.glob("images/*/usr/share/app/*")).unlink(),
    "the image link is gone": lambda w: (w.zone / "image").unlink(missing_ok=True),
    "the spec is edited": lambda w: write(w.zone / "config.json", "{}", 0o600),
}


def toggle_link(path: Path, name: Path) -> None:
    """Make another name of a file, as an image does: its ctime changes and nothing else."""
    if name.exists():
        name.unlink()
    else:
        os.link(path, name)


def swap_for_link(path: Path) -> None:
    if not path.is_symlink():
        path.rename(path.with_name("moved"))
        path.symlink_to("moved")


HARMLESS = {
    "replaced by its like",  # of which the receipt tells
    "a new file that is left out",
    "a file nobody wants",
    "only a time",
    "another name for a file",
    "a file of the zone is edited",  # which is kept
    "the zone has files of its own",
}


@pytest.fixture
def world(tmp_path: Path, mounted: Callable[..., Path]) -> Iterator[World]:
    warm_up()
    made = World(mounted(tmp_path, "-o", "mode=0755"))
    yield made
    made.place.clear()


def check(world: World, change: str) -> None:
    CHANGES[change](world)
    if world.is_settled:
        assert not world.needs_refresh, change


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_a_plan_is_noticed(world: World, change: str) -> None:
    CHANGES[change](world)
    if change not in HARMLESS:
        assert not world.is_settled
        assert world.needs_refresh
    elif world.is_settled:
        assert not world.needs_refresh


@pytest.mark.parametrize("change", CHANGES)
def test_a_zone_is_current_unless_a_refresh_would_make_it_another(world: World, change: str) -> None:
    CHANGES[change](world)
    is_current = change == "the mounts are gone" or not world.needs_refresh  # any command brings them back
    assert (world.status()[0] == "current") is is_current


def test_status_says_what_globs_choose_by_now(world: World) -> None:
    app = world.source / "usr/share/app"
    write(app / "two", "two", 0o644)
    write(world.source / "usr/local/bin/tool", "another", 0o755)
    lines = [
        "/usr/local/bin/tool: a refresh would add it",
        "/usr/share/app/two: a refresh would add it",
        "/usr/bin/tool: a refresh would remove it",
    ]
    state, because = world.status()
    assert state == "stale" and [one for one in because if one in lines] == lines
    (app / "two").unlink()
    (world.source / "usr/local/bin/tool").unlink()
    assert world.status() == ("current", [])
    write(world.source / "etc/passwd", "root:x:0:0::/:/bin/sh\n", 0o644)
    state, [why] = world.status()
    assert state == "stale" and why.startswith("it cannot be refreshed: ") and "www-data" in why


def test_of_zones_that_are_alike_one_is_asked_about(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    zones = [world.zone.with_name(name) for name in ("a", "b", "c", "d")]
    manifests = ("--manifests", world.top / "first", "--manifests", world.top / "second")
    options = ("--source", world.source, "--store", world.store)
    assert run("populate", *zones, "web", *manifests, *options).code == 0
    write(zones[1] / "config.json", "{}", 0o600)
    (zones[2] / "root/etc/motd").write_text("edited by the tenant")
    why_stale, asked = refreshing.why_stale, []

    def asking(store: Path, zonepaths: Sequence[str]) -> dict[str, tuple[str, ...]]:
        asked.append([os.path.basename(one) for one in zonepaths])
        told = why_stale(store, zonepaths)
        return told if len(asked) > 1 else {one: told[one] for one in told if one != str(zones[0])}

    monkeypatch.setattr(refreshing, "why_stale", asking)
    for zone in zones:
        (world.store / PART / zone_key(zone)).unlink(missing_ok=True)
    found = inspecting.status(world.store, [str(zone) for zone in zones])
    assert [one.state for one in found] == ["current", "stale", "current", "current"]
    assert asked == [["a", "b"], ["c"]]  # nothing was told of the first, as if somebody worked on it


def test_status_asks_again_where_the_receipt_is_another_than_was_noted(world: World) -> None:
    def follows() -> bool:
        return Settled(str(world.store)).follows(str(world.zone), zone_key(world.zone))

    receipt = world.zone / "receipt.json"
    assert follows()
    receipt.with_name("fresh").write_bytes(receipt.read_bytes())
    receipt.with_name("fresh").rename(receipt)
    assert not follows()
    assert world.status() == ("current", [])


@needs("xattr")
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    changes=st.lists(
        st.sampled_from(sorted(set(CHANGES) - {"a directory of the zone is a symlink"})), max_size=4
    )
)
def test_any_changes_one_after_another(
    tmp_path_factory: pytest.TempPathFactory, mounted: Callable[..., Path], changes: list[str]
) -> None:
    world = World(mounted(tmp_path_factory.mktemp("world"), "-o", "mode=0755"))
    try:
        for change in changes:
            check(world, change)
            run("refresh", world.zone, "--store", world.store)
            check_settled_is_true(world)
    finally:
        world.place.clear()


def check_settled_is_true(world: World) -> None:
    if world.is_settled:
        assert not world.needs_refresh


def test_what_our_own_links_change_is_looked_at_once(world: World) -> None:
    """Another zone's image links the same files: contents are read once, and then times are as noted."""
    os.link(world.source / "usr/bin/tool", world.top / "second-name")
    time.sleep(0.06)
    [file] = (world.store / PART).glob("observed-*")
    before = file.read_bytes()
    assert world.is_settled
    assert file.read_bytes() != before
    after = file.stat().st_ino
    assert world.is_settled
    assert file.stat().st_ino == after, "it was written again"


def test_no_plan_is_made(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def planned(*_: object) -> None:
        raise AssertionError("a plan was made")

    monkeypatch.setattr(grouping, "make_plan", planned)
    [done] = refreshing.refresh(world.store, [str(world.zone)])
    assert done.value is not None and not done.value.changed
    assert done.value.brought.digests[0] == os.path.basename(os.readlink(world.zone / "image"))
    (world.zone / "root/etc/motd").write_text("edited by the tenant")  # which is no reason for one
    assert [one.state for one in inspecting.status(world.store, [str(world.zone)])] == ["current"]


@pytest.mark.parametrize("damage", ["", "{}", "[]", "null", "[" * 99_999, '{"format": 1}', "\xff"])
@pytest.mark.parametrize("which", ["[0-9a-f]*", "image-*", "observed-*"])
def test_notes_that_are_damaged_are_as_none(world: World, which: str, damage: str) -> None:
    for file in (world.store / PART).glob(which):
        file.write_text(damage, "latin-1")
    assert not world.is_settled
    world.settle()


def test_notes_that_cannot_be_written_are_done_without(world: World) -> None:
    for file in (world.store / PART).iterdir():
        file.unlink()
    place = world.store / PART
    subprocess.run(["mount", "--bind", place, place], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", place], check=True)
    try:
        assert not world.refresh()
        assert not world.is_settled
    finally:
        subprocess.run(["umount", place], check=True)


def test_an_interrupted_change_is_not_passed_over(world: World) -> None:
    (world.store / "journal" / zone_key(world.zone)).write_text("?")
    assert not world.is_settled
    (world.store / "journal" / zone_key(world.zone)).unlink()


def test_observations_that_nobody_follows_from_go(world: World) -> None:
    write(world.source / "usr/bin/tool", "another", 0o755)
    world.settle()
    for kind in ("observed", "image"):
        assert len(list((world.store / PART).glob(f"{kind}-*"))) == 1


def test_another_process_may_be_another_judge(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observed, "host", lambda: ["another host"])
    assert not world.is_settled


def test_another_installation_may_be_another_judge(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observed, "__file__", "/opt/another/partialroot/observed.py")
    assert not world.is_settled


def test_too_much_to_look_at_is_not_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observed, "MOST", 2)
    watch = observed.Watch()
    for number in range(5):
        watch.node(f"/{number}", None, None)
    assert not watch.is_complete
    assert len(watch.nodes) == 3
