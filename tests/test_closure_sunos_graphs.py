"""Random graphs of objects: the closure is all that is needed and nothing else, by a judge of its own.

The judge knows nothing of files: it works on the graph, by the rules of the linker's documentation.
"""

import tempfile
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from sunelf import LAZY, Need
from sunroot import INTERPRETERS, SunRoot

from partialroot.paths import RootPath

NAMES = [f"lib{letter}.so.1" for letter in "abdefgh"]
DEFAULTS = {32: ["/lib", "/usr/lib"], 64: ["/lib/amd64", "/usr/lib/amd64"]}
EXTRA = ["/opt/one", "/opt/two"]
KINDS = ["DT_FILTER", "DT_SUNW_FILTER", "DT_AUXILIARY", "DT_SUNW_AUXILIARY"]


@dataclass
class Thing:
    """An object of the graph; ``filters`` are pairs of kind and name, ``lazy`` the names of lazy needs.

    ``now``: it is bound at start-up, with all that is loaded because of it.
    """

    path: str
    bits: int
    needs: list[str] = field(default_factory=list)
    lazy: list[str] = field(default_factory=list)
    filters: list[tuple[str, str]] = field(default_factory=list)
    runpath: list[str] = field(default_factory=list)
    no_default: bool = False
    now: bool = False


@st.composite
def things(draw: st.DrawFn) -> list[Thing]:
    """Draw up to three programs and a dozen libraries, several of one name."""
    places = st.sampled_from([*DEFAULTS[32], *DEFAULTS[64], *EXTRA])
    libraries = draw(
        st.lists(st.tuples(places, st.sampled_from(NAMES)), max_size=12, unique=True).map(
            lambda pairs: [f"{place}/{name}" for place, name in pairs]
        )
    )
    programs = [f"/usr/bin/p{number}" for number in range(draw(st.integers(1, 3)))]
    names = st.lists(st.sampled_from(NAMES), max_size=3, unique=True)
    return [
        Thing(
            path,
            draw(st.sampled_from([32, 64])),
            draw(names),
            draw(names),
            draw(st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from(NAMES)), max_size=2)),
            draw(st.lists(st.sampled_from(EXTRA), max_size=2)),
            draw(st.booleans()) and draw(st.booleans()),
            draw(st.booleans()) and draw(st.booleans()),
        )
        for path in programs + libraries
    ]


def make(zone: SunRoot, one: Thing) -> None:
    zone.library(
        one.path,
        [*one.needs, *(Need(name, LAZY) for name in one.lazy)],
        bits=one.bits,
        interpreter=INTERPRETERS[one.bits] if one.path.startswith("/usr/bin") else None,
        filters=one.filters,
        runpath=":".join(one.runpath) or None,
        no_default=one.no_default,
        now=one.now,
    )


class Judge:
    """Reachability over the graph: from each program and class, where each need leads."""

    def __init__(self, graph: list[Thing], lean: bool) -> None:
        self.things = {one.path: one for one in graph}
        self.lean = lean
        self.found: set[str] = set()
        self.lacks: dict[tuple[str, str], str] = {}

    def search(self, caller: Thing, name: str) -> str | None:
        places = caller.runpath + ([] if caller.no_default else DEFAULTS[caller.bits])
        fitting = (f"{place}/{name}" for place in places)
        return next(
            (one for one in fitting if one in self.things and self.things[one].bits == caller.bits), None
        )

    def names(self, one: Thing, now: bool) -> list[tuple[str, bool, bool]]:
        """Return a thing's needs: name, whether it may wait, whether it may be absent."""
        needs = [(name, False, False) for name in one.needs]
        needs += [] if self.lean and not now else [(name, not now, False) for name in one.lazy]
        return needs + [(name, False, kind.endswith("AUXILIARY")) for kind, name in one.filters]

    def run(self, program: Thing) -> None:
        at_once = self.reach({(program.path, program.now)}, waiting=False)
        everything = self.reach(set(at_once), waiting=True)
        for path, now in everything:
            for name, waits, optional in self.names(self.things[path], now):
                if optional or self.search(self.things[path], name):
                    continue
                known = any(other.rpartition("/")[2] == name for other, _ in everything)
                hard = (path, now) in at_once and not waits and not known
                if hard or (path, name) not in self.lacks:
                    self.lacks[path, name] = "error" if hard else "warning"
        self.found |= {path for path, _ in everything}

    def reach(self, start: set[tuple[str, bool]], *, waiting: bool) -> set[tuple[str, bool]]:
        """Return what is reached, and whether all of it is bound then: what is handed down is kept apart."""
        seen, todo = set(start), deque(start)
        while todo:
            path, now = todo.popleft()
            for name, waits, _ in self.names(self.things[path], now):
                target = self.search(self.things[path], name)
                state = (target, now or self.things[target].now) if target else None
                if state and state not in seen and (waiting or not waits):
                    seen.add(state)
                    todo.append(state)
        return seen


@settings(max_examples=80, deadline=None)
@given(things(), st.booleans())
def test_all_that_is_needed_and_nothing_else(graph: list[Thing], lean: bool) -> None:
    judge = Judge(graph, lean)
    programs = [one for one in graph if one.path.startswith("/usr/bin")]
    for program in programs:
        judge.run(program)
    with tempfile.TemporaryDirectory() as scratch:
        zone = SunRoot(Path(scratch))
        for one in graph:
            make(zone, one)
        found = zone.closed(*(one.path for one in programs), lean=lean)
    files = {
        str(path) for path in found.reasons if path.startswith(("/opt/", "/usr/bin/p")) or "/lib" in path
    }
    linkers = {"/lib/ld.so.1", "/usr/lib/ld.so.1", "/lib/amd64/ld.so.1", "/usr/lib/amd64/ld.so.1"}
    assert files - linkers - {"/lib/64", "/usr/lib/64"} == judge.found
    lacks = {(one.needed_by, one.name.partition(" ")[0]): one.severity for one in found.missing}
    assert lacks == judge.lacks


@settings(max_examples=40, deadline=None)
@given(things())
def test_every_chain_of_reasons_ends_in_the_profile(graph: list[Thing]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        zone = SunRoot(Path(scratch))
        for one in graph:
            make(zone, one)
        found = zone.closed(*(one.path for one in graph if one.path.startswith("/usr/bin")))
    for path in found.reasons:
        seen: set[str] = set()
        here: str = path
        while here.startswith("/"):
            assert here not in seen, f"{path} is there because of itself"
            seen.add(here)
            here = found.reasons[RootPath(here)][0].origin
        assert here == "p.toml:1"
