"""populate --dry-run says of each zone what a populate then does, and touches nothing."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bootable import until
from command import partialroot
from needs import needs
from treedump import dump

pytestmark = needs("root", "mount", "glibc")

APP = """
programs = ["greet", "id"]
[parameters]
who = "world"
[text."/etc/motd"]
content = "hello @who@"
[text."/etc/old"]
content = "old"
[directories."/var/app"]
mode = "0750"
"""
NEW = APP.replace("hello", "goodbye").replace("/etc/old", "/etc/new").replace('"id"', '"id", "cat"')

Populate = Callable[..., dict[str, Any]]


@pytest.fixture
def zone(scratch: Path) -> Path:
    return scratch / "zones/web"


@pytest.fixture
def populate(scratch: Path, source: Path, store: Path, zone: Path) -> Populate:
    """A function that populates ``zone`` by a profile's text, and returns the JSON object."""

    def run(*words: str | Path, text: str = APP, code: int = 0) -> dict[str, Any]:
        profile = scratch / "app.toml"
        if not profile.exists() or profile.read_text() != text:
            profile.write_text(text)
        shared = ("--source", source, "--store", store, "--json")
        return partialroot("populate", zone, profile, *shared, *words, code=code).document

    return run


@pytest.fixture
def preview(populate: Populate, scratch: Path) -> Populate:
    """A function that looks at what ``populate`` would do to the zone, and checks that nothing is touched."""

    def look(*words: str, text: str = APP, code: int = 0) -> dict[str, Any]:
        (scratch / "app.toml").write_text(text)
        caches = ["/store/memory"]  # and the time of the directory in which links are tried
        before = dump(scratch, skip=caches)
        said = populate("--dry-run", *words, text=text, code=code)
        assert dump(scratch, skip=caches) == before
        assert said["changed"] is False
        found: dict[str, Any] = said["zones"][0]
        return found

    return look


def test_a_zone_that_is_not_there_yet(preview: Populate) -> None:
    found = preview()
    assert (found["changed"], found["added"], found["before"], found["error"]) == (True, None, None, None)


def test_a_zone_as_it_should_be(preview: Populate, populate: Populate) -> None:
    digest = populate()["image"]
    found = preview()
    assert found["changed"] is False
    assert found["image"] == {"before": digest, "after": digest}
    assert not [*found["added"], *found["removed"], *found["modified"], *found["kept"], *found["before"]]


def test_another_profile(preview: Populate, populate: Populate, zone: Path) -> None:
    first = populate()
    found = preview(text=NEW)
    assert found["changed"] is True
    assert {"/etc/new", "/usr/bin/cat"} <= set(found["added"])
    assert (found["removed"], found["modified"]) == (["/etc/old"], ["/etc/motd"])
    before = {one["path"]: one for one in found["before"]}
    was = {one["path"]: one for one in first["entries"]}
    assert before.keys() == {"/etc/old", "/etc/motd"}
    assert all(was[path][key] == value for path, one in before.items() for key, value in one.items())
    done = populate(text=NEW)
    assert done["zones"][0]["changed"] is True
    assert found["image"] == {"before": first["image"], "after": done["image"]}
    assert (zone / "root/etc/motd").read_text() == "goodbye world"


def test_what_the_zone_edited_is_kept(preview: Populate, populate: Populate, zone: Path) -> None:
    populate()
    (zone / "root/etc/motd").write_text("mine")
    found = preview(text=NEW)
    assert found["kept"] == [{"path": "/etc/motd", "beside": "/etc/motd.new"}]
    assert "/etc/motd" not in found["modified"]


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("nothing", []),
        ("a lost file", []),
        ("a lost mode", []),
        ("lost mounts", []),
        ("a parameter that says the same", ["--set", "who=world"]),
        ("another address", ["--address", "10.9.8.7"]),
    ],
)
def test_it_says_what_then_happens(
    preview: Populate, populate: Populate, zone: Path, store: Path, what: str, words: list[str]
) -> None:
    populate()
    match what:
        case "a lost file":
            (zone / "root/etc/motd").unlink()
        case "a lost mode":
            (zone / "root/var/app").chmod(0o777)
        case "lost mounts":
            partialroot("unmount", zone, "--store", store)
    found = preview(*words)
    assert found["changed"] is (what != "nothing")
    assert populate(*words)["zones"][0]["changed"] is found["changed"]
    assert preview(*words)["changed"] is False


def test_of_a_zone_that_runs_both_is_said(preview: Populate, populate: Populate, zone: Path) -> None:
    """What would change, if anything, and that it cannot be changed now."""
    populate(text=NEW)
    with subprocess.Popen(["chroot", zone / "root", "/usr/bin/cat"], stdin=subprocess.PIPE) as process:
        until(lambda: os.readlink(f"/proc/{process.pid}/root") == str(zone / "root"), "it runs")
        for text, changed in ((NEW, False), (APP, True)):
            found = preview(text=text, code=3)
            assert (found["changed"], found["error"]["kind"]) == (changed, "busy")
            assert found["error"]["hint"] == f"partialroot halt {zone}"
        process.communicate()


def test_a_bad_place_does_not_hide_the_others(populate: Populate, scratch: Path) -> None:
    (scratch / "zones/mine").mkdir(parents=True)
    (scratch / "zones/mine/file").touch()
    zones = populate("--dry-run", scratch / "zones/mine", code=2)["zones"]
    found = {
        Path(one["zonepath"]).name: (one["changed"], one["error"] and one["error"]["kind"]) for one in zones
    }
    assert found == {"web": (True, None), "mine": (False, "zonepath")}
