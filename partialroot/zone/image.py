"""Images: shared layers, built once per content, used by every zone with that content.

::

    HOME/DIGEST/usr/...             the tree
    HOME/DIGEST/manifest.json       what was measured when it was built
    HOME/DIGEST/reasons-KEY.json    why each path is there and of which package, one file per set of these
    HOME/.new-DIGEST                one being built: never used, swept
    HOME/.old-DIGEST-*              one that was replaced or released, until nothing has it mounted

HOME is ``STORE/images``, or ``.partialroot/images`` at the top of the mount that has the source's files.
Building, replacing and removing an image happen under its lock.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from partialroot.errors import BusyError, ConflictError, NoReceiptError, PartialRootError
from partialroot.host import local
from partialroot.model import Action, Plan, Record
from partialroot.nodes import FileType
from partialroot.zone import fs, receipt
from partialroot.zone.dirs import Dirs
from partialroot.zone.layer import LayerBuilder
from partialroot.zone.removal import remove
from partialroot.zone.store import Store, make_private
from partialroot.zone.uses import is_used, mark_home

_FRESH, _GONE = ".new-", ".old-"

_checked: dict[Path, tuple[int, int, int]] = {}
_reasons: dict[int, tuple[tuple[Action, ...], tuple[str, bytes]]] = {}


class Image(NamedTuple):
    """An image that is there: its directory, the name of its file of reasons, what could not be kept."""

    path: Path
    reasons: str
    lost: tuple[str, ...]


class Images:
    """What the zones of one batch know of their images: each is looked at, or built, for the first of them.

    The journals of all of them are written before: nobody releases an image that one of them names.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[Path, str], Image | PartialRootError] = {}

    def ensure(self, plan: Plan, store: Store, lost_owners: frozenset[tuple[int, int]]) -> Image:
        """Do what :func:`ensure_image` does."""
        key = (plan.image_home / str(plan.digest), reasons_of(plan)[0])
        known = self._known.get(key)
        if isinstance(known, PartialRootError):
            raise known
        return known or self._ensure(key, plan, store, lost_owners)

    def _ensure(
        self, key: tuple[Path, str], plan: Plan, store: Store, lost_owners: frozenset[tuple[int, int]]
    ) -> Image:
        try:
            made = ensure_image(plan, store, lost_owners)
        except PartialRootError as error:
            self._known[key] = error
            raise
        self._known[key] = made._replace(lost=())  # what it lacks is told once
        return made


def ensure_image(plan: Plan, store: Store, lost_owners: frozenset[tuple[int, int]] = frozenset()) -> Image:
    """Return the image of ``plan``, which has a digest; build it unless it is there and as it was built.

    Raises ApplyError (nothing is left then), or StoreError when its home cannot be trusted. The caller's
    journal names the image, so that nobody releases it meanwhile.
    """
    if plan.digest is None:
        raise ValueError("a plan without a digest has no image")
    make_private(plan.image_home, "the home of images")
    reasons = reasons_of(plan)
    with store.lock_image(plan.image_home, plan.digest):
        home = fs.open_directory(plan.image_home)
        try:
            mark_home(store, home, plan.image_home)
            lost = _ensure(plan, home, lost_owners, reasons)
            _save_reasons(home, plan.digest, reasons)
        finally:
            os.close(home)
    return Image(plan.image_home / plan.digest, reasons[0], tuple(lost))


def _ensure(
    plan: Plan, home: int, lost_owners: frozenset[tuple[int, int]], reasons: tuple[str, bytes]
) -> list[str]:
    """Build the image unless it is usable; return what could not be kept."""
    name = str(plan.digest)
    path = plan.image_home / name
    if is_intact(path):
        return []
    _sweep_digest(plan.image_home, home, name)
    try:
        builder = _build(plan, home, lost_owners, reasons)
        if fs.exists(home, name):
            _carry_reasons(home, name)
            fs.rename(home, name, home, _gone_name(name))
        fs.rename(home, _FRESH + name, home, name)
        fs.sync(home, "images")
    except OSError as error:
        raise fs.failed(error, str(path)) from error
    finally:
        _sweep_digest(plan.image_home, home, name)
    return builder.lost


def _build(
    plan: Plan, home: int, lost_owners: frozenset[tuple[int, int]], reasons: tuple[str, bytes]
) -> LayerBuilder:
    fresh = f"{_FRESH}{plan.digest}"
    fs.make_own_directory(home, fresh)
    top = os.open(fresh, fs.DIRECTORY, dir_fd=home)
    try:
        builder = LayerBuilder(top, plan, plan.image_home / fresh, lost_owners)
        builder.build(plan.shared)
        fs.create_file(top, receipt.MANIFEST, receipt.dump_manifest(builder.records))
        fs.create_file(top, *reasons)
        fs.sync_all(top, "image")
    finally:
        os.close(top)
    return builder


# --- is it as it was built? -------------------------------------------------------------------------


def is_intact(path: Path) -> bool:
    """Whether an image is there and its files have the sizes, times, modes and owners of its manifest.

    An image that this process has looked at is not looked at again, unless it was built anew.
    """
    try:
        found = os.lstat(path / receipt.MANIFEST)
    except OSError:
        return False
    key = (found.st_dev, found.st_ino, found.st_mtime_ns)
    if _checked.get(path) == key:
        return True
    if not _is_as_built(path):
        return False
    _checked[path] = key
    return True


def _is_as_built(path: Path) -> bool:
    try:
        records = receipt.read_manifest(path)
        top = fs.open_directory(path)
    except (NoReceiptError, OSError):
        return False
    try:
        with Dirs(top) as dirs:
            return all(_is_as_recorded(dirs, record) for record in records)
    except OSError:
        return False
    finally:
        os.close(top)


def _is_as_recorded(dirs: Dirs, record: Record) -> bool:
    parent, _, name = record.path.rpartition("/")
    found = os.stat(name or ".", dir_fd=dirs.fd(parent), follow_symlinks=False)
    same = (
        found.st_mode & 0o7777 == record.mode
        and found.st_uid == record.uid
        and found.st_gid == record.gid
        and FileType.of(found.st_mode) is record.type
    )
    if record.type is not FileType.FILE:  # what is in a directory is judged by its own records
        return same
    return same and found.st_size == record.size and found.st_mtime_ns == record.mtime_ns


# --- reasons ----------------------------------------------------------------------------------------


def reasons_of(plan: Plan) -> tuple[str, bytes]:
    """Return why each shared path is there, and who supplied it: the image's file of that, name and content.

    Found out once for all plans that have the very same ``shared``: those of zones that differ in parameters.
    """
    known = _reasons.get(id(plan.shared))
    if known is None:  # what is kept there stays, and so does its id
        known = _reasons[id(plan.shared)] = (plan.shared, _named(plan.shared))
    return known[1]


def _named(shared: tuple[Action, ...]) -> tuple[str, bytes]:
    reasons = {action.entry.path: action.entry.reasons for action in shared}
    suppliers = {action.entry.path: action.supplier for action in shared if action.supplier}
    data = receipt.dump_origins(receipt.Origins(reasons, suppliers))
    return f"reasons-{hashlib.sha256(data).hexdigest()[:16]}.json", data


def _save_reasons(home: int, digest: str, reasons: tuple[str, bytes]) -> None:
    """Write the reasons unless they are written already; receipts that name them may be on another disk."""
    top = os.open(digest, fs.DIRECTORY, dir_fd=home)
    try:
        if not fs.exists(top, reasons[0]):
            fs.save(top, *reasons)
            fs.sync(top, "reasons")
    finally:
        os.close(top)


def _carry_reasons(home: int, digest: str) -> None:
    """Give a rebuilt image the reasons of the one it replaces: other zones' receipts name them."""
    old = os.open(digest, fs.DIRECTORY, dir_fd=home)
    new = os.open(_FRESH + digest, fs.DIRECTORY, dir_fd=home)
    try:
        for name in sorted(os.listdir(old)):
            if name.startswith("reasons-") and not fs.exists(new, name):
                fs.link(name, new, name, old)
    finally:
        os.close(old)
        os.close(new)


def use_image(store: Store, path: Path, reasons: str) -> Image:
    """Return an image that was built before, for who goes back to it; ConflictError when it is damaged.

    The caller's journal names it, so that nobody releases it meanwhile.
    """
    with store.lock_image(path.parent, path.name):
        if not is_intact(path):
            raise ConflictError("the image is gone, or not as it was built", path=str(path))
    return Image(path, reasons, ())


# --- an end -----------------------------------------------------------------------------------------


def release_image(store: Store, path: Path, settled: Iterable[Path] = ()) -> bool:
    """Remove an image unless a zone, a journal or a mount of any process uses it; return whether it is gone.

    What can be no image of this store's stays, whoever named it. ``settled`` are zonepaths whose own journals
    do not count: their work is over.
    """
    if not os.path.lexists(path.parent):
        return True
    if not store.may_have(path):
        return False
    with store.lock_image(path.parent, path.name):
        home = fs.open_directory(path.parent)
        try:
            is_unused = not is_used(store, path, frozenset(map(str, settled)))
            if is_unused and fs.exists(home, path.name):
                fs.rename(home, path.name, home, _gone_name(path.name))  # never half under its own name
            _sweep_digest(path.parent, home, path.name)
        finally:
            os.close(home)
    return is_unused


def sweep(store: Store, home: Path) -> None:
    """Remove what builders that died left in ``home``, and replaced images that nothing mounts any more."""
    fd = fs.open_directory(home)
    try:
        for digest in _begun(home):
            with suppress(BusyError), store.lock_image(home, digest, wait_seconds=0):  # its builder lives
                _sweep_digest(home, fd, digest)
    finally:
        os.close(fd)


def leftovers(store: Store, home: Path) -> list[Path]:
    """Return what :func:`sweep` would remove."""
    found = []
    for digest in _begun(home):
        with suppress(BusyError), store.lock_image(home, digest, wait_seconds=0):
            prefixes = (_FRESH + digest, _GONE + digest)
            found += [home / name for name in sorted(os.listdir(home)) if name.startswith(prefixes)]
    return [path for path in found if not local.is_shown(path)]


def _begun(home: Path) -> list[str]:
    """Return the digests of which there are half or replaced images."""
    names = [name for name in os.listdir(home) if name.startswith((_FRESH, _GONE))]
    return sorted({name[len(_FRESH) :].partition("-")[0] for name in names})


@contextmanager
def scratch(store: Store, home: Path) -> Iterator[Path]:
    """Yield an empty directory of ours beside the images: what is in it can be linked into them.

    It is removed in the end, by the next sweep if we die before.
    """
    sweep(store, home)
    key = os.urandom(32).hex()  # nobody else waits for this lock; it tells sweepers that we live
    with store.lock_image(home, key):
        fd = fs.open_directory(home)
        try:
            fs.make_own_directory(fd, _FRESH + key)
            yield home / (_FRESH + key)
        finally:
            _sweep_digest(home, fd, key)
            os.close(fd)


def _sweep_digest(home: Path, fd: int, digest: str) -> None:
    """Remove half and replaced images of one digest, whose lock we hold, unless they are mounted."""
    for name in os.listdir(home):  # by its path: btrfs (Linux 6.5) hides what came since ``fd`` was opened
        if name.startswith((_FRESH + digest, _GONE + digest)) and not local.is_shown(home / name):
            remove(fd, name)


def gone_prefix(path: Path) -> str:
    """Return how the paths begin at which an image lies that was replaced by the one at ``path``."""
    return f"{path.parent}/{_GONE}{path.name}-"


def _gone_name(digest: str) -> str:
    return f"{_GONE}{digest}-{os.urandom(4).hex()}"
