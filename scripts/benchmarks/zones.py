"""One zone, against the archive that zmvix.sh makes of the same files."""

import shutil
import subprocess
from collections.abc import Callable

from benchmarks.ground import Ground, Measured, Row, copy_with_parents, ratio, timed

# partialroot as it would be if a crash could lose a zone: nothing is synced, nothing noted beforehand.
CARELESS = """
import sys
from partialroot.cli import main
from partialroot.zone import fs, journal
fs.sync = fs.sync_all = journal.write = lambda *_: None
sys.exit(main())
"""


def archive_round_trip(ground: Ground) -> float:
    """Return the seconds of zmvix.sh's way: copy the listed files to a stage, pack, unpack as a root."""
    stage, archive, root = ground.fresh("stage"), ground.fresh("archive"), ground.fresh("unpacked")

    def round_trip() -> None:
        stage.mkdir()
        copy_with_parents(ground.source, ground.listed, stage)
        subprocess.run(["tar", "-C", stage, "-czf", archive, "."], check=True)
        root.mkdir()
        subprocess.run(["tar", "-C", root, "-xf", archive], check=True)

    seconds = timed(round_trip)
    shutil.rmtree(stage)
    shutil.rmtree(root)
    archive.unlink()
    return seconds


def populate_ready(ground: Ground) -> float:
    """Return the seconds a new zone takes whose image is there, the whole process."""
    zone, store = ground.fresh("zone"), ground.store
    seconds = timed(lambda: ground.populate(zone, store))
    ground.remove(zone, store)
    return seconds


def populate_first(ground: Ground) -> float:
    """Return the seconds the first zone of a new store takes: closure, hashing and image included."""
    zone, store = ground.fresh("zone"), ground.fresh("store")
    seconds = timed(lambda: ground.populate(zone, store))
    ground.remove(zone, store)
    return seconds


def careless(populate: Callable[[Ground], float]) -> Callable[[Ground], float]:
    """Return the measurement done without syncs and without a journal."""

    def measure(ground: Ground) -> float:
        careful, ground.command = ground.command, [ground.command[0], "-c", CARELESS]
        try:
            return populate(ground)
        finally:
            ground.command = careful

    return measure


def archive_ready(ground: Ground) -> Measured:
    """A zone from a ready image, against copying, packing and unpacking the same tree."""
    return ratio(ground, archive_round_trip, populate_ready)


def archive_first(ground: Ground) -> Measured:
    """The first zone of all, against copying, packing and unpacking the same tree."""
    return ratio(ground, archive_round_trip, populate_first)


def durability(ground: Ground) -> Measured:
    """What syncs and journal cost: a first zone or one from a ready image, whichever they slow down more."""
    both = [ratio(ground, one, careless(one)) for one in (populate_first, populate_ready)]
    return max(both, key=lambda measured: measured.value)


def private_bytes(ground: Ground) -> Measured:
    """What the files of a second zone of the same profile hold by size, the shared layer aside."""
    zone, store = ground.fresh("zone"), ground.store
    ground.populate(zone, store)
    ground.partialroot("unmount", zone, "--store", store, "--quiet")
    found = subprocess.check_output(["find", zone, "-xdev", "-type", "f", "-printf", "%s\n"], text=True)
    sizes = [int(line) for line in found.split()]
    ground.remove(zone, store)
    return Measured(sum(sizes) / 1024, f"{len(sizes)} files, receipt and spec included")


ROWS = {
    "archive-ready": Row(
        archive_ready,
        "x",
        at_least=50,
        bound="most of the time is Python's start and its imports; the rest asks whether what was chosen"
        " still holds, tries what the host offers, and writes the zone.",
    ),
    "archive-first": Row(archive_first, "x", at_least=8),
    "durability": Row(durability, "x", at_most=1.3),
    "private-bytes": Row(private_bytes, "KiB", at_most=256),
}
