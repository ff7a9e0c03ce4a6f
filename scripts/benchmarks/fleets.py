"""Many zones by one command, against ``cp -al`` run once for each; and what grows with their number."""

import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from statistics import median

from benchmarks.ground import PROFILE, Ground, Measured, Row, peak, ratio, timed
from benchmarks.peers import finished, floor_program, run

ZONES = 1000
COPIES = 300
MANY_FILES = 50_000
MOUNTS = 3000

# Binds a directory in many zones' roots, and prints how long each bind took, in microseconds.
BIND = """
import sys, time
from pathlib import Path
from partialroot.paths import RootPath
from partialroot.zone.binds import LinuxBinds
from partialroot.zone.journal import Binds
top, count = Path(sys.argv[1]), int(sys.argv[2])
(top / "image/usr").mkdir(parents=True)
for number in range(count):
    (top / f"zone{number}/root/usr").mkdir(parents=True)
binds = LinuxBinds(for_many=True)
for number in range(count):
    started = time.perf_counter()
    binds.up(top / f"zone{number}", Binds(str(top / "image"), (RootPath("/usr"),)))
    print((time.perf_counter() - started) * 1e6)
"""

# Plans a profile's image and prints how many seconds it takes to build: links, manifest, reasons and syncs.
IMAGE = """
import gc, os, sys, time
from pathlib import Path
from partialroot.pipeline.planning import make_plan
from partialroot.pipeline.sources import Options
from partialroot.zone.image import ensure_image
from partialroot.zone.store import Store
gc.disable()  # as the command does
profile, source, store, zone = sys.argv[1:]
plan = make_plan(Options(Path(store), Path(source)), [profile], [Path(zone)]).plan
os.sync()
started = time.perf_counter()
ensure_image(plan, Store(Path(store)))
print(time.perf_counter() - started)
"""


def zones_of(profile: str, jobs: int, count: int = ZONES) -> Callable[[Ground], float]:
    """Return what builds zones from a ready image by one process, in seconds for each, and removes them."""

    def populate(ground: Ground) -> float:
        top = ground.fresh("zones")
        top.mkdir()
        zones = [str(top / f"z{number}") for number in range(count)]
        words = ("--source", ground.source, "--store", ground.store, "--quiet")
        seconds = timed(lambda: ground.partialroot("populate", *zones, profile, *words, "--jobs", str(jobs)))
        ground.partialroot("remove", *zones, "--store", ground.store, "--quiet")
        top.rmdir()
        return seconds / count

    return populate


def hard_links(ground: Ground) -> float:
    """Return the seconds that one ``cp -al`` of the same root takes, a process each."""
    root, top = finished(ground), ground.fresh("copies")
    top.mkdir()

    def copy() -> None:
        for number in range(COPIES):
            subprocess.run(["cp", "-al", root, top / str(number)], check=True)

    seconds = timed(copy)
    shutil.rmtree(top)
    return seconds / COPIES


def against(ground: Ground, ours: Callable[[Ground], float], theirs: Callable[[Ground], float]) -> Measured:
    """Return how many times longer ours takes, with what each takes for a zone."""
    ours(ground), theirs(ground)
    pairs = [(ours(ground), theirs(ground)) for _ in range(ground.pairs)]
    mine, other = (median(column) for column in zip(*pairs, strict=True))
    ratios = sorted(one / two for one, two in pairs)
    spread = f"pairs {ratios[0]:.2f} to {ratios[-1]:.2f}"
    return Measured(mine / other, f"{mine * 1e3:.2f} ms against {other * 1e3:.2f} ms; {spread}")


def fleet_one(ground: Ground) -> Measured:
    """A zone of a thousand by one process, against cp -al."""
    return against(ground, zones_of(PROFILE, 1), hard_links)


def fleet_two(ground: Ground) -> Measured:
    """A zone of a thousand by two processes, against cp -al."""
    return against(ground, zones_of(PROFILE, 2), hard_links)


def fleet_files(ground: Ground) -> Measured:
    """A zone of a profile with 5,000 shared files, against one of 100; what each process does once aside."""

    def each(count: int) -> Callable[[Ground], float]:
        profile = shared_files(ground, count)
        zone = ground.fresh("keeper")
        ground.partialroot(
            "populate", zone, profile, "--source", ground.source, "--store", ground.store, "--quiet"
        )
        many, few = zones_of(profile, 1, ZONES), zones_of(profile, 1, 1)
        return lambda ground: (many(ground) * ZONES - few(ground)) / (ZONES - 1)

    return against(ground, each(5000), each(100))


@cache
def shared_files(ground: Ground, count: int) -> str:
    """Return a profile of so many small files that zones share."""
    top = ground.source / f"usr/share/files{count}"
    for number in range(count):
        file = top / f"{number // 500}/{number}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(str(number))
    profile = ground.top / f"files{count}.toml"
    profile.write_text(f'files = ["/usr/share/files{count}"]\n[text."/etc/motd"]\ncontent = "{count}"\n')
    return str(profile)


def fleet_disk(ground: Ground) -> Measured:
    """What a zone takes on the disk beside its private files and directories."""

    def blocks(*places: Path) -> int:
        found = subprocess.check_output(["find", *places, "-xdev", "-printf", "%b\n"], text=True)
        return sum(map(int, found.split())) // 2

    zone, store = ground.fresh("zone"), ground.store
    before = blocks(store)
    ground.populate(zone, store)
    own = blocks(zone / "receipt.json", zone / "config.json")
    stored = blocks(store) - before
    mounts = sum(f" {zone}/" in line for line in Path("/proc/self/mountinfo").read_text().splitlines())
    ground.remove(zone, store)
    return Measured(own + stored, f"{own} receipt and spec, {stored} in the store; {mounts} mounts")


def bind(ground: Ground) -> Measured:
    """One bind where 3,000 zones are mounted, against the tenth."""
    ratios = []
    for _ in range(ground.pairs):
        command = ["unshare", "--mount", "--propagation", "private", ground.command[0], "-c", BIND]
        words = [*command, str(ground.fresh("binds")), str(MOUNTS + 10)]
        printed = subprocess.check_output(words, env=ground.environment, text=True)
        times = [float(line) for line in printed.split()]
        ratios.append((median(times[MOUNTS - 10 :]), median(times[5:25])))
    late, early = (median(column) for column in zip(*ratios, strict=True))
    return Measured(late / early, f"{late:.0f} against {early:.0f} microseconds")


# --- one large profile --------------------------------------------------------------------------------


def large(ground: Ground) -> Measured:
    """The first zone with 50,000 shared files, hashing and all, against a loop of linkat(2) in C."""
    return ratio(ground, populate_large, floor_large)


def large_image(ground: Ground) -> Measured:
    """The building of its image alone, once it is planned and hashed, against that loop."""
    return ratio(ground, build_large, floor_large)


def large_memory(ground: Ground) -> Measured:
    """The most memory that takes."""
    zone, store, profile = ground.fresh("zone"), ground.fresh("store"), shared_files(ground, MANY_FILES)
    value = peak(ground, "populate", zone, profile, "--source", ground.source, "--store", store, "--quiet")
    ground.remove(zone, store)
    return Measured(value, f"{MANY_FILES} files")


def populate_large(ground: Ground) -> float:
    """Return the seconds of the whole process."""
    zone, store, profile = ground.fresh("zone"), ground.fresh("store"), shared_files(ground, MANY_FILES)
    words = ("populate", zone, profile, "--source", ground.source, "--store", store, "--quiet")
    seconds = timed(lambda: ground.partialroot(*words))
    ground.remove(zone, store)
    return seconds


def build_large(ground: Ground) -> float:
    """Return the seconds of what is done between the plan and the image's name."""
    zone, store, profile = ground.fresh("zone"), ground.fresh("store"), shared_files(ground, MANY_FILES)
    words = [profile, str(ground.source), str(store), str(zone)]
    command = [ground.command[0], "-c", IMAGE, *words]
    seconds = float(subprocess.check_output(command, env=ground.environment, text=True))
    run("rm", "-rf", store)
    return seconds


def floor_large(ground: Ground) -> float:
    """Return the seconds of the loop for the same files."""
    shared_files(ground, MANY_FILES)
    tree, root = ground.source / f"usr/share/files{MANY_FILES}", ground.fresh("root")
    root.mkdir()
    find = ["find", ".", "-mindepth", "1", "(", "-type", "d", "-printf", "%P/\\0", ")", "-o", "-printf"]
    listed = subprocess.check_output([*find, "%P\\0"], cwd=tree)
    program = floor_program(ground)
    seconds = timed(lambda: subprocess.run([program, tree, root], input=listed, check=True))
    run("rm", "-rf", root)
    return seconds


_ZONE = (
    "a zone is 220 system calls and 230 KB of its own that must be on the disk; cp -al writes none, and waits"
    " for none. Of the processor's time more than half is the kernel's, mostly to make 17 directories and 10"
    " files: that alone is about the target."
)
ROWS = {
    "fleet-one": Row(fleet_one, "x", at_most=0.5, bound=_ZONE),
    "fleet-two": Row(fleet_two, "x", at_most=0.25, bound=f"{_ZONE} Both write to one file system."),
    "fleet-files": Row(fleet_files, "x", at_most=1.2),
    "fleet-disk": Row(fleet_disk, "KiB", at_most=64),
    "bind": Row(bind, "x", at_most=1.5),
    "large": Row(
        large,
        "x",
        at_most=2.5,
        needs=("gcc", "gcc"),
        bound="the image itself is the row large-image. The rest is planning: 50,000 files are walked, hashed"
        " for the first time, asked for their packages, and put in order, in Python.",
    ),
    "large-image": Row(large_image, "x", at_most=2.5, needs=("gcc", "gcc")),
    "large-memory": Row(large_memory, "MiB", at_most=200),
}
