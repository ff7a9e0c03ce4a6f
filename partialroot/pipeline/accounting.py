"""sbom: what zones are made of."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from partialroot.accounting.bill import Bill, File, Package, files_of, needs_of
from partialroot.errors import SourceError
from partialroot.model import Receipt, Supplier
from partialroot.nodes import FileType
from partialroot.paths import RootPath
from partialroot.pipeline.opening import packages_of
from partialroot.pipeline.zones import looked_at, need_receipt
from partialroot.source.packages import Packages
from partialroot.source.platform import distribution
from partialroot.source.tree import Tree
from partialroot.zone import receipt as receipts
from partialroot.zone.fs import failed
from partialroot.zone.inventory import Inventory, private_files
from partialroot.zone.verify import Images


class Billed(NamedTuple):
    """What a zone is made of, with what is worth a warning, and what was recovered before."""

    bill: Bill
    warnings: tuple[str, ...]
    notes: tuple[str, ...]


def sbom(store: Path, zonepath: Path) -> Billed:
    """Return what a zone is made of.

    Receipt and image say what was put there, the zone's own root what became of it, and the source's database
    what else is known of packages that are still installed as they were then.
    """
    with looked_at(store, zonepath) as notes:
        receipt = need_receipt(zonepath)
        files, private, warnings = _files(zonepath, receipt)
        packages, system = _packages(receipt, files, warnings)
        reasons = {record.path: record.reasons for record in receipt.entries}
        needs = needs_of(files, {**receipts.read_origins(receipt).reasons, **reasons})
        unseen = {} if private is None else private.closed
        return Billed(Bill(receipt, files, packages, needs, system, unseen), tuple(warnings), notes)


def save(data: bytes, place: Path) -> None:
    """Write a bill of materials where the user wants it; ApplyError if that fails."""
    try:
        with open(place, "wb") as file:
            file.write(data)
    except OSError as error:
        raise failed(error, str(place)) from error


def _files(zonepath: Path, receipt: Receipt) -> tuple[tuple[File, ...], Inventory | None, list[str]]:
    """Return the zone's files, what is in its own root (None: it is not there now), and warnings."""
    images, warnings = Images(), list[str]()
    shared = images.records(receipt.image) if receipt.image else ()
    findings = images.findings(receipt.image, contents=False) if receipt.image else []
    if findings:
        warnings.append(f"the image differs from its manifest in {len(findings)} ways; see verify")
    private = private_files(zonepath, receipt)
    if not private.is_there:
        warnings.append("nothing of the zone's own root is there now: it is told as it was recorded")
    drift = {one.path: f"{one.kind} {one.actual or 'none'}, was {one.expected or 'none'}" for one in findings}
    now = private if private.is_there else None
    return files_of(receipt, shared, receipts.read_origins(receipt), now, drift), now, warnings


def _packages(
    receipt: Receipt, files: Iterable[File], warnings: list[str]
) -> tuple[tuple[Package, ...], tuple[str, str]]:
    """Return the packages of files, and the source's distribution, as far as the source still tells."""
    counts: dict[Supplier, int] = {}
    for file in files:
        if file.supplier:
            counts[file.supplier] = counts.get(file.supplier, 0) + 1
    try:
        tree = Tree(Path(receipt.request.source))
        packages = packages_of(tree)
        known = tuple(_package(tree, packages, *pair) for pair in sorted(counts.items()))
        return known, distribution(tree)
    except SourceError as error:
        warnings.append(f"no more can be told of packages than was recorded: {error}")
        return tuple(Package(*pair) for pair in sorted(counts.items())), ("", "")


def _package(tree: Tree, packages: Packages, supplier: Supplier, present: int) -> Package:
    version = packages.version(supplier.package)
    if version != (supplier.version, supplier.architecture):
        return Package(supplier, present, installed=version.version if version else "none")
    try:
        owned = sum(1 for _ in _owned(tree, packages.files(supplier.package) or ()))
    except SourceError:  # installed only partly: nobody knows what it should have
        return Package(supplier, present, about=packages.about(supplier.package))
    return Package(supplier, present, owned, packages.about(supplier.package))


def _owned(tree: Tree, listed: Iterable[RootPath]) -> Iterator[RootPath]:
    """Yield the regular files among a package's paths; of what is gone, all that nothing lies below."""
    listed = tuple(listed)
    above = {parent for path in listed for parent in path.ancestors}
    for path in listed:
        node = tree.lstat(path)
        if node.type is FileType.FILE if node else path not in above:
            yield path
