"""Where rows are measured: a file system of their own, our command and its environment, and how to time.

A ratio is the median of the peer's times over the median of ours, both taken in turns; its spread is that of
the pairs' own ratios. Every run has a directory that no run had before.
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from environment import checkout_environment

PROFILE = "node"
DATABASES = ("/var/lib/dpkg", "/etc/ld.so.cache", "/etc/passwd", "/etc/group", "/etc/nsswitch.conf")
OWN_NAMESPACE = "PARTIALROOT_BENCH_NAMESPACE"
# Runs a command as its only child and prints the peak of its memory in KiB.
PEAK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


class Measured(NamedTuple):
    """A row's result: the value that has a target, and what a reader wants to know beside it."""

    value: float
    detail: str


class Ground:
    """Where all rows run: a file system of their own, with a source root and numbered fresh directories."""

    def __init__(self, top: Path, python: str, pairs: int) -> None:
        self.top = top
        self.pairs = pairs
        self.command = [python, "-m", "partialroot"]
        self.environment = checkout_environment(top / "pycache")
        self.made = 0

    def on(self, top: Path) -> "Ground":
        """Return the same on another file system."""
        return Ground(top, self.command[0], self.pairs)

    def fresh(self, name: str) -> Path:
        """Return a path that never was there."""
        self.made += 1
        return self.top / f"{name}{self.made}"

    def partialroot(self, *words: str | Path) -> str:
        """Run a verb to its end and return what it printed."""
        command = [*self.command, *map(str, words)]
        done = subprocess.run(command, env=self.environment, check=True, stdout=subprocess.PIPE, text=True)
        return done.stdout

    def python(self, *words: str) -> None:
        """Run the interpreter that runs our command."""
        subprocess.run([self.command[0], *words], env=self.environment, check=True)

    def populate(self, zone: Path, store: Path) -> None:
        """Build a zone of the profile, as a process of its own."""
        self.partialroot("populate", zone, PROFILE, "--source", self.source, "--store", store, "--quiet")

    def remove(self, zone: Path, store: Path) -> None:
        """Take a zone away, and its image with the last one."""
        self.partialroot("remove", zone, "--store", store, "--quiet")

    @cached_property
    def source(self) -> Path:
        """A root on our file system with all the profile takes from this machine, and its databases."""
        root = self.top / "source"
        root.mkdir()
        plan = json.loads(self.partialroot("plan", PROFILE, "--json"))
        paths = [entry["path"] for entry in plan["entries"] if entry["type"] != "dir"]
        copy_with_parents(Path("/"), [*dict.fromkeys([*paths, *DATABASES])], root)
        return root

    @cached_property
    def listed(self) -> list[str]:
        """What a peer must bring into the zone: every file and symlink of ours that the source has."""
        plan = json.loads(self.partialroot("plan", PROFILE, "--source", self.source, "--json"))
        return [
            entry["path"]
            for entry in plan["entries"]
            if entry["type"] != "dir" and os.path.lexists(f"{self.source}{entry['path']}")
        ]

    @cached_property
    def store(self) -> Path:
        """A store with the image ready, kept by one zone."""
        store = self.fresh("store")
        self.populate(self.fresh("keeper"), store)
        return store


class Row(NamedTuple):
    """What is measured, and from where on it is good: at least, or at most.

    ``needs`` is a program that must be there, and the package that has it. ``bound`` says what keeps a row
    that is missed from its target, as profiles showed.
    """

    measure: Callable[[Ground], Measured]
    unit: str
    at_least: float | None = None
    at_most: float | None = None
    needs: tuple[str, str] | None = None
    bound: str = ""

    @property
    def target(self) -> str:
        """The target in words."""
        return f">= {self.at_least:g}" if self.at_least is not None else f"<= {self.at_most:g}"

    def ok(self, value: float) -> bool:
        """Whether a value meets the target."""
        return (self.at_least is None or value >= self.at_least) and (
            self.at_most is None or value <= self.at_most
        )


def copy_with_parents(root: Path, paths: list[str], destination: Path) -> None:
    """Copy paths below a root with their parents, as cp -a does; those that are not there are left out."""
    names = [f"./{path.lstrip('/')}" for path in paths if os.path.lexists(root / path.lstrip("/"))]
    command = ["xargs", "-0", "cp", "-a", "--parents", "-t", str(destination)]
    subprocess.run(command, input="\0".join(names).encode(), cwd=root, check=True)


def timed(action: Callable[[], object]) -> float:
    """Return how many seconds an action takes, once all earlier writes are on the disk."""
    os.sync()
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def ratio(ground: Ground, theirs: Callable[[Ground], float], ours: Callable[[Ground], float]) -> Measured:
    """Return how many times longer theirs takes, both run in turns after one unmeasured run of each."""
    theirs(ground), ours(ground)
    pairs = [(theirs(ground), ours(ground)) for _ in range(ground.pairs)]
    their_median, our_median = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratios = [their / our for their, our in pairs]
    return Measured(
        their_median / our_median,
        f"{their_median:.2f} s against {our_median:.3f} s; pairs {min(ratios):.3g} to {max(ratios):.3g}",
    )


def peak(ground: Ground, *words: str | Path) -> float:
    """Return the most memory that a verb takes, in MiB."""
    command = [sys.executable, "-c", PEAK, *ground.command, *map(str, words)]
    report = subprocess.run(command, env=ground.environment, check=True, stdout=subprocess.PIPE, text=True)
    return int(report.stdout) / 1024


@contextlib.contextmanager
def own_ground(kind: str = "ext4") -> Iterator[tuple[Path, str]]:
    """Give the directory where all is measured, and words on what file system that is; nothing stays."""
    with tempfile.TemporaryDirectory(prefix="partialroot-bench-", dir="/var/tmp") as folder:
        if OWN_NAMESPACE not in os.environ:
            yield Path(folder), "the file system of /var/tmp, since only root may mount"
            return
        image, top = Path(folder, "image"), Path(folder, "top")
        top.mkdir()
        subprocess.run(["truncate", "-s", "8G", image], check=True)
        subprocess.run([f"mkfs.{kind}", "-q", image], check=True)
        subprocess.run(["mount", "-o", "loop", image, top], check=True)
        try:
            yield top, f"a new journalled {kind} on a loop device"
        finally:
            subprocess.run(["umount", "--lazy", top], check=True)
