"""The reasons of a zone as a graph, and what is in the zone because of what alone.

An edge leads from a reason to what is there for it: from a place in a profile, or from another path. A path
is there as long as one of its reasons is, so it goes with whatever dominates it: what all its chains of
reasons go through. A directory is there, too, as long as anything is in it; and bytes, as long as one of
their names.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import add, sub
from typing import NamedTuple

from partialroot.accounting.dominators import UNREACHED, immediate_dominators
from partialroot.model import Layer, Method, Record
from partialroot.nodes import FileType, Reason
from partialroot.paths import ROOT, RootPath
from partialroot.plan.policy import private_home

Reasons = Mapping[RootPath, Sequence[Reason]]

EVERYTHING = ""
"""The name of what all reasons begin with."""
_TOP = 0


class Thing(NamedTuple):
    """A path of a zone with its layer."""

    record: Record
    layer: Layer


class Amount(NamedTuple):
    """So many regular files, and the bytes they take in each layer; those of several names count once."""

    files: int = 0
    shared_bytes: int = 0
    private_bytes: int = 0

    @property
    def bytes(self) -> int:
        """The bytes of both layers."""
        return self.shared_bytes + self.private_bytes

    def plus(self, other: "Amount") -> "Amount":
        """Return both together."""
        return Amount(*map(add, self, other))

    def minus(self, other: "Amount") -> "Amount":
        """Return this without the other."""
        return Amount(*map(sub, self, other))


class Because:
    """What is in a zone, each thing below the one without which it would not be there.

    Names are paths and places in profiles. What no chain of reasons leads to is there of itself. All that
    lies below the directory ``merged`` is taken as one with it: as if the directory went.
    """

    def __init__(self, things: Sequence[Thing], reasons: Reasons, merged: RootPath | None = None) -> None:
        self._merged = merged
        self._names = [EVERYTHING]
        self._numbers = {EVERYTHING: _TOP}
        self._edges: list[list[int]] = [[]]
        self._amounts = [Amount()]
        self._files: dict[int, RootPath] = {}
        self._paths = {thing.record.path for thing in things}
        self._connect(reasons)
        for names in _named(things):
            self._weigh(names)
        order, dominators = self._dominate()
        self._below: dict[int, list[int]] = {}
        self._totals = list(self._amounts)
        for node in reversed(order[1:]):
            above = dominators[node]
            self._below.setdefault(above, []).append(node)
            self._totals[above] = self._totals[above].plus(self._totals[node])

    def total(self, name: str = EVERYTHING) -> Amount:
        """Return how much would go with ``name``, itself included."""
        return self._totals[self._numbers[name]]

    def is_path(self, name: str) -> bool:
        """Whether a name is that of a path, not of a place in a profile."""
        return name in self._paths

    def below(self, name: str = EVERYTHING) -> Iterator[str]:
        """Yield what goes with ``name``, but with nothing else that does, the largest first."""
        nodes = self._below.get(self._numbers[name], [])
        for node in sorted(nodes, key=lambda node: (-self._totals[node].bytes, self._names[node])):
            if self._names[node]:
                yield self._names[node]

    def all_below(self, name: str) -> Iterator[tuple[str, str]]:
        """Yield everything that goes with ``name``, each with what it goes with immediately."""
        waiting = [name]
        while waiting:
            above = waiting.pop()
            for one in self.below(above):
                yield one, above
                waiting.append(one)

    def files(self, name: str = EVERYTHING) -> Iterator[tuple[RootPath, Amount]]:
        """Yield the files among what goes with ``name``, itself included, each with what it adds."""
        waiting = [self._numbers[name]]
        while waiting:
            node = waiting.pop()
            if node in self._files:
                yield self._files[node], self._amounts[node]
            waiting += self._below.get(node, ())

    # --- how it is made -------------------------------------------------------------------------

    def _connect(self, reasons: Reasons) -> None:
        paths = sorted(self._paths)
        for path in paths:
            self._node(path)
        for path in paths:
            for reason in reasons.get(path, ()):
                self._add_edge(self._origin(reason.origin), self._node(path))
            if path.parent in self._paths and path != ROOT:
                self._add_edge(self._node(path), self._node(path.parent))

    def _origin(self, origin: str) -> int:
        """Return the node of a reason: a path, where it was moved to be private, or a place in a profile."""
        if origin in self._paths:
            return self._node(origin)
        if origin.startswith("/") and (moved := private_home(RootPath(origin))) in self._paths:
            return self._node(moved)
        is_new = origin not in self._numbers
        node = self._node(origin)
        if is_new and node != _TOP:
            self._add_edge(_TOP, node)
        return node

    def _node(self, name: str) -> int:
        """Return the node of a name, made if there is none yet."""
        if self._merged is not None and name in self._paths and RootPath(name).is_below(self._merged):
            name = self._merged
        if name not in self._numbers:
            self._numbers[name] = self._append(name)
        return self._numbers[name]

    def _append(self, name: str) -> int:
        self._names.append(name)
        self._edges.append([])
        self._amounts.append(Amount())
        return len(self._names) - 1

    def _add_edge(self, before: int, after: int) -> None:
        if before != after:
            self._edges[before].append(after)

    def _weigh(self, names: Sequence[Thing]) -> None:
        """Count the names of one file, and its bytes: those of several names go with the last of them."""
        for thing in names:
            self._add(self._node(thing.record.path), thing, Amount(files=1))
        node = self._node(names[0].record.path) if len(names) == 1 else self._append("")
        size = names[0].record.size
        is_shared = names[0].layer is Layer.SHARED
        self._add(node, names[0], Amount(0, size, 0) if is_shared else Amount(0, 0, size))
        for thing in names if len(names) > 1 else ():
            self._add_edge(self._node(thing.record.path), node)

    def _add(self, node: int, thing: Thing, amount: Amount) -> None:
        self._files[node] = thing.record.path
        self._amounts[node] = self._amounts[node].plus(amount)

    def _dominate(self) -> tuple[list[int], list[int]]:
        """Return the order of the nodes and their dominators, when all are reached."""
        while True:
            dominators, order = immediate_dominators(self._edges, _TOP)
            lost = [node for node, dominator in enumerate(dominators) if dominator == UNREACHED]
            if not lost:
                return order, dominators
            needed = {after for before in lost for after in self._edges[before]}
            self._edges[_TOP] += [node for node in lost if node not in needed] or lost[:1]


def _named(things: Iterable[Thing]) -> Iterator[list[Thing]]:
    """Yield the regular files, those that are links to each other together.

    In an image all that come from one inode of the source are; in a zone's own root, a copy and links to it.
    """
    known: dict[tuple[object, ...], list[Thing]] = {}
    for thing in things:
        record = thing.record
        if record.type is not FileType.FILE:
            continue
        identity = record.identity
        is_first = thing.layer is Layer.PRIVATE and record.method is not Method.LINK
        key = (thing.layer, identity.dev, identity.ino) if identity else (record.path,)
        if is_first and key in known:
            key = (record.path,)
        known.setdefault(key, []).append(thing)
    yield from known.values()
