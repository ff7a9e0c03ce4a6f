"""Boot environments: which one runs, and which one each was made from."""

import os
from collections.abc import Iterable
from typing import NamedTuple

from partialroot.errors import SourceError
from partialroot.host.illumos.commands import BEADM, ZFS, Run
from partialroot.host.illumos.mnttab import MountTable

UUID = "org.opensolaris.libbe:uuid"
_FIELDS = 3  # at least
# What Tribblix writes where there are no boot environments to speak of (zones facts 2.3).
NO_BEADM = "opensolaris"


class BootEnvironment(NamedTuple):
    """One line of ``beadm list -H``; ``runs`` is whether the system runs from it now."""

    name: str
    uuid: str
    runs: bool


class Kin(NamedTuple):
    """A boot environment's dataset, and the dataset whose snapshot it is a clone of (None: of none)."""

    dataset: str
    origin: str | None
    uuid: str


def parse(text: str) -> tuple[BootEnvironment, ...]:
    """Return the boot environments that ``beadm list -H`` prints: fields separated by ``;``. SourceError."""
    lines = [line.split(";") for line in text.splitlines() if line]
    wrong = next((line for line in lines if len(line) < _FIELDS), None)
    if wrong:
        raise SourceError(f"beadm list -H printed what cannot be read: {';'.join(wrong)[:200]!r}")
    return tuple(BootEnvironment(name, uuid, "N" in status) for name, uuid, status, *_ in lines)


def running(run: Run) -> str:
    """Return the UUID of the boot environment that runs; SourceError if beadm does not tell it."""
    if not os.access(BEADM, os.X_OK):
        return NO_BEADM
    found = [one.uuid for one in parse(run(BEADM, "list", "-H")) if one.runs]
    if len(found) != 1 or not found[0]:
        raise SourceError("the running boot environment cannot be told", hint="beadm list -H")
    return found[0]


def kin(run: Run, mounts: MountTable) -> tuple[Kin, ...]:
    """Return the boot environments of the pool that the system runs from; none where / is no dataset."""
    top = mounts.at("/")
    if top is None or top.fstype != "zfs":
        return ()
    container = top.special.rpartition("/")[0]
    text = run(ZFS, "list", "-H", "-r", "-t", "filesystem", "-o", f"name,origin,{UUID}", container)
    rows = (line.split("\t") for line in text.splitlines())
    return tuple(Kin(name, _dataset_of(origin), uuid) for name, origin, uuid in rows if uuid != "-")


def by_kinship(uuid: str, family: Iterable[Kin]) -> tuple[str, ...]:
    """Return the UUIDs of the boot environments that are related to one, the nearest first, itself first.

    ``beadm activate`` promotes: the one that a new boot environment was made from is from then on a clone
    of the new one. So origins count in both directions.
    """
    members = {one.uuid: one for one in family}
    order = {uuid: None}
    waiting = [uuid]
    for known in waiting:  # grows while it is walked: breadth first
        if here := members.get(known):
            near = [one.uuid for one in members.values() if one.dataset == here.origin]
            near += [one.uuid for one in members.values() if one.origin == here.dataset]
            waiting += [one for one in dict.fromkeys(near) if one not in order]
            order |= dict.fromkeys(near)
    return tuple(order)


def _dataset_of(snapshot: str) -> str | None:
    """Return the dataset of a snapshot; ``-`` stands for none."""
    return None if snapshot == "-" else snapshot.partition("@")[0]
