"""illumos: a synthetic global zone plays the source."""

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.ground import Ground, Measured, Row, peak, ratio, timed

# The synthetic global zone is the tests'.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "tests"))


def mvi_node(ground: Ground) -> Measured:
    """How many files and symlinks our node zone has, for each that mvi's lists put into theirs."""
    from mvi_checkout import make
    from zmvix import build

    zone = global_zone(ground, small=True)
    theirs = build(ground.fresh("zmvix"), zone, make(ground.fresh("mvi")), ("nonet", "node"))
    listed = subprocess.check_output(["find", theirs, "-type", "f", "-o", "-type", "l"], text=True)
    words = ("plan", "node", "nonet", "--source", zone, "--store", ground.fresh("store"), "--json", "--quiet")
    plan = json.loads(ground.partialroot(*words))
    ours = [entry for entry in plan["entries"] if entry["type"] != "dir"]
    unexplained = [entry for entry in ours if not entry["reasons"]]
    count = len(listed.splitlines())
    return Measured(len(ours) / count, f"{len(ours)} against {count}, {len(unexplained)} unexplained")


def whole_plan(ground: Ground) -> Measured:
    """What planning all of a global zone takes, against walking it with find; nothing is remembered."""
    zone = global_zone(ground, small=False)
    find = ["find", str(zone), "-ls"]
    return ratio(
        ground,
        lambda ground: timed(lambda: plan_whole(ground, zone)),
        lambda ground: timed(lambda: subprocess.run(find, check=True, stdout=subprocess.DEVNULL)),
    )


def whole_memory(ground: Ground) -> Measured:
    """The most memory that planning all of a global zone takes."""
    zone = global_zone(ground, small=False)
    return Measured(peak(ground, *whole_words(ground, zone)), "22,000 paths")


def plan_whole(ground: Ground, zone: Path) -> None:
    """Plan a zone with all that a global zone's packages have, and print the plan."""
    ground.partialroot(*whole_words(ground, zone))


def whole_words(ground: Ground, zone: Path) -> list[str]:
    """Return the command line of that."""
    words = ("plan", "whole", "--source", zone, "--store", ground.fresh("store"), "--json", "--quiet")
    return [str(word) for word in words]


def global_zone(ground: Ground, *, small: bool) -> Path:
    """Return a synthetic global zone, made once."""
    from globalzone import build

    place = ground.top / ("globalzone-small" if small else "globalzone")
    return place if place.exists() else build(place, small=small)


ROWS = {
    "mvi-node": Row(mvi_node, "x", at_most=1),
    "whole-plan": Row(
        whole_plan,
        "x",
        at_most=12,
        bound="a third follows what 4,500 objects need, a sixth reads these, a quarter chooses among 22,000"
        " paths of 316 packages, the rest plans and prints them. From run to run it is 10 to 13 times.",
    ),
    "whole-memory": Row(whole_memory, "MiB", at_most=150),
}
