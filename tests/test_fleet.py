"""Fleets: the file, zones with what each has of its own, many zones by one command."""

import ctypes
import json
import mmap
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bootable import until
from command import CHECKOUT, partialroot
from hypothesis import given
from hypothesis import strategies as st
from needs import needs
from sources import write
from spaces import LoopFs, mounts_below

from partialroot.errors import ProfileError
from partialroot.profiles.fleet import FleetZone, Given, parse_fleet
from partialroot.zone.journal import is_under_way
from partialroot.zone.store import Store

WEB = """
files = ["/usr/bin/tool"]
[parameters]
port = "8000"
hostname = "nobody"
[text."/etc/motd"]
content = "@hostname@ listens on @port@"
[start]
command = ["/usr/bin/tool", "@port@"]
"""
OTHER = 'files = ["/usr/bin/other"]\n'
FLEET = """
profiles = ["web.toml"]
[parameters]
port = "9000"
[zones."{top}/zones/one"]
hostname = "one"
address = "10.9.0.1"
[zones."{top}/zones/two"]
parameters = {{ port = "9002" }}
[zones."{top}/zones/other"]
profiles = ["other.toml"]
"""


def fleet(text: str) -> tuple[FleetZone, ...]:
    return parse_fleet(text, "fleet.toml", Path("/etc/fleets")).zones


def test_a_zone_has_what_the_fleet_has_and_its_own() -> None:
    one, two = fleet(
        'profiles = ["node", "./own.toml"]\n[zones."/z/a"]\nhostname = "a"\naddress = "10.0.0.1"\n'
        '[zones."/z/b"]\nprofiles = ["base"]\nparameters = { port = "1" }\n'
    )
    assert one == FleetZone(
        *("/z/a", "fleet.toml:2", ("node", "/etc/fleets/own.toml"), {}, "a"),
        Given("10.0.0.1", "fleet.toml:4"),
    )
    assert two == FleetZone(
        "/z/b", "fleet.toml:5", ("base",), {"port": Given("1", "fleet.toml:7")}, None, None
    )


@pytest.mark.parametrize(
    ("text", "line", "said", "hint"),
    [
        ("profile = []", 1, "unknown key 'profile'", "did you mean 'profiles'?"),
        ('[zones."/z"]\nhostnme = "a"', 2, "unknown key 'hostnme'", "did you mean 'hostname'?"),
        ('[zones."z"]\nprofiles = ["a"]', 1, "zonepaths are absolute", ""),
        ('[zones."/z"]\nhostname = "a"', 1, "the zone has no profiles", ""),
        (
            'profiles = ["a"]\n[zones."/z/a"]\n[zones."/z//./a/"]',
            3,
            "is the zone of fleet.toml:2, too",
            "leave one of them out",
        ),
        ('profiles = ["a"]\n[zones."/z"]\nhostname = "-a"', 3, "no host name", ""),
        ('profiles = ["a"]\n[zones."/z"]\nhostname = 7', 3, "must be a string", ""),
        ('profiles = ["a"]\n[zones."/z".parameters]\nport = 7', 3, "must be a string", ""),
        ('profiles = "a"', 1, "must be an array", ""),
        ('profiles = ["a"]', 1, "a fleet has zones", ""),
        ("profiles = [", 1, "not TOML", ""),
        ('[zones."/z"]\n[zones."/z"]', 2, "not TOML", ""),
    ],
)
def test_what_a_fleet_cannot_say(text: str, line: int, said: str, hint: str) -> None:
    with pytest.raises(ProfileError) as caught:
        fleet(text)
    assert said in caught.value.message
    assert caught.value.path == f"fleet.toml:{line}" or said == "a fleet has zones"
    assert hint in (caught.value.hint or "")


@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_any_text_is_a_fleet_or_refused(text: str) -> None:
    try:
        assert fleet(text)
    except ProfileError as error:
        assert str(error.path).startswith("fleet.toml")


# --- zones by one command -------------------------------------------------------------------------------


class Ground:
    """A source with two tools, profiles for each, and a fleet's file."""

    def __init__(self, top: Path) -> None:
        self.top, self.store = top, top / "store"
        for name in ("tool", "other"):
            write(top / "source/usr/bin" / name, name, 0o755)
        write(top / "web.toml", WEB, 0o644)
        write(top / "other.toml", OTHER, 0o644)
        write(top / "fleet.toml", FLEET.format(top=top), 0o644)
        self.options = ("--store", self.store)
        (top / "zones").mkdir()

    def zone(self, name: str | int) -> Path:
        return self.top / "zones" / str(name)

    def populate(self, *words: str | Path, code: int = 0) -> dict[str, Any]:
        said = partialroot(
            "populate", *words, "--source", self.top / "source", *self.options, "--json", code=code
        )
        return said.document

    def motd(self, name: str) -> str:
        return (self.zone(name) / "root/etc/motd").read_text()


@pytest.fixture
def ground(tmp_path: Path, mounted: Callable[..., Path]) -> Iterator[Ground]:
    top = mounted(tmp_path, "-o", "mode=0755")
    yield Ground(top)
    for mount in mounts_below(top):
        subprocess.run(["umount", mount], check=True)


@needs("root", "mount")
def test_a_fleet_is_built_and_built_again(ground: Ground) -> None:
    said = ground.populate("--fleet", ground.top / "fleet.toml")
    assert [zone["changed"] for zone in said["zones"]] == [True, True, True]
    assert [plan["profiles"] for plan in said["plans"]] == [
        [str(ground.top / "web.toml")],
        [str(ground.top / "other.toml")],
    ]
    assert len({plan["image"] for plan in said["plans"]}) == 2
    assert ground.motd("one") == "one listens on 9000"
    assert ground.motd("two") == "nobody listens on 9002"
    for name, hostname, port in (("one", "one", "9000"), ("two", "two", "9002")):
        config = json.loads((ground.zone(name) / "config.json").read_text())
        assert (config["hostname"], config["process"]["args"]) == (hostname, ["/usr/bin/tool", port])
    receipts = [json.loads((ground.zone(name) / "receipt.json").read_text()) for name in ("one", "two")]
    assert [one["request"]["address"] for one in receipts] == ["10.9.0.1", None]
    assert receipts[0]["image"] == receipts[1]["image"]
    assert partialroot("verify", "--all", *ground.options).code == 0
    assert not ground.populate("--fleet", ground.top / "fleet.toml")["changed"]
    said = partialroot("refresh", "--all", *ground.options, "--json").document
    assert {zone["changed"] for zone in said["zones"]} == {False}


@needs("root", "mount")
def test_some_zones_of_a_fleet(ground: Ground) -> None:
    said = ground.populate("--fleet", ground.top / "fleet.toml", ground.zone("two"))
    assert [zone["zonepath"] for zone in said["zones"]] == [str(ground.zone("two"))]
    assert os.listdir(ground.top / "zones") == ["two"]
    refused = ground.populate("--fleet", ground.top / "fleet.toml", ground.zone("tow"), code=2)
    assert refused["error"]["message"] == "the fleet has no such zone"
    assert "two" in refused["error"]["hint"]
    for words in (["web"], ["--hostname", "web"], ["--address", "10.9.0.7"]):
        refused = ground.populate("--fleet", ground.top / "fleet.toml", *words, code=2)
        assert refused["error"]["kind"] == "usage" and "--fleet takes no " in refused["error"]["message"]
    for jobs in ("0", "-1", "two"):
        refused = ground.populate("--fleet", ground.top / "fleet.toml", "--jobs", jobs, code=2)
        assert refused["error"]["message"] == f"{jobs!r} is no number of processes"


@needs("root", "mount")
def test_a_dry_run_touches_nothing(ground: Ground) -> None:
    said = ground.populate("--fleet", ground.top / "fleet.toml", "-n")
    assert len(said["plans"]) == 2
    assert os.listdir(ground.top / "zones") == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('port = "9002"', 'prt = "9002"', "no profile here has the parameter 'prt'"),
        ('port = "9000"', 'prt = "9000"', "no profile here has the parameter 'prt'"),
        ("10.9.0.1", "10.9.0.300", "fleet.toml:7: '10.9.0.300' is no IPv4 address"),
        ("parameters = {", 'address = "10.9.0.1"\nparameters = {', "has the address of "),
        ("other.toml", "others.toml", "cannot be read"),
    ],
)
@needs("root", "mount")
def test_a_fleet_is_refused_as_a_whole(ground: Ground, old: str, new: str, said: str) -> None:
    file = ground.top / "fleet.toml"
    file.write_text(file.read_text().replace(old, new))
    refused = ground.populate("--fleet", file, code=2)
    error = refused["error"]
    assert said in f"{error['path']}: {error['message']}"
    assert os.listdir(ground.top / "zones") == []


@needs("root", "mount")
def test_what_several_zones_lack_is_told_once(ground: Ground) -> None:
    """A fleet of a thousand may lack one file."""
    (ground.top / "lacking.toml").write_text('files = ["/nowhere"]\n')
    file = ground.top / "fleet.toml"
    zones = [str(ground.zone(f"lacking{number}")) for number in range(7)]
    lines = [f'[zones."{zone}"]\nprofiles = ["lacking.toml"]\n' for zone in zones]
    file.write_text(file.read_text() + "".join(lines))
    words = ("--source", ground.top / "source", *ground.options, "--quiet")
    said = partialroot("populate", "--fleet", file, *words, code=2).err.splitlines()
    assert [line for line in said if "/nowhere" in line] == [
        "partialroot: missing (error): /nowhere, needed by lacking.toml:1"
    ]
    assert said[-1] == f"partialroot: that is about {', '.join(zones[:5])} and 2 more"
    assert set(os.listdir(ground.top / "zones")) == {"one", "two", "other"}


@needs("root", "mount")
def test_a_fleet_that_others_can_write_is_refused(ground: Ground) -> None:
    (ground.top / "fleet.toml").chmod(0o666)
    assert ground.populate("--fleet", ground.top / "fleet.toml", code=2)["error"]["kind"] == "profile"


@needs("root", "mount")
@pytest.mark.parametrize("verb", ["populate", "refresh", "refresh -n", "rollback", "audit"])
def test_a_zone_without_a_root_stops_no_other(ground: Ground, verb: str) -> None:
    fleet = ("--fleet", ground.top / "fleet.toml")
    ground.populate(*fleet)
    for name in ("tool", "other"):
        write(ground.top / "fresh", f"newer {name}", 0o755)
        (ground.top / "fresh").rename(ground.top / "source/usr/bin" / name)  # as packages do
    if verb == "rollback":
        partialroot("refresh", "--all", *ground.options)
    broken = ground.zone("one")
    partialroot("unmount", broken, *ground.options)
    shutil.rmtree(broken / "root")
    if verb == "populate":
        said = ground.populate(*fleet, code=2)
    else:
        said = partialroot(*verb.split(), "--all", "--json", *ground.options, code=2).document
    errors = {zone["zonepath"]: zone["error"] for zone in said["zones"] if zone["error"]}
    assert list(errors) == [str(broken)]
    assert errors[str(broken)]["path"] == f"{broken}/root"
    assert "no usable root" in errors[str(broken)]["message"]
    if verb not in ("refresh -n", "audit"):
        assert [zone["changed"] for zone in said["zones"] if not zone["error"]] == [True, True]
    partialroot("remove", "--all", *ground.options)


# --- many -----------------------------------------------------------------------------------------------

MANY = 130


def check_clean(ground: Ground) -> None:
    """Check that no journal, no lock and no half image is left."""
    assert os.listdir(ground.store / "journal") == []
    assert os.listdir(ground.store / "locks") == []
    assert [path for path in (ground.store / "images").iterdir() if path.name.startswith(".")] == []


@needs("root", "mount")
def test_many_zones_in_two_processes(ground: Ground) -> None:
    """A zone that is busy, and one where something else is, are errors of their own."""
    zones = [ground.zone(number) for number in range(MANY)]
    write(zones[7] / "something", "else", 0o644)
    words: list[str | Path] = [*zones, ground.top / "web.toml", "--jobs", "2"]
    with Store(ground.store).lock_zone(zones[100]):
        said = ground.populate(*words, code=3)
    errors = {zone["zonepath"]: zone["error"]["kind"] for zone in said["zones"] if zone["error"]}
    assert errors == {str(zones[7]): "zonepath", str(zones[100]): "busy"}
    assert sum(zone["changed"] for zone in said["zones"]) == MANY - 2
    check_clean(ground)
    images = {os.readlink(zone / "image") for zone in zones if (zone / "image").is_symlink()}
    assert len(images) == 1
    assert len(mounts_below(ground.top / "zones")) == MANY - 2
    (zones[7] / "something").unlink()
    again = ground.populate(*words)
    assert [zone["zonepath"] for zone in again["zones"] if zone["changed"]] == [
        str(zones[7]),
        str(zones[100]),
    ]
    assert partialroot("verify", "--all", *ground.options).code == 0
    assert partialroot("audit", "--all", *ground.options).code == 0
    assert partialroot("remove", "--all", *ground.options).code == 0
    assert os.listdir(ground.top / "zones") == ["7"]  # which was there before
    assert os.listdir(ground.store / "images") == []
    check_clean(ground)


def blocks(store: Path) -> int:
    """Return what a store takes for zones: what is remembered of old files is for all commands."""
    return sum(path.lstat().st_blocks for path in store.rglob("*") if path.name != "memory")


@needs("root", "mount")
def test_what_a_zone_takes_beside_its_files(ground: Ground) -> None:
    """At most 64 KiB and four mounts, however many files it shares."""
    for number in range(2000):
        write(ground.top / f"source/usr/share/many/{number}", "x", 0o644)
    write(ground.top / "many.toml", 'files = ["/usr/share/many"]\n', 0o644)
    ground.populate(ground.zone("a"), ground.top / "many.toml")
    before = blocks(ground.store)
    mounts = len(mounts_below(ground.top))
    ground.populate(ground.zone("b"), ground.top / "many.toml")
    store = blocks(ground.store) - before
    zone = sum((ground.zone("b") / name).stat().st_blocks for name in ("receipt.json", "config.json"))
    assert (store + zone) * 512 <= 64 << 10
    assert len(mounts_below(ground.top)) - mounts <= 4


# The command, whose processes stop at their next effect once there are 20 zones, until they are interrupted.
STOPPING = """
import os, sys, time
from partialroot.__main__ import command
from partialroot.zone import fs
zones, stopped = sys.argv.pop(1), sys.argv.pop(1)
stops = True
def observe(name, path):
    global stops
    if stops and len(os.listdir(zones)) >= 20:
        stops = False
        open(f"{stopped}/{os.getpid()}", "w").close()
        time.sleep(1000)
fs.observe = observe
command()
"""


@needs("root", "mount")
def test_an_interrupt_leaves_nothing_half_done(ground: Ground) -> None:
    zones = [ground.zone(number) for number in range(MANY)]  # in two processes
    words = ["populate", *zones, ground.top / "web.toml", "--source", ground.top / "source", "--jobs", "2"]
    stopped = ground.top / "stopped"
    stopped.mkdir()
    line = [sys.executable, "-c", STOPPING, str(ground.top / "zones"), str(stopped), *map(str, words)]
    line += ["--store", str(ground.store)]
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    with subprocess.Popen(line, env=environment, stderr=subprocess.PIPE, text=True) as process:
        until(lambda: process.poll() is not None or len(os.listdir(stopped)) == 2, "both processes stop")
        process.send_signal(signal.SIGINT)
        said = process.communicate()[1]
    assert "Traceback" not in said
    assert process.returncode == 1, said
    assert "interrupted" in said
    there = [ground.zone(name) for name in os.listdir(ground.top / "zones")]
    assert len(there) < len(zones)
    # What somebody else looks into just then cannot be unmounted, nor so be undone: the next command does it.
    half_done = [zone for zone in there if not (zone / "receipt.json").exists()]
    assert [zone for zone in half_done if not is_under_way(ground.store, zone)] == []
    for zone in half_done:
        partialroot("remove", zone, *ground.options)
        assert not zone.exists()
        there.remove(zone)
    check_clean(ground)
    done = partialroot("status", "--all", *ground.options, "--json", code=None).document
    assert {zone["state"] for zone in done["zones"]} <= {"current"}
    assert sorted(Path(zone["zonepath"]) for zone in done["zones"]) == sorted(there)


def resident(file: Path) -> int:
    """Return how many pages of a file are in the page cache, asked for by this path (mincore(2))."""
    libc = ctypes.CDLL(None, use_errno=True)
    size = file.stat().st_size
    count = -(-size // mmap.PAGESIZE)
    seen = (ctypes.c_ubyte * count)()
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), size, access=mmap.ACCESS_COPY) as pages:
        first = ctypes.c_char.from_buffer(pages)
        start = ctypes.c_void_p(ctypes.addressof(first))
        assert libc.mincore(start, ctypes.c_size_t(size), seen) == 0, ctypes.get_errno()
        del first
    return sum(one & 1 for one in seen)


@needs("root", "mount", "ext4")
def test_zones_share_the_page_cache(loop_fs: LoopFs) -> None:
    """What one zone has read is read for all: the others' files are the same pages."""
    top = loop_fs("ext4")
    ground = Ground(top)
    zones = [ground.zone(number) for number in range(20)]
    tool = top / "source/usr/bin/tool"
    tool.write_bytes(bytes(1 << 20))
    ground.populate(*zones, top / "web.toml")
    files = [zone / "root/usr/bin/tool" for zone in zones]
    with tool.open("rb") as file:

        def dropped() -> bool:  # but for pages that are being written
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            return not resident(tool)

        until(dropped, "no page is in memory")
    assert {resident(file) for file in files} == {0}
    files[0].read_bytes()
    pages = (1 << 20) // mmap.PAGESIZE
    assert {resident(file) for file in files} == {pages}
    for mount in mounts_below(top / "zones"):
        subprocess.run(["umount", mount], check=True)
