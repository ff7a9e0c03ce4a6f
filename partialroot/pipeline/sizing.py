"""status --size, explain --what-if-removed: what is in zones because of what alone, and how much that is."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from partialroot.accounting.because import Amount, Because, Thing
from partialroot.accounting.sizes import Sizes
from partialroot.accounting.sizes import sizes as sizes_of
from partialroot.errors import PartialRootError
from partialroot.model import Layer, Receipt, Supplier
from partialroot.nodes import FileType
from partialroot.paths import RootPath
from partialroot.pipeline.zones import need_receipt
from partialroot.zone import receipt as receipts
from partialroot.zone.receipt import Origins, Reasons
from partialroot.zone.verify import Images


class Zone(NamedTuple):
    """All paths of a zone, why they are there, and the packages of its files."""

    things: list[Thing]
    reasons: Reasons
    suppliers: Mapping[RootPath, Supplier]


class Removal(NamedTuple):
    """What would go with a path: itself and what lies below it, then each path with what it goes with.

    ``amount`` is all of it.
    """

    amount: Amount
    itself: tuple[RootPath, ...]
    others: tuple[tuple[str, str], ...]


def sizes(zonepaths: Sequence[str]) -> dict[str, Sizes]:
    """Return where the bytes of zones come from, without those whose receipt or image cannot be read."""
    images, known = Images(), dict[tuple[str | None, str | None], Origins]()
    found = {}
    for zonepath in zonepaths:
        try:
            receipt = need_receipt(Path(zonepath))
            key = (receipt.image, receipt.reasons)
            if key not in known:
                known[key] = receipts.read_origins(receipt)
            zone = _zone(receipt, known[key], images)
        except PartialRootError:
            continue
        found[zonepath] = sizes_of(Because(zone.things, zone.reasons), zone.suppliers)
    return found


def removal(zonepath: Path, path: RootPath) -> Removal:
    """Return what would no longer be in a zone if ``path``, which is in it, were not."""
    receipt = need_receipt(zonepath)
    zone = _zone(receipt, receipts.read_origins(receipt), Images())
    types = {thing.record.path: thing.record.type for thing in zone.things}
    is_directory = types[path] is FileType.DIR
    because = Because(zone.things, zone.reasons, merged=path if is_directory else None)
    itself = sorted(one for one in types if one.is_below(path)) if is_directory else [path]
    return Removal(because.total(path), tuple(itself), tuple(sorted(because.all_below(path))))


def _zone(receipt: Receipt, origins: Origins, images: Images) -> Zone:
    private = [Thing(record, Layer.PRIVATE) for record in receipt.entries]
    shared = [
        Thing(record, Layer.SHARED) for record in (images.records(receipt.image) if receipt.image else ())
    ]
    reasons = {**origins.reasons, **{record.path: record.reasons for record in receipt.entries}}
    own = {record.path: record.supplier for record in receipt.entries if record.supplier}
    return Zone([*shared, *private], reasons, {**origins.suppliers, **own})
