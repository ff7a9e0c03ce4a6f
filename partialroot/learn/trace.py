"""What a run showed: every path its processes asked for, with what came of it; of strace and truss alike."""

from collections.abc import Iterable
from enum import StrEnum
from itertools import chain
from typing import NamedTuple


class Use(StrEnum):
    """What a path was asked for."""

    EXEC = "exec"
    READ = "read"
    LOOK = "look"
    WRITE = "write"


class Lookup(NamedTuple):
    """One path, asked for by one process.

    ``path`` is absolute and as the process spelled it: symlinks and ``..`` are not followed. ``error`` is the
    name of the error (``ENOENT``), "" if there was none. ``program`` is what the process executed last.
    """

    path: str
    use: Use
    error: str
    program: str
    process: int


class Listening(NamedTuple):
    """An address and port that a process listens at."""

    address: str
    port: int


class Trace(NamedTuple):
    """One run or several; the lookups are in the order in which they happened.

    ``uids`` and ``gids`` are those that processes became or gave files to, ``sockets`` the Unix sockets that
    were connected to, ``relative`` the paths that were asked for by their names in the directory of the first
    process. ``processes`` counts them.
    """

    lookups: tuple[Lookup, ...] = ()
    listening: frozenset[Listening] = frozenset()
    sockets: frozenset[str] = frozenset()
    relative: frozenset[str] = frozenset()
    uids: frozenset[int] = frozenset()
    gids: frozenset[int] = frozenset()
    processes: int = 0


def united(traces: Iterable[Trace]) -> Trace:
    """Return several runs as one."""
    each = tuple(traces)
    return Trace(
        lookups=tuple(chain.from_iterable(one.lookups for one in each)),
        listening=frozenset(chain.from_iterable(one.listening for one in each)),
        sockets=frozenset(chain.from_iterable(one.sockets for one in each)),
        relative=frozenset(chain.from_iterable(one.relative for one in each)),
        uids=frozenset(chain.from_iterable(one.uids for one in each)),
        gids=frozenset(chain.from_iterable(one.gids for one in each)),
        processes=sum(one.processes for one in each),
    )
