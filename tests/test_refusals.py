"""Every refusal through the command line: its exit code, one message, and nothing touched."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from bootable import until
from command import partialroot
from needs import needs
from treedump import dump

pytestmark = needs("root", "mount", "glibc")

PROFILE = 'programs = ["id"]\n[start]\ncommand = ["/usr/bin/sleep", "100"]\n'


@pytest.fixture
def place(scratch: Path, source: Path, store: Path) -> Path:
    """A directory with a source, a store and a profile in it."""
    subprocess.run(["cp", "/usr/bin/sleep", source / "usr/bin/sleep"], check=True)
    (scratch / "app.toml").write_text(PROFILE)
    return scratch


def refused(place: Path, zonepath: str | Path, *words: str, code: int = 2, profile: str = "app.toml") -> str:
    """Populate and return what was said; the exit code must be ``code`` and everything as before."""
    before = dump(place)
    done = partialroot(
        *("populate", zonepath, place / profile, "--source", place / "source", "--store", place / "store"),
        *words,
        code=code,
    )
    assert dump(place) == before
    assert done.out == ""
    error = [line for line in done.err.splitlines() if line.startswith("partialroot: error: ")]
    assert len(error) == 1, done.err
    return error[0].removeprefix("partialroot: error: ")


@pytest.mark.parametrize(
    ("zonepath", "message"),
    [
        ("/", "the root directory cannot be a zone"),
        ("/usr/zone", "/usr belongs to the system"),
        ("/lib64/zone", "/lib64 belongs to the system"),
        ("/bin", "/bin belongs to the system"),
        ("/etc/zone", "/etc belongs to the system"),
        ("/proc/zone", "/proc belongs to the system"),
        ("/run/zone", "/run belongs to the system"),
        ("/dev/shm/zone", "/dev belongs to the system"),
        ("{place}/store", "is the store"),
        ("{place}/store/zone", "lies below it"),
        ("{place}/source/zone", "lies below the source"),
        ("{place}/a/../b", "has no '..'"),
        ("{place}/link/zone", "is a symlink"),
        ("{place}/open/zone", "can be written by others"),
        ("{place}/file", "is not a directory"),
        ("{place}/full", "is not empty"),
        ("{place}/rooted", "has a root that is not ours"),
    ],
)
def test_zonepaths(place: Path, zonepath: str, message: str) -> None:
    (place / "link").symlink_to(place)
    (place / "open").mkdir()
    (place / "open").chmod(0o777)
    (place / "file").write_text("")
    (place / "full").mkdir()
    (place / "full/mine").write_text("")
    (place / "rooted/root").mkdir(parents=True)
    assert message in refused(place, zonepath.format(place=place))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("programs = [", "app.toml"),
        ('program = ["id"]', "programs"),
        ('files = ["../etc/passwd"]', "app.toml:1"),
        ('files = ["/etc/shadow"]', "secrets"),
        ('uses = ["nothing-called-so"]', "no profile is called"),
        ('network = "host"\nprograms = ["id"]', "abstract sockets"),
        ('files = ["/usr/bin/id"]\n[text."/usr/bin/id/x"]\ncontent = ""', "directory of x"),
    ],
)
def test_profiles(place: Path, text: str, message: str) -> None:
    (place / "app.toml").write_text(text)
    before = dump(place)
    done = partialroot(
        *(
            "populate",
            place / "z",
            place / "app.toml",
            "--source",
            place / "source",
            "--store",
            place / "store",
        ),
        code=2,
    )
    assert message in done.err, done.err
    assert dump(place) == before


def test_words(place: Path) -> None:
    assert "zonepaths are absolute" in refused(place, "zones/web")
    assert "knows no 'magic'" in refused(place, place / "z", "--share", "magic")
    assert "would let it write" in refused(place, place / "z", "--share", "link")
    assert "has no '='" in refused(place, place / "z", "--set", "port")
    assert "no such" in refused(place, place / "z", "--manifests", str(place / "none"))
    assert "source" in refused(place, place / "z", "--source", str(place / "none"))


def test_parameters_nobody_has(place: Path) -> None:
    assert "prot" in refused(place, place / "z", "--set", "prot=1")


def test_a_store_others_could_enter(place: Path) -> None:
    (place / "store").chmod(0o755)
    assert "others could enter" in refused(place, place / "z")
    (place / "store").chmod(0o700)
    os.chown(place / "store", 1, 1)
    assert "belongs to user 1" in refused(place, place / "z")


def test_a_profile_others_can_write(place: Path) -> None:
    (place / "app.toml").chmod(0o666)
    assert "app.toml" in refused(place, place / "z")


def test_verbs_on_what_is_no_zone(place: Path) -> None:
    for verb in ("verify", "audit", "mount", "unmount", "boot", "halt", "remove"):
        done = partialroot(verb, place / "none", "--store", place / "store", "--json", code=2)
        assert done.document["error"]["kind"] == "no-receipt", verb
        assert done.document["zones"][0]["zonepath"] == str(place / "none")
    status = partialroot("status", place / "none", "--store", place / "store", "--json", code=2).document
    assert status["error"] == done.document["error"], "in the same words"
    assert (status["zones"][0]["state"], status["zones"][0]["exists"]) == ("broken", False)


def test_what_is_no_zone_does_not_keep_others_from_being_told(place: Path) -> None:
    words = ("--source", place / "source", "--store", place / "store")
    partialroot("populate", place / "z", place / "app.toml", *words)
    done = partialroot("status", place / "none", place / "z", "--store", place / "store", code=2)
    assert "no zone of ours" in done.err
    assert f"{place}/none" not in done.out
    assert f"{place}/z" in done.out
    (place / "z/receipt.json").write_text("{}")
    partialroot("status", place / "none", place / "z", "--store", place / "store", code=5)


def test_a_zone_of_the_register_that_is_gone_is_broken(place: Path) -> None:
    words = ("--source", place / "source", "--store", place / "store")
    partialroot("populate", place / "z", place / "app.toml", *words)
    partialroot("unmount", place / "z", "--store", place / "store")
    (place / "z").rename(place / "away")
    for asked in (place / "z", "--all"):
        found = partialroot("status", asked, "--store", place / "store", "--json", code=5).document["zones"]
        assert [(one["state"], one["exists"], one["error"]) for one in found] == [("broken", False, None)]


def test_a_zone_whose_receipt_is_damaged_still_exists(place: Path) -> None:
    words = ("--source", place / "source", "--store", place / "store")
    partialroot("populate", place / "z", place / "app.toml", *words)
    (place / "z/receipt.json").write_text("{}")
    found = partialroot("status", place / "z", "--store", place / "store", "--json", code=5).document[
        "zones"
    ][0]
    assert (found["state"], found["exists"], found["profiles"]) == ("broken", True, None)


@pytest.fixture
def running(place: Path) -> Iterator[Path]:
    """A zonepath in whose root a process lives, for the length of a test."""
    zone = place / "web"
    words = ("--source", place / "source", "--store", place / "store")
    partialroot("populate", zone, place / "app.toml", *words)
    process = subprocess.Popen(["chroot", zone / "root", "/usr/bin/sleep", "1000"])
    try:
        command = Path(f"/proc/{process.pid}/cmdline")
        until(lambda: command.read_bytes().startswith(b"/usr/bin/sleep"), "it runs")
        yield zone
    finally:
        process.kill()
        process.wait()


def test_a_running_zone_is_left_alone(place: Path, running: Path) -> None:
    assert "is running" in refused(place, running, code=3)
    before = dump(place, skip=["/store/locks"])
    for verb in ("unmount", "remove"):
        done = partialroot(verb, running, "--store", place / "store", code=3)
        assert "is running" in done.err
    assert dump(place, skip=["/store/locks"]) == before
    status = partialroot("status", running, "--store", place / "store", "--json").document["zones"][0]
    assert status["running"] is True
    assert [one["command"] for one in status["processes"]] == ["/usr/bin/sleep 1000"]


def test_of_several_zones_the_others_go_on(place: Path) -> None:
    (place / "full").mkdir()
    (place / "full/mine").write_text("")
    words = (place / "app.toml", "--source", place / "source", "--store", place / "store", "--json")
    done = partialroot("populate", place / "full", place / "good", "/usr/bad", *words, code=2)
    zones = {zone["zonepath"]: zone for zone in done.document["zones"]}
    good = {"zonepath": str(place / "good"), "changed": True, "booted": None, "error": None}
    assert zones[str(place / "good")] == good
    assert zones[str(place / "full")]["error"]["kind"] == "zonepath"
    assert zones["/usr/bad"]["error"]["kind"] == "zonepath"
    assert (place / "good/root/usr/bin/id").exists()


def test_a_zone_of_the_brand_is_zoneadms(place: Path) -> None:
    zone = place / "web"
    words = ("--source", place / "source", "--store", place / "store")
    partialroot("populate", zone, place / "app.toml", *words)
    (zone / "receipts").mkdir()
    assert "its root is not mounted" in refused(place, zone)  # then populate would change it
    assert "zoneadm has made this zone" in partialroot("remove", zone, "--store", place / "store", code=2).err
