"""What programs need: all of /usr/bin against lddtree, one program against jk_cp, which copies it too.

Both are Python programs: the same Python runs them as ours. All of /usr/bin takes lddtree half a minute, so
that few pairs are made of that.
"""

import os
import shutil
import statistics
import subprocess
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

from benchmarks.ground import OWN_NAMESPACE, PROFILE, Ground, Measured, Row, timed

MOST_PAIRS = 3
BIN = Path("/usr/bin")


class Turn(NamedTuple):
    """Seconds of one turn: lddtree, and ours without and with what an earlier run has remembered."""

    theirs: float
    cold: float
    warm: float


@cache
def turns(ground: Ground) -> list[Turn]:
    """Measure all of /usr/bin, after one unmeasured run of ours; that one also fills our memory."""
    paths = [str(path) for path in sorted(BIN.iterdir())]
    lddtree = [ground.command[0], str(shutil.which("lddtree")), "-l", *paths]
    empty, full = ground.top / "no-store", ground.fresh("store")
    full.mkdir(mode=0o700)
    close(ground, full, *paths)
    return [
        Turn(
            timed(lambda: silently(ground, *lddtree)),
            timed(lambda: close(ground, empty, *paths)),
            timed(lambda: close(ground, full, *paths)),
        )
        for _ in range(min(ground.pairs, MOST_PAIRS))
    ]


def close(ground: Ground, store: Path, *programs: str) -> None:
    """Find out what programs need, as a process of its own; what some lack is no failure here."""
    silently(ground, *ground.command, "closure", "--store", str(store), *programs)


def silently(ground: Ground, *command: str) -> None:
    """Run a command to its end, whatever it says."""
    subprocess.run(command, env=ground.environment, capture_output=True, check=False)


def all_of_bin(ground: Ground, ours: str) -> Measured:
    """Return how many times longer lddtree takes for all of /usr/bin."""
    theirs = [turn.theirs for turn in turns(ground)]
    mine = [getattr(turn, ours) for turn in turns(ground)]
    ratios = [their / my for their, my in zip(theirs, mine, strict=True)]
    return Measured(
        statistics.median(theirs) / statistics.median(mine),
        f"{statistics.median(theirs):.1f} s against {statistics.median(mine):.3f} s;"
        f" pairs {min(ratios):.3g} to {max(ratios):.3g}",
    )


def closure_cold(ground: Ground) -> Measured:
    """What all of /usr/bin needs, against lddtree -l: nothing is remembered."""
    return all_of_bin(ground, "cold")


def closure_warm(ground: Ground) -> Measured:
    """The same once an earlier run has been remembered."""
    return all_of_bin(ground, "warm")


def closure_one(ground: Ground) -> Measured:
    """What one program needs, against jk_cp -j of the same: of node, and beside it of a small one."""
    value, small = (jailed(ground, str(shutil.which(name))) for name in (PROFILE, "true"))
    return value._replace(detail=f"{value.detail}; of true {small.value:.2f}")


def jailed(ground: Ground, program: str) -> Measured:
    """Return how long ours takes, for each second of jk_cp's into a new jail."""
    store = ground.top / "no-store"
    jk_cp = [ground.command[0], str(shutil.which("jk_cp"))]
    pairs = []
    for _ in range(ground.pairs + 1):
        jail = private_place(ground) / ground.fresh("jail").name
        jail.mkdir(mode=0o755)
        theirs = timed(partial(silently, ground, *jk_cp, "-j", str(jail), program))
        assert (jail / program[1:]).exists(), "jk_cp has copied nothing"
        pairs.append((timed(lambda: close(ground, store, program)), theirs))
        shutil.rmtree(jail)
    mine, theirs = (statistics.median(column) for column in zip(*pairs[1:], strict=True))
    ratios = [mine / theirs for mine, theirs in pairs[1:]]
    return Measured(
        mine / theirs,
        f"{mine * 1000:.0f} ms against {theirs * 1000:.0f} ms; pairs {min(ratios):.2f} to {max(ratios):.2f}",
    )


@cache
def private_place(ground: Ground) -> Path:
    """Return our file system at a place that jk_cp accepts: nobody else may write above it."""
    place = Path("/mnt")
    if OWN_NAMESPACE in os.environ:
        subprocess.run(["mount", "--bind", ground.top, place], check=True)
        return place
    return ground.top


PAX_UTILS, JAILKIT = ("lddtree", "pax-utils"), ("jk_cp", "jailkit")
ROWS = {
    "closure-cold": Row(
        closure_cold,
        "x",
        at_least=50,
        needs=PAX_UTILS,
        bound="two fifths of the time look for who would supply the one program that a script names and this"
        " machine has not: in dpkg's lists of files, and in 50 MB of apt's. A tenth is Python's start and"
        " imports; the rest reads 1,400 files and follows 740 programs.",
    ),
    "closure-warm": Row(closure_warm, "x", at_least=75, needs=PAX_UTILS),
    "closure-one": Row(
        closure_one,
        "x",
        at_most=0.5,
        needs=JAILKIT,
        bound="nine tenths of ours is Python's start and imports: three tenths are its own, as many runpy,"
        " typing, re and enum, a tenth argparse, a quarter our modules, half of that to define thirty named"
        " tuples. To find what is needed takes 4 ms.",
    ),
}
