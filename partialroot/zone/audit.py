"""Can the zone reach what is not its own? Read off the disk; the receipt only says what was meant (P1).

Findings: an inode the zone can write has a name outside its root (``linked``); a file that grants rights
which nobody gave the zone (``setuid``, ``capability``, ``device``) or that the source has replaced since
(``stale``); something that only we may change can be changed by others (``loosened``); a mount that is not
the read-only image (``mount``); a place that could not be looked at (``unreadable``).
"""

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from partialroot.errors import NoReceiptError, SourceError, ZonepathError
from partialroot.model import Finding, Method, Receipt, Record
from partialroot.nodes import FileType, Node
from partialroot.paths import RootPath
from partialroot.source.tree import Tree
from partialroot.zone import fs, look
from partialroot.zone.receipt import NAME
from partialroot.zone.state import Known, source_of, why_changed
from partialroot.zone.store import PARTS
from partialroot.zone.verify import (
    NOTE,
    Images,
    check_mount,
    check_pointer,
    describe,
    open_image,
    open_root,
)
from partialroot.zone.zonepath import check_zonepath, trusted_owners

CAPABILITY = "security.capability"
PROFILES = Path("/etc/partialroot/profiles")
SET_ID = stat.S_ISUID | stat.S_ISGID
MOST_LINKED = 1_000_000
"""So many inodes are remembered while their other names are looked for."""

Inode = tuple[int, int]
_DEVICES = (FileType.CHAR, FileType.BLOCK)


def audit(
    zonepath: Path, receipt: Receipt, store: Path, others: Iterable[Path] = (), known: Known | None = None
) -> list[Finding]:
    """Return all findings about one zone, sorted by path.

    ``others`` are the zonepaths in which a second name of an inode may be found. Raises ZonepathError when
    there is no root to look at.
    """
    known = known or Known()
    findings = [*_check_places(zonepath, receipt, store), *check_pointer(zonepath, receipt)]
    tree: Tree | None = None
    try:
        if not receipt.request.is_from_tarball:
            tree = known.tree(receipt.request.source)
    except SourceError as error:
        findings.append(Finding(receipt.request.source, "unreadable", "the source", error.message))
    findings += _PrivateAudit(zonepath, receipt, tree, others).findings()
    if receipt.image is not None:
        key = (receipt.image, receipt.request.source if tree else "")
        if key not in known.audited:
            known.audited[key] = _check_image(receipt.image, tree, known.images)
        findings += known.audited[key]
    return sorted(findings)


# --- places that only we may change -----------------------------------------------------------------


def _check_places(zonepath: Path, receipt: Receipt, store: Path) -> Iterator[Finding]:
    try:
        check_zonepath(str(zonepath), source=Path(receipt.request.source), store=store)
    except ZonepathError as error:
        yield Finding(str(error.path), "loosened", "a zonepath that would be accepted", error.message)
    private = [zonepath, store, *(store / part for part in PARTS)]
    if receipt.image is not None:
        private += [Path(receipt.image).parent, Path(receipt.image)]
    for place in dict.fromkeys(private):
        yield from _check_place(place, 0o077)
    for name in (NAME, "config.json"):
        yield from _check_place(zonepath / name, 0o022)
    for place in (PROFILES, *map(Path, receipt.request.manifests)):
        yield from _check_place(place, 0o022)


def _check_place(place: Path, forbidden: int) -> Iterator[Finding]:
    """Check that ``place``, if there, is ours (or root's) and grants none of the ``forbidden`` bits."""
    try:
        found = os.lstat(place)
    except FileNotFoundError:
        return
    except OSError as error:
        yield Finding(str(place), "unreadable", "", error.strerror or str(error))
        return
    mode = stat.S_IMODE(found.st_mode)
    if mode & forbidden and not stat.S_ISLNK(found.st_mode):
        yield Finding(str(place), "loosened", f"{mode & ~forbidden:04o}", f"{mode:04o}")
    if found.st_uid not in {os.geteuid(), *trusted_owners()}:
        yield Finding(str(place), "loosened", f"owner {os.geteuid()}", f"owner {found.st_uid}")


# --- names and rights of one file -------------------------------------------------------------------


class _Names:
    """Counts the names of inodes; those whose names were all seen are forgotten."""

    def __init__(self) -> None:
        self.missing: dict[Inode, tuple[RootPath, int]] = {}
        self.uncounted = 0

    def add(self, found: look.Found) -> None:
        """Count one name. ``missing`` keeps an inode's first name and how many were not seen yet."""
        node, inode = found.node, (found.node.dev, found.node.ino)
        if node.nlink < 2:
            return
        path, missing = self.missing.get(inode, (found.path, node.nlink))
        if missing == 1:
            self.missing.pop(inode, None)
        elif missing < node.nlink or len(self.missing) < MOST_LINKED:
            self.missing[inode] = (path, missing - 1)
        else:
            self.uncounted += 1


def _capability(found: look.Found) -> bytes:
    """Return a file's capabilities, as the kernel keeps them; none for what vanished meanwhile."""
    try:
        return dict(look.xattrs(found.parent, found.path.name)).get(CAPABILITY, b"")
    except OSError:
        return b""


# --- the private layer ------------------------------------------------------------------------------


class _PrivateAudit:
    """Walks all of a zone's own root."""

    def __init__(self, zonepath: Path, receipt: Receipt, tree: Tree | None, others: Iterable[Path]) -> None:
        self._zonepath = zonepath
        self._receipt = receipt
        self._records = {record.path: record for record in receipt.entries}
        self._tree = tree
        self._others = others
        self._names = _Names()
        self._findings: list[Finding] = []

    def findings(self) -> list[Finding]:
        """Return what is wrong with the private layer."""
        with open_root(self._zonepath) as root:
            for found in look.walk(root):
                if found.path in self._receipt.mounts:
                    self._findings += check_mount(self._receipt, found)
                elif found.node.type is FileType.DIR:
                    self._check_directory(found)
                else:
                    self._check(found)
        if self._names.uncounted:  # then what is missing may merely not have been counted
            self._report("/", "unreadable", "", f"more than {MOST_LINKED} files with several names")
        elif self._names.missing:
            self._report_linked(self._names.missing)
        return self._findings

    def _report(self, path: str, kind: str, expected: str, actual: str, severity: str = "error") -> None:
        self._findings.append(Finding(path, kind, expected, actual, severity))

    def _check_directory(self, found: look.Found) -> None:
        if found.closed == look.OTHER_MOUNT:
            self._report(found.path, "mount", "", look.OTHER_MOUNT, NOTE)
        elif found.closed:
            self._report(found.path, "unreadable", "", found.closed)

    def _check(self, found: look.Found) -> None:
        self._names.add(found)
        if found.node.type in _DEVICES:
            self._report(found.path, "device", "no device", describe(found.node))
        elif found.node.type is FileType.FILE:
            self._check_rights(found, self._records.get(found.path))

    def _check_rights(self, found: look.Found, record: Record | None) -> None:
        """A right is granted if the receipt has it, and as long as the source's file has it too."""
        granted = record.mode & SET_ID if record else 0
        if found.node.mode & SET_ID & ~granted:
            self._report(found.path, "setuid", "no set-id bit", describe(found.node))
        capability = _capability(found)
        if capability and (record is None or (CAPABILITY, capability) not in record.xattrs):
            self._report(found.path, "capability", "no such capability", capability.hex())
        if record is not None and self._tree is not None and (found.node.mode & SET_ID or capability):
            why = why_changed(record, self._tree)
            if why:
                self._report(found.path, "stale", "the source's file as it was", why)

    # --- names outside ----------------------------------------------------------------------------

    def _report_linked(self, linked: Mapping[Inode, tuple[RootPath, int]]) -> None:
        known = self._names_elsewhere(linked)
        for inode, (path, missing) in linked.items():
            found = sorted(known.get(inode, ()))
            actual = f"{missing} outside" + (f", such as {', '.join(found[:3])}" if found else "")
            self._report(path, "linked", "all its names in the root", actual, self._severity(path))

    def _severity(self, path: RootPath) -> str:
        """A link that was asked for in words, or into a root the zone cannot write, is no finding."""
        record = self._records.get(path)
        meant = self._receipt.request.trust_zone or self._receipt.settings.read_only
        return NOTE if record is not None and record.method is Method.LINK and meant else "error"

    def _names_elsewhere(self, linked: Mapping[Inode, tuple[RootPath, int]]) -> dict[Inode, set[str]]:
        """Look for the inodes in the source, the image and other zones."""
        names: dict[Inode, set[str]] = {}
        for node, name in (*self._in_source(linked), *self._in_roots()):
            if (node.dev, node.ino) in linked:
                names.setdefault((node.dev, node.ino), set()).add(name)
        return names

    def _in_source(self, linked: Mapping[Inode, tuple[RootPath, int]]) -> Iterator[tuple[Node, str]]:
        if self._tree is None:
            return
        paths = {path for path, _ in linked.values()} | {source_of(one) for one in self._records.values()}
        for path in paths:
            node = self._tree.lstat(path)
            if node is not None:
                yield node, self._tree.host(path)

    def _in_roots(self) -> Iterator[tuple[Node, str]]:
        places = [other / "root" for other in self._others if other != self._zonepath]
        if self._receipt.image is not None:
            places.append(Path(self._receipt.image))
        for place in places:
            try:
                top = fs.open_directory(place)
            except OSError:
                continue
            try:
                yield from ((found.node, f"{place}{found.path}") for found in look.walk(top))
            finally:
                os.close(top)


# --- the shared layer -------------------------------------------------------------------------------


def _check_image(image: str, tree: Tree | None, images: Images) -> list[Finding]:
    """No zone can write an image, but what it holds may be out of date, or changed on its other names."""
    findings: list[Finding] = []
    names = _Names()
    try:
        records = {record.path: record for record in images.records(image)}
        with open_image(image) as top:
            for found in look.walk(top):
                record = records.get(found.path)
                if record is not None and found.node.type is FileType.FILE:
                    findings += _check_shared(found, record, tree, names)
    except NoReceiptError as error:
        findings.append(Finding(str(error.path), "unreadable", "an image and its manifest", error.message))
    for path, missing in names.missing.values():
        findings.append(Finding(path, "linked", "a copy: it grants rights", f"{missing} names elsewhere"))
    return findings


def _check_shared(found: look.Found, record: Record, tree: Tree | None, names: _Names) -> Iterator[Finding]:
    grants = bool(found.node.mode & SET_ID or _capability(found))
    if grants:
        names.add(found)
    if found.node.mode & ~record.mode:
        yield Finding(found.path, "loosened", f"{record.mode:04o}", f"{found.node.mode:04o}")
    why = why_changed(record, tree) if tree is not None else ""
    if why:
        severity = "error" if grants else NOTE
        yield Finding(found.path, "stale", "the source's file as it was", why, severity)
