"""Golden layers: a private layer that is built once for its content; zones' roots are copies of it, on write.

What profiles write is not in it, as zones may differ in that: it is written into each copy. What the layer is
made of, and what is known of it for whom, is told here. Where it lies and how it is copied is its keeper's:
``zone.subvolumes`` (btrfs) or ``zone.clones`` (ZFS). The planner says which are worth it (``Plan.golden``).
"""

import json
import os
from collections.abc import Callable, Container
from pathlib import Path
from typing import NamedTuple, Protocol

from partialroot.errors import ApplyError
from partialroot.model import Action, Method, Plan, Record
from partialroot.paths import RootPath
from partialroot.plan.cloned import as_cloned, common
from partialroot.zone import fs, receipt
from partialroot.zone.dirs import Dirs
from partialroot.zone.layer import LayerBuilder, private_actions
from partialroot.zone.measured import identity_of
from partialroot.zone.originals import Originals

RECORDS, LOST = "records.json", "lost.json"
"""What was measured when the layer was built, and what could not be kept."""

Fill = Callable[[int, int, Path], None]
"""Fills a root, an empty open directory, and another one with its notes; the path is the root's."""


class Notes(NamedTuple):
    """The content of RECORDS and of LOST, and where they are from."""

    records: bytes
    lost: bytes
    where: str


class Keeper(Protocol):
    """Keeps golden layers, and makes one root a copy of one. Raises ApplyError, or OSError."""

    def has(self, key: str) -> bool:
        """Whether a layer is there, whole."""

    def build(self, key: str, fill: Fill) -> None:
        """Make a layer: killed or failed, it is not there; what was left of such a one goes first."""

    def copy(self, key: str) -> None:
        """Let the root be a copy of the layer."""

    def notes(self, key: str) -> Notes:
        """Return the notes of the layer that was copied. Nothing of them is in the root afterwards."""


class Built(NamedTuple):
    """What a root is: what was measured, and what could not be kept."""

    records: tuple[Record, ...]
    lost: tuple[str, ...]


def ensure(plan: Plan, keeper: Keeper, lost_owners: frozenset[tuple[int, int]]) -> str:
    """Build the plan's golden layer unless it is there, and return its key. The caller holds its lock.

    Raises ApplyError.
    """
    key = str(plan.golden)
    try:
        if not keeper.has(key):
            keeper.build(key, lambda root, notes, where: _fill(plan, root, notes, where, lost_owners))
    except OSError as error:
        raise fs.failed(error, key) from error
    return key


def _fill(plan: Plan, root: int, notes: int, where: Path, lost_owners: frozenset[tuple[int, int]]) -> None:
    layer = LayerBuilder(root, plan, where, lost_owners)
    layer.build(common(private_actions(plan)))
    fs.create_file(notes, RECORDS, receipt.dump_manifest(layer.records))
    fs.create_file(notes, LOST, json.dumps(layer.lost).encode())


def read(plan: Plan, notes: Notes) -> Built:
    """Return what a copy is for a zone of this plan. Raises ApplyError for notes that nobody can read."""
    lost = json.loads(notes.lost)
    if not isinstance(lost, list):
        raise ApplyError("is not as it was built", path=notes.where)
    records = receipt.load_manifest(notes.records, notes.where)
    return Built(tuple(_as_planned(records, plan)), tuple(map(str, lost)))


def _as_planned(records: tuple[Record, ...], plan: Plan) -> list[Record]:
    """Return the records as if the layer had been built for this plan: its reasons, today's source files."""
    actions: dict[RootPath, Action] = {one.entry.path: one for one in common(private_actions(plan))}
    return [
        record._replace(
            identity=identity_of(action.entry.node),
            source=action.entry.source,
            method=as_cloned(plan, action).method,
            reasons=action.entry.reasons,
            supplier=action.supplier,
        )
        for record in records
        for action in (actions[record.path],)
    ]


def build_root(
    plan: Plan,
    root: int,
    where: Path,
    lost_owners: frozenset[tuple[int, int]],
    copied: Built | None,
    originals: Originals | None = None,
) -> Built:
    """Build the private layer in an open directory that is empty, or what a copy of the golden one lacks.

    ``where`` is the directory's path on the host, ``originals`` what zones get copies of. Raises ApplyError.
    """
    layer = LayerBuilder(root, plan, where, lost_owners, originals)
    if copied is None:
        layer.build(private_actions(plan))
        return Built(tuple(layer.records), tuple(layer.lost))
    layer.build(action for action in plan.private if action.method is Method.WRITE)
    _mend_directories(root, copied, {os.path.dirname(record.path) for record in layer.records})
    return Built((*copied.records, *layer.records), (*copied.lost, *layer.lost))


def _mend_directories(root: int, copied: Built, paths: Container[str]) -> None:
    """Give directories that files were put into what they had before."""
    with Dirs(root) as dirs:
        for one in copied.records:
            if one.path in paths:
                fs.mend_meta(
                    dirs.fd(one.path.rstrip("/")), one.mode, one.uid, one.gid, one.mtime_ns, one.path
                )
