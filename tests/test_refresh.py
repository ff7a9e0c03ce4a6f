"""refresh and rollback, by the command line: zones become what the source is now, or what they were."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from killing import Ran, run, stopped_at, warm_up
from needs import needs
from places import NEW, Place
from sources import write
from spaces import mounts_below
from treedump import differences, dump

from partialroot.pipeline import grouping, planning, refreshing
from partialroot.zone import receipt
from partialroot.zone.store import Store

pytestmark = needs("root", "mount")


@pytest.fixture
def place(tmp_path: Path, mounted: Callable[..., Path]) -> Iterator[Place]:
    """A zone whose source and profile have changed since it was made."""
    warm_up()
    made = Place(mounted(tmp_path, "-o", "mode=0755"), "refresh")
    made.prepare()
    yield made
    made.clear()


def said(place: Place, *words: str | Path, code: int = 0) -> dict[str, Any]:
    """Run a verb with the place's store; return its object."""
    done = run(*words, "--json", "--store", place.store)
    assert done.code == code, done.out + done.err
    document: dict[str, Any] = json.loads(done.out)
    return document


def refreshed(place: Place, *words: str | Path, code: int = 0) -> dict[str, Any]:
    """Refresh the zone; return what was done to it."""
    [zone] = said(place, "refresh", place.zone, *words, code=code)["zones"]
    assert isinstance(zone, dict)
    return zone


def state(place: Place) -> tuple[str, list[str]]:
    done = run("status", place.zone, "--json", "--store", place.store)
    [zone] = json.loads(done.out)["zones"]
    assert done.code == (0 if zone["state"] == "current" else 5)
    return zone["state"], zone["because"]


def everything(place: Place) -> list[str]:
    """Return all there is but what is remembered of contents."""
    return [*dump(place.top, skip=("/made/store/memory", "/made/store/settled")), *mounts_below(place.top)]


@contextmanager
def living(root: Path) -> Iterator[int]:
    """Have a process whose root directory is ``root``."""
    ready, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.chroot(root)
        os.chdir("/")
        os.write(tell, b"x")
        signal.pause()
        os._exit(0)
    try:
        assert os.read(ready, 1) == b"x"
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


DIFFERENCE = {
    "added": ["/usr/bin/other", "/var/new", "/var/new/only"],
    "removed": ["/etc/old-only", "/srv", "/srv/page"],
    "modified": ["/etc/motd", "/usr/bin/tool", "/var/app"],
    "kept": [{"path": "/etc/edited", "beside": "/etc/edited.new"}],
}


def test_what_a_rollback_would_change_is_told_first(place: Place) -> None:
    assert said(place, "rollback", "-n", place.zone, code=2)["error"]["kind"] == "conflict"
    refreshed(place)
    write(place.zone / "root/etc/motd", "by the tenant", 0o644)
    before = everything(place)
    shown = said(place, "rollback", "-n", place.zone)
    assert differences(before, everything(place)) == []
    assert shown["zones"][0]["kept"], "what the tenant edited"
    assert said(place, "rollback", place.zone) == shown
    with living(place.zone / "root"):
        assert "is running" in said(place, "rollback", "-n", place.zone, code=3)["error"]["message"]


def others_may_write(place: Place) -> int:
    place.zone.parent.chmod(0o777)
    return 2


def something_is_mounted(place: Place) -> int:
    subprocess.run(["mount", "-t", "tmpfs", "none", place.zone / "root/srv"], check=True)
    return 3


def another_store_is_at_work(place: Place) -> int:
    (place.zone / ".partialroot-new").mkdir()
    return 3


@pytest.mark.parametrize("refuse", [others_may_write, something_is_mounted, another_store_is_at_work])
def test_a_dry_run_refuses_what_the_run_would(place: Place, refuse: Callable[[Place], int]) -> None:
    code, before = refuse(place), place.look()
    populating = place.populating("new.toml")
    for words in (("refresh", place.zone, "--store", place.store), populating):
        shown, done = run(*words, "-n", "--json"), run(*words, "--json")
        assert (shown.code, done.code) == (code, code), shown.err + done.err
        error = json.loads(done.out)["error"]
        assert json.loads(shown.out)["error"] == error
        assert differences(before, place.look()) == []


PROFILES: dict[str, tuple[Callable[[str], str], bool]] = {
    "another wish": (lambda text: text.replace('"/etc/hosts"', '"/etc/hosts", "/etc/more"'), True),
    "another parameter": (lambda text: f"{text}[parameters]\nport = 'x'\n", True),
    "what leads to nothing else": (lambda text: f'exclude = ["/nowhere"]\n{text}', True),
    "other lines, which reasons tell": (lambda text: f"# a comment\n\n{text}", True),
    "a comment at the end": (lambda text: f"{text}# the end\n", False),
    "the same, written anew": (str, False),
}


@pytest.mark.parametrize(("edit", "changes"), PROFILES.values(), ids=PROFILES.keys())
def test_an_edited_profile_makes_a_zone_stale_until_a_refresh(
    place: Place, edit: Callable[[str], str], changes: bool
) -> None:
    write(place.source / "etc/more", "more", 0o644)
    refreshed(place)
    assert state(place) == ("current", [])
    profile = place.top / "web.toml"
    profile.write_text(edit(profile.read_text()))
    assert state(place) == (("stale", ["profile web: has changed"]) if changes else ("current", []))
    assert refreshed(place, "-n")["changed"] is changes
    assert refreshed(place)["changed"] is changes
    assert state(place) == ("current", [])


def test_a_profile_that_is_gone_is_told(place: Place) -> None:
    refreshed(place)
    (place.top / "web.toml").unlink()
    name, because = state(place)
    assert name == "stale"
    assert "web.toml: cannot be read" in because[0]


def test_a_dry_run_tells_and_touches_nothing(place: Place) -> None:
    run("refresh", "-n", place.zone, "--store", place.store)  # which makes trial links: times of directories
    before = everything(place)
    shown = refreshed(place, "-n")
    assert {key: shown[key] for key in DIFFERENCE} == DIFFERENCE
    assert (shown["changed"], shown["staged"], shown["error"]) == (True, False, None)
    assert shown["image"]["before"] != shown["image"]["after"]
    now = everything(place)
    assert [line for line in differences(before, now) if " dir " not in line] == []


def test_what_was_told_is_done_and_then_nothing(place: Place) -> None:
    shown = refreshed(place, "-n")
    assert refreshed(place) == shown
    assert state(place) == ("current", [])
    assert (place.zone / "root/usr/bin/tool").read_text() == "newer tool"
    assert (place.zone / "root/etc/edited").read_text() == "by the tenant"
    assert (place.zone / "root/etc/edited.new").read_text() == "new"
    before = everything(place)
    again = refreshed(place)
    nothing: dict[str, list[str]] = {key: [] for key in DIFFERENCE}
    assert {key: again[key] for key in nothing} == nothing
    assert (again["changed"], again["staged"]) == (False, False)
    assert again["image"] == {"before": shown["image"]["after"], "after": shown["image"]["after"]}
    assert [line for line in differences(before, everything(place)) if " dir " not in line] == []


def test_what_people_read(place: Place) -> None:
    lines = run("refresh", "-n", place.zone, "--store", place.store).out.splitlines()
    assert lines[0] == f"{place.zone}: would be refreshed"
    assert lines[1].startswith("  image ")
    assert {"  + /var/new/only", "  - /etc/old-only", "  ~ /etc/motd"} <= set(lines)
    assert lines[-1] == "  = /etc/edited is kept as the zone has edited it; see /etc/edited.new"
    assert run("refresh", place.zone, "--store", place.store, "-q").out == ""
    assert run("refresh", "--all", "--store", place.store).out == f"{place.zone}: nothing to do\n"


def test_only_what_changed_is_touched(place: Place) -> None:
    same = [place.zone / "root/etc/hosts", place.zone / "root/etc/own"]
    before = [os.stat(path).st_ino for path in same]
    refreshed(place)
    assert [os.stat(path).st_ino for path in same] == before


def test_a_profile_is_found_from_anywhere(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place.top)
    other = place.top / "made/zones/other"
    options = ("--source", "./source", "--manifests", "./made", "--store", place.store)
    assert run("populate", other, "./old.toml", *options).code == 0
    write(place.top / "old.toml", NEW, 0o644)
    monkeypatch.chdir("/")
    assert said(place, "refresh", other)["zones"][0]["changed"]
    assert run("remove", other, "--store", place.store).code == 0


def more_zones(place: Place, count: int, *words: str) -> list[Path]:
    zones = [place.zone.parent / f"more{number}" for number in range(count)]
    options = ("--source", place.source, "--store", place.store)
    assert run("populate", *zones, place.top / "web.toml", *options, *words).code == 0
    return zones


def test_one_plan_for_zones_that_ask_for_the_same(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    zones = [*more_zones(place, 2), place.zone]
    other = place.zone.parent / "other"
    assert run("populate", other, place.top / "new.toml", *place.populating("")[3:]).code == 0
    place.upgrade("tool")
    plans = []
    real = planning.make_plan

    def counted(*words: Any) -> Any:
        plans.append(words)
        return real(*words)

    monkeypatch.setattr(grouping, "make_plan", counted)
    done = refreshing.refresh(place.store, [str(zone) for zone in (*zones, other)])
    assert [one.error for one in done] == [None] * 4
    assert all(one.value and one.value.changed for one in done)
    assert len(plans) == 2
    assert len(os.listdir(place.store / "images")) == 3  # two that are used, one to go back to


def test_an_error_in_one_zone_is_told_and_the_others_go_on(place: Place) -> None:
    [broken] = more_zones(place, 1)
    (broken / "receipt.json").write_text("{}")
    place.upgrade("tool")
    zones = {one["zonepath"]: one for one in said(place, "refresh", "--all", code=2)["zones"]}
    assert zones[str(broken)]["error"]["kind"] == "no-receipt"
    assert zones[str(place.zone)]["error"] is None and zones[str(place.zone)]["changed"]


def test_a_plan_that_cannot_be_made_is_the_error_of_its_zones(place: Place) -> None:
    (place.top / "web.toml").unlink()
    before = dump(place.zone)
    done = said(place, "refresh", "--all", code=2)
    assert done["zones"][0]["error"]["kind"] == done["error"]["kind"] == "profile"
    assert differences(before, dump(place.zone)) == []


def test_mounts_come_back(place: Place) -> None:
    refreshed(place)
    assert run("unmount", place.zone, "--store", place.store).code == 0
    assert refreshed(place)["changed"]
    assert mounts_below(place.zone) == [str(place.zone / "root/usr")]


def test_a_zone_of_the_brand_goes_back_with_its_boot_environment(place: Place) -> None:
    (place.zone / receipt.PER_ROOT).mkdir()
    assert "zoneadm" in rolled_back(place, code=2)["error"]["message"]
    (place.zone / receipt.PER_ROOT).rmdir()


# --- while processes live in the zone -------------------------------------------------------------------


def test_a_running_zone_is_refreshed_at_its_next_boot(place: Place) -> None:
    with living(place.zone / "root"):
        before = dump(place.zone)
        assert refreshed(place, "-n")["staged"]
        first = refreshed(place)
        assert (first["changed"], first["staged"]) == (True, True)
        assert {key: first[key] for key in DIFFERENCE} == DIFFERENCE
        assert differences(before, dump(place.zone)) == []
        assert (place.zone / "root/usr/bin/tool").read_text() == "tool"
        assert state(place)[0] == "stale"
        assert state(place)[1][0] == "a refresh is staged: it will be done at the next boot"
        second = refreshed(place)
        assert (second["changed"], second["staged"]) == (False, True)
        assert len(os.listdir(place.store / "images")) == 2
        assert run("mount", place.zone, "--store", place.store).code == 0
        assert differences(before, dump(place.zone)) == []
    assert state(place)[0] == "stale"
    done = run("mount", place.zone, "--store", place.store)
    assert done.code == 0 and "the staged refresh was carried out" in done.err
    assert (place.zone / "root/usr/bin/tool").read_text() == "newer tool"
    assert state(place) == ("current", [])
    assert run("mount", place.zone, "--store", place.store).err == ""


def test_a_staged_refresh_that_fails_leaves_a_zone_that_mounts(place: Place) -> None:
    with living(place.zone / "root"):
        refreshed(place)
    assert run("unmount", place.zone, "--store", place.store).code == 3 or mounts_below(place.zone) == []
    (place.top / "web.toml").unlink()
    done = run("mount", place.zone, "--store", place.store)
    assert done.code == 0
    assert "warning" in done.err and "stays as it was, the staged refresh failed" in done.err
    assert (place.zone / "root/usr/bin/tool").read_text() == "tool"
    assert state(place)[0] == "stale"


def test_a_staged_refresh_that_is_not_needed_any_more(place: Place) -> None:
    with living(place.zone / "root"):
        refreshed(place)
        place.upgrade("tool")
        write(place.top / "web.toml", (place.top / "old.toml").read_text(), 0o644)
        again = refreshed(place)
        assert (again["changed"], again["staged"]) == (False, False)
        assert len(os.listdir(place.store / "images")) == 1
        assert state(place) == ("current", [])


@pytest.mark.parametrize("verb", ["refresh", "populate", "remove"])
def test_what_is_staged_is_done_or_forgotten(place: Place, verb: str) -> None:
    with living(place.zone / "root"):
        refreshed(place)
    place.upgrade("tool")
    words = place.populating("old.toml") if verb == "populate" else (verb, place.zone, "--store", place.store)
    assert run(*words).code == 0
    registered = Store(place.store).registered(place.zone)
    assert (registered is None) == (verb == "remove")
    assert registered is None or registered.staged is None
    assert len(os.listdir(place.store / "images")) == {"refresh": 2, "populate": 1, "remove": 0}[verb]


def test_a_staged_image_goes_with_the_one_that_is_staged_instead(place: Place) -> None:
    with living(place.zone / "root"):
        refreshed(place)
        write(place.top / "web.toml", NEW.replace('"/usr/bin/rise", ', ""), 0o644)
        assert refreshed(place)["changed"]
        assert len(os.listdir(place.store / "images")) == 2


# --- two at once ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("second", ["refresh", "rollback", "populate"])
def test_the_second_is_told_who_is_first(place: Place, second: str) -> None:
    """Another command meets a refresh at a dozen points of its way."""
    done = run("refresh", place.zone, "--store", place.store)
    points = done.points
    of_lock = [number for number, point in enumerate(points) if "zone-" in point[1]]
    locked, free = of_lock[0], of_lock[-1]
    words = (
        place.populating("new.toml") if second == "populate" else (second, place.zone, "--store", place.store)
    )
    for number in range(locked + 3, free, (free - locked) // 12):
        place.prepare()
        with stopped_at(number, "refresh", place.zone, "--store", place.store) as first:
            told = run(*words)
            assert told.code == 3, (points[number], told)
            assert f"process {first.pid} works on it" in told.err
            os.kill(first.pid, signal.SIGCONT)
            assert first.end().code == 0
        assert state(place) == ("current", [])


def test_an_interrupted_refresh_is_not_shown_but_told(place: Place) -> None:
    points = run("refresh", place.zone, "--store", place.store).points
    move = max(number for number, point in enumerate(points) if point[0] == "move_mount")
    place.prepare()
    with stopped_at(move, "refresh", place.zone, "--store", place.store):
        done = run("refresh", "-n", place.zone, "--store", place.store)
        assert done.code == 3 and "is under way" in done.err
    assert "an interrupted refresh was undone" in run("verify", place.zone, "--store", place.store).err


# --- back -----------------------------------------------------------------------------------------------


def rolled_back(place: Place, code: int = 0) -> dict[str, Any]:
    return said(place, "rollback", place.zone, code=code)


def test_back_and_forth(place: Place) -> None:
    there = refreshed(place)
    [back] = rolled_back(place)["zones"]
    assert back["image"] == {"before": there["image"]["after"], "after": there["image"]["before"]}
    assert (back["added"], back["removed"]) == (there["removed"], there["added"])
    assert back["modified"] == there["modified"]
    assert (place.zone / "root/usr/bin/tool").read_text() == "tool"
    assert (place.zone / "root/etc/motd").read_text() == "old"
    assert (place.zone / "root/etc/edited").read_text() == "by the tenant"
    assert state(place)[0] == "stale"
    assert run("verify", place.zone, "--store", place.store).code == 0
    assert run("rollback", place.zone, "--store", place.store).out.startswith(
        f"{place.zone}: is what it was before\n  image "
    )
    assert (place.zone / "root/usr/bin/tool").read_text() == "newer tool"
    assert state(place) == ("current", [])
    assert not refreshed(place)["changed"]


def test_a_zone_that_was_never_changed_cannot_go_back(place: Place) -> None:
    done = rolled_back(place, code=2)
    assert "there is nothing to go back to" in done["error"]["message"]
    assert done["zones"][0]["changed"] is False


def test_a_running_zone_does_not_go_back(place: Place) -> None:
    refreshed(place)
    with living(place.zone / "root"):
        assert rolled_back(place, code=3)["error"]["kind"] == "busy"
    rolled_back(place)


def test_a_zone_that_is_not_there(place: Place) -> None:
    for verb in ("refresh", "rollback"):
        assert said(place, verb, place.top / "none", code=2)["error"]["kind"] == "no-receipt"


def test_without_a_store(place: Place) -> None:
    done: Ran = run("refresh", "-n", place.zone, "--store", place.top / "none")
    assert (done.code, os.path.exists(place.top / "none")) == (2, False)
    assert "there is no store" in done.err


def test_time_alone_changes_nothing(place: Place) -> None:
    """A file of the source that was written again as it was: the zone's own files are not touched."""
    refreshed(place)
    os.utime(place.source / "etc/hosts", ns=(time.time_ns(), time.time_ns()))
    inode = os.stat(place.zone / "root/etc/hosts").st_ino
    done = refreshed(place)
    assert (done["added"], done["removed"], done["modified"]) == ([], [], [])
    assert os.stat(place.zone / "root/etc/hosts").st_ino == inode
