"""affected: which zones hold a path or a package, by all receipts of the register; nothing is locked."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from partialroot.accounting.holding import Asked, Files, at_path, of_package
from partialroot.errors import SourceError
from partialroot.model import Receipt, Record, Supplier
from partialroot.paths import RootPath
from partialroot.pipeline import live
from partialroot.pipeline.zones import Outcome, each, need_receipt
from partialroot.zone import receipt as receipts
from partialroot.zone.site import IMAGE
from partialroot.zone.state import Known, source_of, why_changed
from partialroot.zone.store import Store


class Held(NamedTuple):
    """The files of one package, or of none, by which a zone holds what was asked for.

    ``stale`` says of files that are other ones in the source now how they differ; it is None when the source
    cannot be asked. The zone has held them since ``since`` (seconds since the epoch), or longer.
    """

    asked: str
    supplier: Supplier | None
    records: tuple[Record, ...]
    stale: tuple[str, ...] | None
    since: float

    @property
    def state(self) -> str:
        """Whether the files are those that the source has now."""
        return "unknown" if self.stale is None else "stale" if self.stale else "current"


def affected(store: Path, words: Sequence[str]) -> tuple[Outcome[tuple[Held, ...]], ...]:
    """Return what each zone of the register holds of what is asked for; UsageError for a wrong word.

    What zones share is looked at once, and so is each file of the source.
    """
    asked = [Asked.parse(word) for word in dict.fromkeys(words)]
    if not store.is_dir():
        return ()
    with live.views(store) as views:
        fleet = _Fleet(asked, Known(views))
        return each((str(zone.zonepath) for zone in Store(store).zones()), fleet.look_at)


class _Image(NamedTuple):
    """What is in an image, who supplied it, and which of it was meant by each of the packages asked for."""

    files: Files
    suppliers: Mapping[RootPath, Supplier]
    meant: Mapping[Asked, list[Record]]


_NO_IMAGE = _Image({}, {}, {})


class _Fleet:
    """Zones that share images and sources, looked at one after the other."""

    def __init__(self, asked: Sequence[Asked], known: Known) -> None:
        self._asked = asked
        self._known = known
        self._images: dict[tuple[str, str], _Image] = {}
        self._changes: dict[tuple[object, ...], str] = {}

    def look_at(self, zonepath: str) -> Outcome[tuple[Held, ...]]:
        """Return what a zone holds."""
        receipt = need_receipt(Path(zonepath))
        image = self._image(receipt)
        private = {record.path: record for record in receipt.entries}
        own = {record.path: record.supplier for record in receipt.entries if record.supplier}
        zone = _Zone(Path(zonepath), receipt, image, private, {**image.suppliers, **own})
        held = [one for asked in self._asked for one in self._held(asked, zone)]
        return Outcome(zonepath, tuple(held))

    def _held(self, asked: Asked, zone: "_Zone") -> Iterator[Held]:
        """Yield what a zone holds, by supplier."""
        for supplier, records in zone.find(asked).items():
            if asked.is_version(supplier.version if supplier else ""):
                stale, since = self._stale(zone, records), zone.since(records)
                yield Held(asked.text, supplier, tuple(records), stale, since)

    def _image(self, receipt: Receipt) -> _Image:
        if receipt.image is None or receipt.reasons is None:
            return _NO_IMAGE
        key = (receipt.image, receipt.reasons)
        if key not in self._images:
            records = self._known.images.records(receipt.image)
            suppliers = receipts.read_origins(receipt).suppliers
            meant = {asked: of_package(asked, records, suppliers) for asked in self._asked if not asked.path}
            self._images[key] = _Image({record.path: record for record in records}, suppliers, meant)
        return self._images[key]

    def _stale(self, zone: "_Zone", records: Iterable[Record]) -> tuple[str, ...] | None:
        source = zone.receipt.request.source
        try:
            whys = [(source_of(record), self._why(source, record)) for record in records]
        except SourceError:
            return None
        return tuple(f"{path}: {why} in the source" for path, why in whys if why)

    def _why(self, source: str, record: Record) -> str:
        key = (source, source_of(record), record.type, record.target, record.identity, record.sha256)
        if key not in self._changes:
            self._changes[key] = why_changed(record, self._known.tree(source))
        return self._changes[key]


class _Zone(NamedTuple):
    """A zone that is looked at: receipt, image, its own files, and who supplied any of them."""

    zonepath: Path
    receipt: Receipt
    image: _Image
    private: Files
    suppliers: Mapping[RootPath, Supplier]

    def find(self, asked: Asked) -> dict[Supplier | None, list[Record]]:
        """Return the files that are meant, by supplier; symlinks are with what they lead to."""
        if asked.path is not None:
            led = list(at_path(asked.path, self._at))
            return {self.suppliers.get(led[-1].path): led} if led else {}
        found: dict[Supplier | None, list[Record]] = {}
        for record in (
            *self.image.meant.get(asked, ()),
            *of_package(asked, self.private.values(), self.suppliers),
        ):
            found.setdefault(self.suppliers[record.path], []).append(record)
        return found

    def _at(self, path: RootPath) -> Record | None:
        return self.private.get(path) or self.image.files.get(path)

    def since(self, records: Iterable[Record]) -> float:
        """Return since when the zone has files: since its receipt; shared ones, since it has its image."""
        if all(record.path in self.private for record in records):
            return self.receipt.created
        try:
            pointed = os.lstat(self.zonepath / IMAGE).st_mtime
        except OSError:
            return self.receipt.created
        return min(pointed, self.receipt.created)
