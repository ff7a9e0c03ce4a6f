"""The zfs command: what is asked of it, and what it answers."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from partialroot.errors import ApplyError
from partialroot.host.illumos.commands import ZFS, Run

_COLUMNS = ("name", "type", "origin", "createtxg")


class Dataset(NamedTuple):
    """A file system, volume or snapshot; ``origin`` is the snapshot it is a clone of.

    ``created`` is the number of the transaction that made it: unlike a time, no two are the same by chance.
    ``properties`` are those asked for; ``-`` stands for unset.
    """

    name: str
    type: str
    origin: str | None
    created: int
    properties: tuple[str, ...] = ()


class Zfs:
    """The zfs command; every method raises ApplyError with what it says when it fails."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def exists(self, name: str) -> bool:
        """Whether there is such a dataset."""
        try:
            self._run(ZFS, "list", "-H", "-o", "name", name)
        except ApplyError:
            return False
        return True

    def below(self, top: str, *properties: str) -> tuple[Dataset, ...]:
        """Return a dataset and all below it, with their snapshots."""
        columns = ",".join([*_COLUMNS, *properties])
        text = self._run(ZFS, "list", "-H", "-r", "-t", "all", "-o", columns, top)
        return tuple(_parse(text))

    def clones(self) -> tuple[Dataset, ...]:
        """Return all clones of the system."""
        text = self._run(ZFS, "list", "-H", "-t", "filesystem,volume", "-o", ",".join(_COLUMNS))
        return tuple(one for one in _parse(text) if one.origin)

    def create(self, name: str, properties: Mapping[str, str]) -> None:
        """Make a file system."""
        self._run(ZFS, "create", *_options(properties), name)

    def snapshot(self, name: str) -> None:
        """Make a snapshot ``DATASET@NAME``."""
        self._run(ZFS, "snapshot", name)

    def rollback(self, snapshot: str) -> None:
        """Let a file system be as it was at its latest snapshot."""
        self._run(ZFS, "rollback", snapshot)

    def clone(self, snapshot: str, name: str, properties: Mapping[str, str]) -> None:
        """Make a file system with a snapshot's content."""
        self._run(ZFS, "clone", *_options(properties), snapshot, name)

    def promote(self, name: str) -> None:
        """Let a clone no longer depend on its origin: the snapshots up to that become its own."""
        self._run(ZFS, "promote", name)

    def set(self, name: str, properties: Mapping[str, str]) -> None:
        """Set properties, one after the other in the order given."""
        for key, value in properties.items():
            self._run(ZFS, "set", f"{key}={value}", name)

    def destroy(self, name: str, *, recursive: bool = False) -> None:
        """Destroy a dataset or a snapshot; with ``recursive`` also what is below it, and snapshots."""
        self._run(ZFS, "destroy", *(["-r"] if recursive else []), name)


def _options(properties: Mapping[str, str]) -> Iterator[str]:
    for key, value in properties.items():
        yield from ("-o", f"{key}={value}")


def _parse(text: str) -> Iterator[Dataset]:
    """Yield the datasets in the output of ``zfs list -H``: columns separated by one tab."""
    for line in text.splitlines():
        name, kind, origin, created, *properties = line.split("\t")
        yield Dataset(name, kind, None if origin == "-" else origin, int(created), tuple(properties))
