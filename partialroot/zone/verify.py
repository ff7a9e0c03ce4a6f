"""Compares what is on disk with what was measured after it was written.

In the shared layer any difference is drift. In the private layer, which is the zone's to change, type,
mode, owner, permissions and absence are drift (severity ``error``); changed content is ``edited`` and new
files are ``extra`` (severity ``note``).
"""

import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from itertools import islice, takewhile
from pathlib import Path

from partialroot.errors import NoReceiptError, ZonepathError
from partialroot.host import local
from partialroot.model import Finding, Receipt, Record
from partialroot.nodes import FileType, Node
from partialroot.paths import ROOT, RootPath
from partialroot.zone import fs, look
from partialroot.zone.hashing import Hashing
from partialroot.zone.receipt import MANIFEST, read_manifest

NOTE = "note"
GRANTING = ("security.capability", "system.posix_acl_access", "system.posix_acl_default")
"""Extended attributes that change who may do what."""

MOST_EXTRA = 100
"""So many new files of one directory are named; the others are counted."""

_CONTENT = frozenset({"size", "target", "content", "xattrs"})


class Images:
    """What one command has read of images, which many zones share, and of what is mounted."""

    def __init__(self) -> None:
        self._records: dict[str, tuple[Record, ...]] = {}
        self._findings: dict[tuple[str, bool], list[Finding]] = {}

    def mounted_in(self, root: Path) -> frozenset[RootPath]:
        """Return where something was mounted below a root when this was first asked of any."""
        top = os.path.realpath(root)
        start = bisect_left(self._mount_points, f"{top}/")
        below = takewhile(lambda point: point.startswith(f"{top}/"), islice(self._mount_points, start, None))
        return frozenset(RootPath(point[len(top) :]) for point in below)

    @cached_property
    def _mount_points(self) -> list[str]:
        return sorted(local.mount_points())

    def records(self, image: str) -> tuple[Record, ...]:
        """Return an image's manifest; NoReceiptError when it cannot be read."""
        if image not in self._records:
            self._records[image] = read_manifest(Path(image))
        return self._records[image]

    def findings(self, image: str, *, contents: bool = True) -> list[Finding]:
        """Return every difference between an image and its manifest."""
        key = (image, contents)
        if key not in self._findings:
            self._findings[key] = self._check(image, contents)
        return self._findings[key]

    def _check(self, image: str, contents: bool) -> list[Finding]:
        try:
            with open_image(image) as top:
                return _Layer(top, self.records(image), contents=contents).findings()
        except NoReceiptError as error:
            return [Finding(str(error.path), "image", "an image and its manifest", error.message)]


def verify(
    zonepath: Path, receipt: Receipt, images: Images | None = None, *, contents: bool = True
) -> list[Finding]:
    """Return every difference between a zone and its receipt, sorted by path.

    ``images`` is shared by the zones of one command. Without ``contents`` only shared files whose time has
    changed are read, and what the zone edited or added goes unseen: quick, and as good as the file's owner
    is honest. Raises ZonepathError when there is no root to look at.
    """
    images = images or Images()
    findings = list(check_pointer(zonepath, receipt))
    with open_root(zonepath) as root:
        mounted = None if contents else images.mounted_in(zonepath / "root")
        findings += _PrivateLayer(root, receipt, mounted).findings()
    if receipt.image is not None:
        findings += images.findings(receipt.image, contents=contents)
    return sorted(findings)


@contextmanager
def open_image(image: str) -> Iterator[int]:
    """Yield a descriptor of an image's directory; NoReceiptError when it is not there or no directory."""
    try:
        top = fs.open_directory(Path(image))
    except OSError as error:
        raise NoReceiptError(f"the image cannot be used: {error.strerror}", path=image) from error
    try:
        yield top
    finally:
        os.close(top)


@contextmanager
def open_root(zonepath: Path) -> Iterator[int]:
    """Yield a descriptor of a zone's root; ZonepathError when it is not there or no directory."""
    try:
        zone = fs.open_directory(zonepath)
        try:
            root = os.open("root", fs.DIRECTORY, dir_fd=zone)
        finally:
            os.close(zone)
    except OSError as error:
        raise ZonepathError(
            f"the zone has no usable root: {error.strerror}",
            path=str(zonepath / "root"),
            hint="put it back from a backup; or remove the zone, and populate it anew",
        ) from error
    try:
        yield root
    finally:
        os.close(root)


def check_pointer(zonepath: Path, receipt: Receipt) -> Iterator[Finding]:
    """Compare the zonepath's ``image`` symlink and the image's name with the receipt."""
    if receipt.image is None:
        return
    pointer = zonepath / "image"
    try:
        target = os.readlink(pointer)
    except OSError as error:
        target = error.strerror or str(error)
    if target != receipt.image:
        yield Finding(str(pointer), "image", receipt.image, target)
    if os.path.basename(receipt.image) != receipt.digest:
        yield Finding(str(pointer), "image", f"digest {receipt.digest}", receipt.image)


def describe(one: Node | Record) -> str:
    """Return what something is in words: ``file 0755 0:0``."""
    return f"{one.type} {one.mode:04o} {one.uid}:{one.gid}"


def _shown(name: str, xattrs: Mapping[str, bytes]) -> str:
    return f"{name}={xattrs[name].hex()[:64]}" if name in xattrs else f"no {name}"


class _Layer:
    """The shared layer, compared with its records; any difference is an error."""

    def __init__(self, root: int, records: Iterable[Record], *, contents: bool) -> None:
        self._root = root
        self._contents = contents
        self._records = {record.path: record for record in records}
        self._unseen = dict(self._records)
        self._closed: set[RootPath] = set()
        self._findings: list[Finding] = []

    def findings(self) -> list[Finding]:
        """Walk the layer once and return what differs."""
        top = self._unseen.pop(ROOT, None)
        if top is not None:
            self._check_node(top, Node.of(os.fstat(self._root)))
        with Hashing(self._check_sum) as hashing:
            for found in self._look():
                self._check(found, hashing)
        for path, record in self._unseen.items():
            if self._closed.isdisjoint(path.ancestors):
                self._report(path, "missing", describe(record), "")
        return self._findings

    def _look(self) -> Iterator[look.Found]:
        return look.walk(self._root, self._is_expected)

    def _is_expected(self, found: look.Found) -> bool:
        return found.path in self._records

    def _report(self, path: str, kind: str, expected: str, actual: str) -> None:
        self._findings.append(Finding(path, kind, expected, actual))

    def _check(self, found: look.Found, hashing: Hashing) -> None:
        record = self._unseen.pop(found.path, None)
        if found.closed and self._is_expected(found):
            self._closed.add(found.path)
            self._report(found.path, "unreadable", "", found.closed)
        if record is None:
            self._check_extra(found)
        elif record.type is not found.node.type:
            self._report(found.path, "type", describe(record), describe(found.node))
        else:
            self._check_node(record, found.node)
            self._check_xattrs(record, found)
            if record.type is FileType.FILE:
                self._check_content(record, found, hashing)

    def _check_extra(self, found: look.Found) -> None:
        own = found.path.name == MANIFEST or found.path.name.startswith(("reasons-", "golden-"))
        if not (own and len(found.path.parts) == 1):
            self._report(found.path, "extra", "", describe(found.node))

    def _check_node(self, record: Record, node: Node) -> None:
        if node.mode != record.mode:
            self._report(record.path, "mode", f"{record.mode:04o}", f"{node.mode:04o}")
        if (node.uid, node.gid) != (record.uid, record.gid):
            self._report(record.path, "owner", f"{record.uid}:{record.gid}", f"{node.uid}:{node.gid}")
        if node.target != record.target:
            self._report(record.path, "target", str(record.target), str(node.target))

    def _check_xattrs(self, record: Record, found: look.Found) -> None:
        """Compare those of the record, those that grant something, and users' own.

        Labels that the system itself keeps (security.selinux) appear without anybody's doing.
        """
        try:
            xattrs = look.xattrs(found.parent, found.path.name)
        except OSError as error:
            self._report(record.path, "unreadable", "", error.strerror or str(error))
            return
        if xattrs == record.xattrs:  # most have none
            return
        recorded, actual = dict(record.xattrs), dict(xattrs)
        for name in sorted(recorded.keys() | actual.keys()):
            counts = name in recorded or name in GRANTING or name.startswith("user.")
            if counts and recorded.get(name) != actual.get(name):
                kind = "permissions" if name in GRANTING else "xattrs"
                self._report(record.path, kind, _shown(name, recorded), _shown(name, actual))

    def _check_content(self, record: Record, found: look.Found, hashing: Hashing) -> None:
        node = found.node
        if node.size != record.size:
            self._report(record.path, "size", str(record.size), str(node.size))
        elif self._is_suspect(record, node):
            try:
                hashing.add(record, look.open_file(found.parent, found.path.name, node))
            except OSError as error:
                self._report(record.path, "unreadable", "", error.strerror or str(error))

    def _is_suspect(self, record: Record, node: Node) -> bool:
        return self._contents or node.mtime_ns != record.mtime_ns

    def _check_sum(self, record: Record, actual: str) -> None:
        if actual != record.sha256:
            self._report(record.path, "content", str(record.sha256), actual)


class _PrivateLayer(_Layer):
    """A zone's own root: the zone may edit and add, and the shared layer's directories are mounted in it.

    Where it is known at which paths something is ``mounted``, a quick look is enough: what is new in it is
    no drift, and contents are not read.
    """

    def __init__(self, root: int, receipt: Receipt, mounted: frozenset[RootPath] | None) -> None:
        super().__init__(root, receipt.entries, contents=mounted is None)
        self._receipt = receipt
        self._mounted = mounted
        self._unseen_mounts = set(receipt.mounts)
        self._extras: Counter[RootPath] = Counter()

    def findings(self) -> list[Finding]:
        super().findings()
        for path in self._unseen_mounts:
            self._report(path, "missing", "a mount point", "")
        for path, count in self._extras.items():
            if count > MOST_EXTRA:
                self._findings.append(Finding(path, "extra", "", f"{count - MOST_EXTRA} more in it", NOTE))
        return self._findings

    def _look(self) -> Iterator[look.Found]:
        if self._mounted is None:
            return super()._look()
        return look.at({*self._unseen, *self._unseen_mounts}, self._root, self._mounted)

    def _is_expected(self, found: look.Found) -> bool:
        return super()._is_expected(found) or found.path in self._receipt.mounts

    def _report(self, path: str, kind: str, expected: str, actual: str) -> None:
        if kind in _CONTENT:
            self._findings.append(Finding(path, "edited", expected, actual, NOTE))
        else:
            super()._report(path, kind, expected, actual)

    def _check(self, found: look.Found, hashing: Hashing) -> None:
        if found.path in self._unseen_mounts:
            self._unseen_mounts.discard(found.path)
            self._unseen.pop(found.path, None)
            self._findings += check_mount(self._receipt, found)
        elif found.closed == look.OTHER_MOUNT:
            self._check_foreign(found)
        else:
            super()._check(found, hashing)

    def _check_extra(self, found: look.Found) -> None:
        self._extras[found.path.parent] += 1
        if self._extras[found.path.parent] <= MOST_EXTRA:
            self._findings.append(Finding(found.path, "extra", "", describe(found.node), NOTE))

    def _is_suspect(self, record: Record, node: Node) -> bool:
        return self._contents  # an edit is no drift, so a changed time is no reason to read the file

    def _check_foreign(self, found: look.Found) -> None:
        """Somebody mounted something: an error only where it hides what is ours."""
        self._closed.add(found.path)
        self._unseen.pop(found.path, None)
        hides = any(path.is_below(found.path) and path != found.path for path in self._records)
        severity = "error" if hides else NOTE
        self._findings.append(Finding(found.path, "mount", "", look.OTHER_MOUNT, severity))


def check_mount(receipt: Receipt, found: look.Found) -> Iterator[Finding]:
    """Check that at a mount point nothing is mounted, or the image's directory, read-only, no devices."""
    if found.node.type is not FileType.DIR:
        yield Finding(found.path, "type", "a mount point", describe(found.node))
    elif found.closed == look.OTHER_MOUNT:
        wrong = _why_wrong(receipt, found)
        if wrong:
            yield Finding(found.path, "mount", f"{receipt.image}{found.path}, read-only", wrong)


def _why_wrong(receipt: Receipt, found: look.Found) -> str:
    try:
        ours = os.lstat(f"{receipt.image}{found.path}")
        mounted = look.open_directory(found.parent, found.path.name, found.node)
        try:
            unprotected = local.why_unprotected(mounted, f"{receipt.zonepath}/root{found.path}")
        finally:
            os.close(mounted)
    except OSError as error:
        return error.strerror or str(error)
    if (found.node.dev, found.node.ino) != (ours.st_dev, ours.st_ino):
        return "something else"
    return unprotected
