"""What a bill of materials is made from: the files that are in a zone, and the packages they are of."""

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import NamedTuple

from partialroot.model import Layer, Method, Receipt, Record, Supplier
from partialroot.nodes import FileType
from partialroot.paths import RootPath
from partialroot.source.packages import About
from partialroot.zone.inventory import Inventory
from partialroot.zone.receipt import Origins, Reasons

LOADING = frozenset({"interpreter", "needed", "filter", "isaexec", "script", "nss", "pam", "dlopen"})
"""The rules by which a file brings another one that it does not run without."""


class Origin(StrEnum):
    """Where a file of a zone comes from."""

    PACKAGE = "package"
    SOURCE = "source"  # the source had it, of no package
    PROFILE = "profile"  # we wrote it: a profile's text, or what the platform needs
    TENANT = "tenant"  # the zone has it of itself


class File(NamedTuple):
    """A regular file of a zone as it is now.

    ``sha256`` is "" where ``note`` says why it is not known. ``recorded`` is the checksum of the file that
    was put there, where the tenant changed it since. ``method`` is None for a tenant's file.
    """

    path: RootPath
    sha256: str
    layer: Layer
    origin: Origin
    method: Method | None = None
    supplier: Supplier | None = None
    recorded: str = ""
    note: str = ""


class Package(NamedTuple):
    """A package of which files are in a zone: ``present`` of the ``owned`` ones, where that is known.

    ``about`` and ``owned`` are None where the database knows nothing of this build any more; ``installed`` is
    the version that it has instead.
    """

    supplier: Supplier
    present: int
    owned: int | None = None
    about: About | None = None
    installed: str = ""

    @property
    def is_whole(self) -> bool | None:
        """Whether every file of the package is there; None where nobody knows."""
        return None if self.owned is None else self.present >= self.owned


class Bill(NamedTuple):
    """All of a zone. ``needs`` has for a file those that it does not run without.

    ``distribution`` is ID and VERSION_ID of the source's os-release. ``unseen`` are the directories that
    could not be looked into, and why.
    """

    receipt: Receipt
    files: tuple[File, ...]
    packages: tuple[Package, ...]
    needs: Mapping[RootPath, tuple[RootPath, ...]]
    distribution: tuple[str, str]
    unseen: Mapping[RootPath, str]


def files_of(
    receipt: Receipt,
    shared: Iterable[Record],
    origins: Origins,
    private: Inventory | None,
    drift: Mapping[str, str],
) -> tuple[File, ...]:
    """Return the files of a zone, sorted by path.

    ``private`` is what is in its own root; None counts what was recorded instead. ``drift`` says by path how
    the image differs from its manifest.
    """
    found = [
        _recorded(record, Layer.SHARED, origins.suppliers.get(record.path), drift.get(record.path, ""))
        for record in shared
        if record.type is FileType.FILE
    ]
    records = {record.path: record for record in receipt.entries if record.type is FileType.FILE}
    if private is None:
        found += [_recorded(record, Layer.PRIVATE, record.supplier) for record in records.values()]
    else:
        found += _private(records, private)
    return tuple(sorted(found))


def _recorded(record: Record, layer: Layer, supplier: Supplier | None, note: str = "") -> File:
    origin = Origin.PROFILE if record.source is None else Origin.PACKAGE if supplier else Origin.SOURCE
    return File(record.path, record.sha256 or "", layer, origin, record.method, supplier, note=note)


def _private(records: Mapping[RootPath, Record], private: Inventory) -> Iterator[File]:
    for path, sha256 in private.sums.items():
        record, note = records.get(path), private.unread.get(path, "")
        if record is None:
            yield File(path, sha256, Layer.PRIVATE, Origin.TENANT, note=note)
            continue
        file = _recorded(record, Layer.PRIVATE, record.supplier, note)
        is_edited = sha256 not in ("", file.sha256)
        yield file._replace(sha256=sha256, recorded=file.sha256 if is_edited else "")


def needs_of(files: Iterable[File], reasons: Reasons) -> dict[RootPath, tuple[RootPath, ...]]:
    """Return for each file those that it does not run without, as far as both are there."""
    there = {file.path for file in files}
    needs: dict[RootPath, set[RootPath]] = {}
    for path in there:
        for rule, origin in reasons.get(path, ()):
            if rule in LOADING and origin in there and origin != path:
                needs.setdefault(RootPath(origin), set()).add(path)
    return {path: tuple(sorted(needed)) for path, needed in needs.items()}
