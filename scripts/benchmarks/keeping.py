"""Keeping zones current: what it costs to find that nothing is to do."""

from collections.abc import Callable
from functools import cache
from statistics import median

from benchmarks.ground import PROFILE, Ground, Measured, Row, peak, ratio, timed

ZONES = 1000


@cache
def store_of_many(ground: Ground) -> str:
    """Return a store with a thousand current zones."""
    store, top = ground.fresh("store"), ground.fresh("zones")
    top.mkdir()
    zones = [str(top / f"z{number}") for number in range(ZONES)]
    ground.partialroot("populate", *zones, PROFILE, "--source", ground.source, "--store", store, "--quiet")
    return str(store)


def of_all(ground: Ground, verb: str) -> float:
    """Return the seconds of a verb about all of them, the whole process."""
    store = store_of_many(ground)
    return timed(lambda: ground.partialroot(verb, "--all", "--store", store, "--quiet"))


def in_seconds(verb: str) -> Callable[[Ground], Measured]:
    """Return what measures a verb about a thousand current zones."""

    def measure(ground: Ground) -> Measured:
        of_all(ground, verb)  # from the second time on nothing is new
        times = [of_all(ground, verb) for _ in range(ground.pairs)]
        return Measured(median(times), f"{ZONES} zones; {min(times):.2f} to {max(times):.2f} s")

    return measure


def status_memory(ground: Ground) -> Measured:
    """The most memory of any of its processes."""
    return Measured(peak(ground, "status", "--all", "--store", store_of_many(ground)), f"{ZONES} zones")


def python_alone(ground: Ground) -> float:
    """Return the seconds that Python takes to start and do nothing."""
    return timed(lambda: ground.python("-c", "pass"))


def refresh_none(ground: Ground) -> Measured:
    """A refresh of one zone that has nothing to do, the whole process, against Python's start."""
    zone, store = ground.fresh("zone"), ground.store
    ground.populate(zone, store)
    words = ("refresh", zone, "--store", store, "--quiet")
    ground.partialroot(*words)
    return ratio(ground, lambda ground: timed(lambda: ground.partialroot(*words)), python_alone)


def version(ground: Ground) -> Measured:
    """``--version``, against Python's start."""
    return ratio(ground, lambda ground: timed(lambda: ground.partialroot("--version")), python_alone)


ROWS = {
    "status-1000": Row(in_seconds("status"), "s", at_most=2),
    "status-memory": Row(status_memory, "MiB", at_most=60),
    "refresh-1000": Row(in_seconds("refresh"), "s", at_most=5),
    "refresh-none": Row(refresh_none, "x", at_most=7),
    "version": Row(version, "x", at_most=2.5),
}
