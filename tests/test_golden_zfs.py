"""Golden layers on ZFS: roots of the brand's zones are clones of one that is filled once, like any other."""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from itertools import permutations
from pathlib import Path
from typing import TypeVar

import plumbum  # noqa: F401 -- once, not in each child
import pytest
from branded import BRAND, CHECKOUT, STORE, ZONEPATH, Branded
from children import in_child
from lifecycle.machine import NEEDS
from needs import require
from spaces import mounts_below
from treedump import dump

from partialroot.brand.arguments import Call
from partialroot.brand.life import Life
from partialroot.host.illumos import commands
from partialroot.host.illumos.datasets import Datasets
from partialroot.host.illumos.zfs import Zfs
from partialroot.pipeline.sources import Options
from partialroot.plan.facts import DATASET_LEAST
from partialroot.zone import fs, receipt
from partialroot.zone.clones import Clones
from partialroot.zone.golden import LOST, RECORDS

T = TypeVar("T")
ZONES, GOLDEN = "rpool/export/zones", "rpool/export/zones/partialroot-golden"
PROFILE = 'uses = ["page"]\nfiles = ["/srv/many/**"]\n'
# The hook, which is killed when the golden dataset is mounted.
KILLED = """
import os, signal, sys
sys.path[:0] = [{checkout!r}, {checkout!r} + "/tests"]
from pathlib import Path
import sunos
sunos.become()
from partialroot.host.illumos import datasets
Datasets = datasets.Datasets
really = Datasets._mount
def mount(*words):
    really(*words)
    os.kill(os.getpid(), signal.SIGKILL)
Datasets._mount = mount
from partialroot.brand.hooks import main
from partialroot.pipeline.sources import Options
options = lambda: Options(Path({store!r}), Path("/be"), "illumos", (Path("/be/profiles"),))
sys.exit(main(sys.argv[1:], options))
"""


class Machine(Branded):
    """A machine whose global zone has the files of a large private layer."""

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        for number in range(DATASET_LEAST.paths):
            self.write(f"/be/srv/many/file {number}", f"{number}\n", 0o640)
        self.path("/be/srv/many/twin").hardlink_to(self.path("/be/srv/many/file 1"))
        self.write("/be/profiles/many.toml", PROFILE)

    def install_many(self, *zones: str) -> None:
        """Install zones with the profile."""
        for zone in zones:
            self.configure(zone)
            said = self.zoneadm(zone, "install", "-p", "many").err
            assert ("golden dataset" in said) == (self.origins()[zone] != "-")

    def origins(self) -> dict[str, str]:
        """Return what each zone's root is a clone of."""
        rows = self.datasets(ZONES, "origin")
        return {name.split("/")[3]: origin for name, origin in rows if name.endswith("/zbe")}

    def goldens(self) -> list[str]:
        """Return the golden datasets and their snapshots."""
        return [row[0] for row in self.datasets(ZONES) if row[0].startswith(f"{GOLDEN}/")]

    def dump(self, zone: str) -> list[str]:
        """Return the tree of a zone's root."""
        return dump(self.path(f"/export/zones/{zone}/root"), times=False)

    def make_zonepath(self, zone: str, *options: str) -> None:
        """Make the dataset of a zonepath."""
        self.run("zfs", "create", *options, f"{ZONES}/{zone}")
        self.path(f"/export/zones/{zone}").chmod(0o700)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    require(*NEEDS, "zfs", "busybox")
    machine = Machine(tmp_path)
    yield machine
    machine.close()
    assert not mounts_below(tmp_path)


def test_roots_are_clones_and_like_any_other(machine: Machine) -> None:
    before = machine.datasets("rpool/export")
    machine.make_zonepath("plain", "-o", "utf8only=on")  # a clone would not have that
    machine.install_many("web", "other", "plain")
    (golden, snapshot) = machine.goldens()
    assert machine.origins() == {"web": snapshot, "other": snapshot, "plain": "-"}
    assert machine.datasets(GOLDEN, "mountpoint", "canmount", "zoned")[:2] == [
        [GOLDEN, "legacy", "off", "off"],
        [golden, "legacy", "noauto", "off"],
    ]
    assert machine.mounts("/export/zones/web") == [f"{ZONEPATH}/root"]
    assert machine.dump("web") == machine.dump("other") == machine.dump("plain")
    for name in ("/srv/many", "/srv/many/file 7"):
        places = [machine.path(f"/export/zones/{zone}/root{name}") for zone in ("web", "plain")]
        assert len({place.stat().st_mtime_ns for place in places}) == 1
    assert machine.path(f"{ZONEPATH}/root/srv/many/twin").stat().st_nlink == 2
    assert [method(machine, zone) for zone in ("web", "other", "plain")] == ["clone", "clone", "copy"]
    for verb in ("verify", "audit", "status"):
        machine.partialroot(verb, "--all")
    assert "many.toml" in machine.partialroot("explain", ZONEPATH, "/srv/many/file 7").out

    machine.write(f"{ZONEPATH}/root/srv/many/file 1", "mine\n")
    assert machine.path("/export/zones/other/root/srv/many/file 1").read_text() == "1\n"
    machine.change("/srv/many/file 2", "changed\n")
    assert "was brought up to date" in machine.zoneadm("other", "boot").err
    assert machine.run("zlogin", "-S", "other", "cat '/srv/many/file 2'").out == "changed\n"
    machine.zoneadm("other", "halt")
    for zone in ("other", "plain", "web"):
        assert machine.goldens()
        machine.zoneadm(zone, "uninstall", "-F")
    assert machine.datasets("rpool/export") == before


def method(machine: Machine, zone: str) -> str:
    """Return how a file came into a zone, by its receipt."""
    found = receipt.read(machine.path(f"/export/zones/{zone}"))
    assert found
    return next(str(one.method) for one in found.entries if one.path == "/srv/many/file 7")


def test_uninstalled_in_any_order(machine: Machine) -> None:
    """Two clones of the golden layer, and a clone of the first of them: who is the last takes it away."""
    before = machine.datasets("rpool/export")
    for order in permutations(["web", "other", "twin"]):
        for zone in ("web", "other"):
            make(machine, zone)
        machine.make_zonepath("twin")
        inside(machine, lambda: datasets("twin").clone_from(datasets("web"), "twin_snap"))
        left = list(order)
        for zone in order:
            assert {machine.path(f"/export/zones/{one}/root/file").read_text() for one in left} == {"one"}
            assert machine.goldens()
            take_away(machine, zone)
            left.remove(zone)
        assert machine.datasets("rpool/export") == before


def test_what_was_promoted_is_made_anew(machine: Machine) -> None:
    """Somebody let a zone depend on nothing: what it took with it is no golden layer any more."""
    before = machine.datasets("rpool/export")
    for zone in ("web", "other"):
        make(machine, zone)
    machine.run("zfs", "promote", f"{ZONES}/web/ROOT/zbe")
    make(machine, "third")
    assert machine.origins() == {
        "web": "-",
        "other": f"{ZONES}/web/ROOT/zbe@whole",
        "third": f"{GOLDEN}/key@whole",
    }
    for zone in ("web", "third", "other"):
        take_away(machine, zone)
    assert machine.datasets("rpool/export") == before


def test_roots_of_other_boot_environments_are_its_clones_too(machine: Machine) -> None:
    """libbe's clones of a root depend on it only while they do; what is detached and attached stays one."""
    before = machine.datasets("rpool/export")
    make(machine, "web")
    inside(machine, datasets("web").detach)
    inside(machine, datasets("web").attach)
    assert machine.origins() == {"web": f"{GOLDEN}/key@whole"}
    machine.new_boot_environment("be2", "be1")
    machine.boot_environment("be2")
    assert inside(machine, datasets("web").mount) == f"{ZONES}/web/ROOT/zbe-1"
    assert len(inside(machine, datasets("web").roots)) == 2
    machine.boot_environment("be1")
    take_away(machine, "web")
    assert machine.goldens()
    machine.boot_environment("be2")
    inside(machine, datasets("web").mount)
    assert machine.path("/export/zones/web/root/file").read_text() == "one"
    take_away(machine, "web")
    assert machine.datasets("rpool/export") == before


def test_a_clone_is_sent_whole(machine: Machine) -> None:
    make(machine, "web")
    machine.run("zfs", "snapshot", f"{ZONES}/web/ROOT/zbe@sent")
    machine.run("sh", "-c", f"zfs send {ZONES}/web/ROOT/zbe@sent | zfs receive {ZONES}/away")
    assert machine.datasets(f"{ZONES}/away", "origin")[0][1] == "-"
    machine.run("zfs", "destroy", f"{ZONES}/web/ROOT/zbe@sent")
    take_away(machine, "web")
    assert not machine.goldens()
    assert machine.path("/export/zones/away/file").read_text() == "one"


# --- to another pool, as docs/fleets.md has it -------------------------------------------------------

SENT = f"""
zfs snapshot -r {ZONES}/web@now
for part in "" /ROOT /ROOT/zbe; do
    zfs send -p {ZONES}/web$part@now | zfs receive -u tank/web$part || break
done
"""
SENT_WITH_LAYERS = f"zfs snapshot -r {ZONES}@now; zfs send -R {ZONES}@now | zfs receive -u -d tank"
PROMOTED = f"""
zfs promote {ZONES}/web/ROOT/zbe
zfs snapshot -r {ZONES}/web@now
zfs send -R {ZONES}/web@now | zfs receive -u -d tank
"""


@pytest.mark.parametrize(
    ("way", "zones", "origin"),
    [
        (SENT, "tank", "-"),
        (SENT_WITH_LAYERS, "tank/export/zones", "tank/export/zones/partialroot-golden/"),
        (PROMOTED, "tank/export/zones", "-"),
    ],
    ids=["by itself", "with what it shares", "promoted"],
)
def test_sent_to_another_pool(machine: Machine, way: str, zones: str, origin: str) -> None:
    """What was received has properties of its own, whatever is inherited: attach gives it those of a root."""
    machine.add_pool("tank")
    machine.install_many("web", "other")
    machine.write(f"{ZONEPATH}/root/srv/many/file 1", "mine\n", 0o640)
    machine.zoneadm("web", "detach")
    machine.run("sh", "-c", way)
    machine.run("zfs", "set", "mountpoint=/tank", zones)
    root = f"{zones}/web/ROOT/zbe"
    machine.zonecfg("web", "set zonepath=/tank/web")
    machine.zoneadm("web", "attach")
    assert machine.datasets(root, "mountpoint", "canmount", "zoned")[0] == [root, "legacy", "noauto", "on"]
    assert machine.datasets(root, "origin")[0][1].startswith(origin)
    machine.change("/srv/many/file 2", "changed\n")
    assert "was brought up to date" in machine.zoneadm("web", "boot").err
    said = machine.run("zlogin", "-S", "web", "cat '/srv/many/file 1' '/srv/many/file 2'").out
    assert said == "mine\nchanged\n"
    machine.zoneadm("web", "halt")
    for verb in ("verify", "audit", "status"):
        machine.partialroot(verb, "/tank/web")
    machine.zoneadm("web", "uninstall", "-F")
    assert root not in [row[0] for row in machine.datasets("tank")]
    machine.zoneadm("other", "boot")
    assert machine.run("zlogin", "-S", "other", "cat '/srv/many/file 1'").out == "1\n"


def test_a_clone_alone_has_no_origin_there(machine: Machine) -> None:
    machine.add_pool("tank")
    machine.install_many("web")
    machine.run("zfs", "snapshot", "-r", f"{ZONES}/web@now")
    said = machine.run("sh", "-c", f"zfs send -R {ZONES}/web@now | zfs receive -u -d tank", code=1).err
    assert "local origin for clone" in said and "does not exist" in said
    assert machine.datasets("tank")[-1][0] == "tank/export/zones/web/ROOT@now"


def datasets(zone: str) -> Datasets:
    """Return the datasets of a zone, inside the machine."""
    return Datasets(Path(f"/export/zones/{zone}"))


def inside(machine: Machine, work: Callable[[], T]) -> T:
    """Return what a function returns inside the machine."""
    return in_child(machine.enter, work)


def make(machine: Machine, zone: str, kill: int = 0) -> int:
    """Make a zonepath whose root is a clone of a golden layer with one file, as an install does.

    Return how many commands were run that change something; with ``kill`` that is the last one.
    """

    def fill(root: int, notes: int, where: Path) -> None:
        for at, name, text in ((root, "file", b"one"), (notes, RECORDS, b"[]"), (notes, LOST, b"[]")):
            fs.create_file(at, name, text)

    def counting(*words: str) -> str:
        said = commands.run(*words)
        if words[1] not in ("list", "get"):
            os.write(told, b".")
            if os.fstat(told).st_size == kill:
                os.kill(os.getpid(), signal.SIGKILL)
        return said

    def work() -> None:
        keeper = Clones(Datasets(Path(f"/export/zones/{zone}"), counting))
        if not keeper.has("key"):
            keeper.build("key", fill)
        keeper.copy("key")
        assert keeper.notes("key").records == b"[]"
        assert os.listdir(f"/export/zones/{zone}/root") == ["file"]

    machine.make_zonepath(zone)
    told = os.memfd_create("told")
    try:
        with suppress(EOFError) if kill else nullcontext():
            inside(machine, work)
        return os.fstat(told).st_size
    finally:
        os.close(told)


def take_away(machine: Machine, zone: str, kill: int = 0) -> int:
    """Uninstall a zone, and return how many datasets were destroyed; with ``kill`` killed after so many."""
    destroy = Zfs.destroy

    def counting(zfs: Zfs, name: str, *, recursive: bool = False) -> None:
        destroy(zfs, name, recursive=recursive)
        os.write(told, b".")
        if os.fstat(told).st_size == kill:
            os.kill(os.getpid(), signal.SIGKILL)

    def work() -> None:
        pytest.MonkeyPatch().setattr(Zfs, "destroy", counting)  # in this child alone
        call = Call(zone, Path(f"/export/zones/{zone}"), ())
        Life(call, Options(Path(STORE), Path("/be"), "illumos"), print).uninstall(verbose=False)

    told = os.memfd_create("told")
    try:
        with suppress(EOFError) if kill else nullcontext():
            inside(machine, work)
        return os.fstat(told).st_size
    finally:
        os.close(told)


def test_killed_at_every_command(machine: Machine) -> None:
    """What is half-made goes with the zone it was made for; what is whole would do for the next one."""
    before = machine.datasets("rpool/export")
    count = make(machine, "web")
    take_away(machine, "web")
    for number in range(1, count + 1):
        assert make(machine, "web", kill=number) == number
        take_away(machine, "web")
        assert machine.datasets("rpool/export") == before


def test_an_uninstall_that_was_killed_is_done_again(machine: Machine) -> None:
    """Whatever is gone already: the root, all of the zone, or the golden layer, too."""
    before = machine.datasets("rpool/export")
    make(machine, "web")
    count = take_away(machine, "web")
    assert count > 4  # root, container and top of the zone; golden layer and container of those
    for number in range(1, count + 1):
        make(machine, "web")
        assert take_away(machine, "web", kill=number) == number
        take_away(machine, "web")
        assert machine.datasets("rpool/export") == before


def test_a_pool_that_is_full_leaves_a_configured_zone(machine: Machine) -> None:
    before = machine.datasets("rpool/export")
    zfs = machine.path("/usr/sbin/zfs").read_text()
    full = 'case "$*" in clone*golden*) echo "out of space" >&2; exit 1;; esac\n'
    machine.write("/usr/sbin/zfs", zfs.replace("for try", f"{full}for try"), 0o755)
    machine.configure("web")
    assert "out of space" in machine.zoneadm("web", "install", "-p", "many", code=1).err
    assert machine.state("web") == "configured"
    assert machine.datasets("rpool/export") == before and machine.images() == []


def test_a_killed_install_is_in_nobodys_way(machine: Machine) -> None:
    """It has left the golden dataset mounted, half-made, where its own root would be."""
    before = machine.datasets("rpool/export")
    machine.make_zonepath("web")
    text = KILLED.format(checkout=str(CHECKOUT), store=STORE)
    words = ["install", "web", ZONEPATH, "-pmany"]
    machine.run(sys.executable, "-IBc", text, *words, code=-9)
    assert machine.mounts(ZONEPATH) == [f"{ZONEPATH}/root"]
    machine.install_many("other")
    assert machine.path("/export/zones/other/root/srv/many/file 7").read_text() == "7\n"
    assert machine.mounts(ZONEPATH) == []
    machine.run("zfs", "create", f"{GOLDEN}/half")
    would = json.loads(machine.partialroot("prune", "-n", "--json").out)["leftovers"]
    assert [one["path"] for one in would] == [f"{GOLDEN}/half"] and would[0]["bytes"] > 0
    assert json.loads(machine.partialroot("prune", "--json").out)["changed"]
    assert len(machine.goldens()) == 2 and f"{GOLDEN}/half" not in machine.goldens()
    machine.run(f"{BRAND}/hook", "uninstall", "web", ZONEPATH, "-F")
    machine.zoneadm("other", "uninstall", "-F")
    assert machine.datasets("rpool/export") == before
    assert machine.images() == []
