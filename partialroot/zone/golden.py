"""Golden layers: a private layer that is built once for its content; zonepaths are snapshots of it.

::

    IMAGE/golden-KEY/zone           a subvolume: a zonepath that has all of the root in .partialroot-new
    IMAGE/golden-KEY/records.json   what was measured when it was built
    IMAGE/golden-KEY/lost.json      what could not be kept

The zonepath, not the root, is the subvolume: rename(2) between two of them is EXDEV, and what is changed
later is moved into the root. It lives with the image, beside what zones see of that, and goes with it; a
snapshot needs neither. The planner says which layers are worth it (``Plan.golden``).
"""

import json
import os
from pathlib import Path
from typing import NamedTuple

from partialroot.errors import ApplyError
from partialroot.model import Action, Plan, Record
from partialroot.paths import RootPath
from partialroot.zone import fs, receipt
from partialroot.zone.layer import LayerBuilder, identity_of, private_actions
from partialroot.zone.removal import remove
from partialroot.zone.site import ROOT, ROOT_MODE
from partialroot.zone.store import Store
from partialroot.zone.transaction import NEW, PRIVATE_MODE

PREFIX = "golden-"
_ZONE, _RECORDS, _LOST, _FRESH = "zone", "records.json", "lost.json", ".new"


_known: dict[tuple[Path, int], tuple[tuple[Action, ...], "Golden"]] = {}


class Golden(NamedTuple):
    """A golden layer that is there: its subvolume, what was measured, and what could not be kept."""

    zone: Path
    records: tuple[Record, ...]
    lost: tuple[str, ...]


def snapshot(
    plan: Plan, image: Path, store: Store, lost_owners: frozenset[tuple[int, int]], at: int, name: str
) -> Golden:
    """Make a zonepath by a snapshot of the plan's golden layer, which is built if it is not there.

    Raises ApplyError. What was written before is on the disk then.
    """
    with store.lock_image(image.parent, image.name):
        golden = _for_plan(plan, image, lost_owners)
    source = fs.open_directory(golden.zone)
    try:
        fs.snapshot(source, at, name)
    except OSError as error:
        raise fs.failed(error, str(golden.zone)) from error
    finally:
        os.close(source)
    return golden


def _for_plan(plan: Plan, image: Path, lost_owners: frozenset[tuple[int, int]]) -> Golden:
    """Return the golden layer with the records of this plan: found out once for all its zones."""
    key = (image, id(plan.private))
    known = _known.get(key)
    if known is None or not known[1].zone.exists():
        golden = _ensure(plan, image, lost_owners)
        golden = golden._replace(records=tuple(_as_planned(golden.records, plan)))
        known = _known[key] = (plan.private, golden)  # what is kept there stays, and so does its id
    return known[1]


def _as_planned(records: tuple[Record, ...], plan: Plan) -> list[Record]:
    """Return the records as if the layer had been built for this plan: its reasons, today's source files."""
    actions: dict[RootPath, Action] = {one.entry.path: one for one in private_actions(plan)}
    return [
        record._replace(
            identity=identity_of(action.entry.node),
            source=action.entry.source,
            method=action.method,
            reasons=action.entry.reasons,
            supplier=action.supplier,
        )
        for record in records
        for action in (actions[record.path],)
    ]


def _ensure(plan: Plan, image: Path, lost_owners: frozenset[tuple[int, int]]) -> Golden:
    place = image / f"{PREFIX}{plan.golden}"
    if not place.exists():
        try:
            _build(plan, image, place.name, lost_owners)
        except OSError as error:
            raise fs.failed(error, str(place)) from error
    records = receipt.load_manifest((place / _RECORDS).read_bytes(), str(place / _RECORDS))
    lost = json.loads((place / _LOST).read_bytes())
    if not isinstance(lost, list):
        raise ApplyError("is not as it was built", path=str(place / _LOST), hint=f"remove {place}")
    return Golden(place / _ZONE, records, tuple(map(str, lost)))


def _build(plan: Plan, image: Path, name: str, lost_owners: frozenset[tuple[int, int]]) -> None:
    """Build it beside and rename it, once all of it is on the disk; its image's lock is held."""
    top = fs.open_directory(image)
    try:
        remove(top, name + _FRESH)
        fs.make_own_directory(top, name + _FRESH)
        new = os.open(name + _FRESH, fs.DIRECTORY, dir_fd=top)
        try:
            fs.make_subvolume(new, _ZONE, PRIVATE_MODE)
            layer = _build_layer(plan, new, image / (name + _FRESH), lost_owners)
            fs.create_file(new, _RECORDS, receipt.dump_manifest(layer.records))
            fs.create_file(new, _LOST, json.dumps(layer.lost).encode())
            fs.sync_all(new, "golden layer")
        finally:
            os.close(new)
        fs.rename(top, name + _FRESH, top, name)
    finally:
        os.close(top)


def _build_layer(plan: Plan, new: int, place: Path, lost_owners: frozenset[tuple[int, int]]) -> LayerBuilder:
    above = f"{_ZONE}/{NEW}"
    fs.make_own_directory(new, above)
    fs.make_own_directory(new, f"{above}/{ROOT}", ROOT_MODE)
    top = os.open(f"{above}/{ROOT}", fs.DIRECTORY, dir_fd=new)
    try:
        layer = LayerBuilder(top, plan, place / above / ROOT, lost_owners)
        layer.build(private_actions(plan))
    finally:
        os.close(top)
    return layer
