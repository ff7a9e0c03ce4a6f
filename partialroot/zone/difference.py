"""What differs between a zone as it was made and what a new plan says, path by path."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from partialroot.model import Action, Plan, Receipt, Record
from partialroot.nodes import FileType
from partialroot.paths import RootPath
from partialroot.zone import fs
from partialroot.zone.layer import private_actions
from partialroot.zone.measured import lost_sentence

Owners = frozenset[tuple[int, int]]


class Difference(NamedTuple):
    """Paths inside the zone, sorted: those only the plan has, those only the zone had, those that differ."""

    added: tuple[RootPath, ...] = ()
    removed: tuple[RootPath, ...] = ()
    changed: tuple[RootPath, ...] = ()

    def __add__(self, other: object) -> "Difference":
        """Return the two together."""
        if not isinstance(other, Difference):
            return NotImplemented
        pairs = zip(self, other, strict=True)
        return Difference(*(tuple(sorted({*one, *another})) for one, another in pairs))


def private(plan: Plan, old: Receipt, lost_owners: Owners) -> Difference:
    """Return what differs in a zone's own root between its receipt and a plan."""
    lost = frozenset(old.warnings)
    actions = {action.entry.path: action for action in private_actions(plan)}
    points = {*plan.tops, *old.mounts}  # what is mounted there is the image's
    wanted = {path: action for path, action in actions.items() if path not in points}
    return _compare({record.path: record for record in old.entries}, wanted, lost_owners, lost)


def shared(plan: Plan, records: Iterable[Record], lost_owners: Owners) -> Difference:
    """Return what differs between an image, by its manifest, and a plan's shared layer."""
    wanted = {action.entry.path: action for action in plan.shared}
    return _compare({record.path: record for record in records}, wanted, lost_owners, frozenset())


def between(old: Iterable[Record], new: Iterable[Record]) -> Difference:
    """Return what differs between two images, by their manifests."""
    had, has = ({record.path: _essence(record) for record in records} for records in (old, new))
    return Difference(
        added=tuple(sorted(has.keys() - had.keys())),
        removed=tuple(sorted(had.keys() - has.keys())),
        changed=tuple(sorted(path for path in had.keys() & has.keys() if had[path] != has[path])),
    )


def _essence(record: Record) -> tuple[object, ...]:
    mode = 0 if record.type is FileType.SYMLINK else record.mode
    return (record.type, mode, record.uid, record.gid, record.target, record.sha256, record.xattrs)


def _compare(
    had: Mapping[RootPath, Record],
    wanted: Mapping[RootPath, Action],
    lost_owners: Owners,
    lost: frozenset[str],
) -> Difference:
    both = sorted(had.keys() & wanted.keys())
    return Difference(
        added=tuple(sorted(wanted.keys() - had.keys())),
        removed=tuple(sorted(had.keys() - wanted.keys())),
        changed=tuple(path for path in both if _differs(had[path], wanted[path], lost_owners, lost)),
    )


def _differs(record: Record, action: Action, lost_owners: Owners, lost: frozenset[str]) -> bool:
    """Whether what was measured is something else than what is wanted, as far as it can be had here."""
    entry = action.entry
    sha256 = action.content.sha256 if action.content and entry.type is FileType.FILE else None
    if (record.type, record.sha256, record.target) != (entry.type, sha256, entry.target):
        return True
    wanted = action.content.xattrs if action.content else ()
    possible = (pair for pair in wanted if lost_sentence(entry.path, pair[0]) not in lost)
    if sorted(record.xattrs) != sorted(possible):
        return True
    if entry.type is FileType.SYMLINK:  # its mode means nothing
        return (record.uid, record.gid) != (entry.uid, entry.gid) and (
            entry.uid,
            entry.gid,
        ) not in lost_owners
    if (entry.uid, entry.gid) in lost_owners:
        return record.mode != entry.mode & fs.WITHOUT_OWNER
    return (record.mode, record.uid, record.gid) != (entry.mode, entry.uid, entry.gid)
