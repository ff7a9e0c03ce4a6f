"""From a trace to what it needs of the source: programs, files, directories; what it wrote and where."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import NamedTuple

from partialroot.learn.trace import Lookup, Trace, Use
from partialroot.nodes import FileType, Node
from partialroot.paths import ROOT, RootPath
from partialroot.source.tree import Resolved, Tree

KERNEL = ("/proc", "/sys", "/dev", "/system", "/devices")
"""What a zone gets from its runtime or its platform, never from a profile."""

TEMPORARY = ("/tmp", "/var/tmp", "/run/lock", "/run/user", "/var/run/user")  # noqa: S108 - inside a root
"""In these, what a run makes is gone later."""

VARIABLE = ("/var", "/run", "/tmp")  # noqa: S108 - inside a root
"""Where a machine keeps its state: what changes in these is this machine's (hier(7))."""

# The linker's: the closure knows whether a zone needs them, and makes the zone's own.
_LINKER = frozenset({"/etc/ld.so.cache", "/etc/ld.so.preload", "/var/ld/ld.config", "/var/ld/64/ld.config"})
_CACHES = frozenset({"__pycache__", ".cache"})
_TAKEN = (FileType.FILE, FileType.DIR)


@dataclass
class Need:
    """A path that was asked for and is in the source: where it leads, how often, and who asked."""

    path: RootPath
    found: Resolved
    node: Node
    programs: Counter[str] = field(default_factory=Counter)

    def with_those_of(self, other: "Need") -> "Need":
        """Return the same, asked for by the programs of both."""
        return Need(self.path, self.found, self.node, self.programs + other.programs)

    @property
    def parts(self) -> Iterator[RootPath]:
        """What a zone must have for it: the file, and the symlinks passed on the way."""
        yield self.found.real
        yield from self.found.links


class Needs(NamedTuple):
    """What a trace shows, by path as it was asked for.

    ``written`` are directories that were there before the run and in which it made or changed something:
    each with the names. ``changed`` are files that were there, were read and were written; no others.
    """

    programs: Mapping[RootPath, Need]
    files: Mapping[RootPath, Need]
    directories: Mapping[RootPath, Need]
    written: Mapping[RootPath, Sequence[str]]
    changed: Mapping[RootPath, Need]


def spelled(tree: Tree, path: str) -> RootPath | None:
    """Return a path without ``..``, by following what comes before each; None if it is no path."""
    if not path.startswith("/") or "\0" in path:
        return None
    here = ROOT
    for part in path.split("/"):
        if part == "..":
            here = tree.resolve(here).real.parent
        elif part not in ("", "."):
            here = here / part
    return here


def passing(path: str, tops: Iterable[str]) -> bool:
    """Whether no profile is to supply it: the kernel's, the linker's, a cache outside the shared ``tops``."""
    here = RootPath(path)
    if path in _LINKER or any(here.is_below(top) for top in KERNEL):
        return True
    return not _CACHES.isdisjoint(here.parts) and not any(here.is_below(top) for top in tops)


def needs(trace: Trace, tree: Tree, tops: Iterable[str]) -> Needs:
    """Tell what a trace needs; ``tops`` are the directories that zones share.

    What the run made itself is not needed, nor what it made and then read.
    """
    sorter = _Sorter(tree, tuple(tops))
    for lookup in trace.lookups:
        if not lookup.error:
            sorter.take(lookup)
    return sorter.needs()


class _Sorter:
    def __init__(self, tree: Tree, tops: tuple[str, ...]) -> None:
        self._tree = tree
        self._tops = tops
        self._spelled: dict[str, RootPath | None] = {}
        self._there: set[RootPath] = set()
        self._made: set[RootPath] = set()
        self._changed: set[RootPath] = set()
        self._needs: dict[Use, dict[RootPath, Need]] = {use: {} for use in Use}

    def take(self, lookup: Lookup) -> None:
        if lookup.path not in self._spelled:
            self._spelled[lookup.path] = spelled(self._tree, lookup.path)
        path = self._spelled[lookup.path]
        if path is None or passing(path, self._tops):
            return
        place = self._tree.place(path)
        if lookup.use is Use.WRITE:
            self._changed.add(place)
            if place not in self._there:
                self._made.add(place)
        elif place not in self._made and self._made.isdisjoint(place.ancestors):
            self._there.add(place)
            self._need(lookup, path)

    def _need(self, lookup: Lookup, path: RootPath) -> None:
        need = self._needs[lookup.use].get(path)
        if need is None:
            found = self._tree.resolve(path)
            if found.node is None or found.node.type not in _TAKEN or passing(found.real, self._tops):
                return
            need = self._needs[lookup.use][path] = Need(path, found, found.node)
        need.programs[lookup.program] += 1

    def needs(self) -> Needs:
        programs = dict(self._needs[Use.EXEC])
        looked = _merged([*self._needs[Use.READ].values(), *self._needs[Use.LOOK].values()])
        files, directories, changed = {}, {}, {}
        for path, need in looked.items():
            if need.node.type is FileType.DIR:
                directories[path] = need
            elif need.found.real in self._changed:
                changed[path] = need
            elif path not in programs:
                files[path] = need
        return Needs(programs, files, directories, self._written(), changed)

    def _written(self) -> dict[RootPath, list[str]]:
        """Return where something was made or changed, as far down as was there before the run."""
        pairs = []
        for path in self._changed:
            above = [one for one in path.ancestors if one in self._made]
            top = above[-1] if above else path
            node = self._tree.lstat(top)
            if top not in self._made and node is not None and node.type is FileType.DIR:
                pairs.append((top, "its mode or owner"))
            elif top.parent not in TEMPORARY:
                pairs.append((top.parent, top.name))
        by_directory = groupby(sorted(pairs), key=itemgetter(0))
        return {place: sorted({name for _, name in group}) for place, group in by_directory}


def _merged(needs: Iterable[Need]) -> dict[RootPath, Need]:
    """Unite what was read and what was only looked at."""
    merged: dict[RootPath, Need] = {}
    for need in sorted(needs, key=attrgetter("path")):
        known = merged.get(need.path)
        merged[need.path] = need if known is None else known.with_those_of(need)
    return merged
