"""What nobody needs any more: unused images, what dead processes left, and how much disk that frees."""

import os
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from partialroot.errors import BusyError, NoReceiptError
from partialroot.zone import fs, observations, previous, receipt, settled, uses
from partialroot.zone.image import leftovers, release_image, sweep
from partialroot.zone.removal import remove
from partialroot.zone.store import Registered, Store, is_digest, zone_key

OLD_SECONDS = 60.0
"""What is younger may belong to a process that has just begun."""

_BLOCK = 512  # the unit of st_blocks


class Image(NamedTuple):
    """An image or leftover that nobody needs; ``size`` is what its removal frees, in bytes."""

    path: Path
    size: int


class Stale(NamedTuple):
    """Something that keeps images in use although it may be gone; the user has to tell."""

    path: Path
    why: str
    hint: str


# --- images -------------------------------------------------------------------------------------------


def unused_images(store: Store, *, even_previous: bool = False) -> list[Path]:
    """Return the images that nobody uses at this moment, or at most zones that would go back."""
    places = ((home, name) for home in uses.homes(store) for name in sorted(os.listdir(home)))
    every = [home / name for home, name in places if is_digest(name)]
    return [path for path in every if not uses.is_used(store, path, even_previous=even_previous)]


def remove_image(store: Store, path: Path) -> Image | None:
    """Remove an image unless it is used by now; return what that freed, None if it stays."""
    size = freed([path])
    return Image(path, size) if release_image(store, path) else None


def freed(paths: Iterable[Path]) -> int:
    """Return the bytes on disk that go when all these trees go.

    Of an inode with names elsewhere nothing goes. Extents that files share (reflinks) count as their own.
    """
    total, names = 0, dict[tuple[int, int], int]()
    for found in _walk(paths):
        inode = (found.st_dev, found.st_ino)
        names[inode] = names.get(inode, 0) + 1
        if stat.S_ISDIR(found.st_mode) or names[inode] == found.st_nlink:
            total += found.st_blocks * _BLOCK
    return total


def _walk(paths: Iterable[Path]) -> Iterator[os.stat_result]:
    for path in paths:
        with suppress(FileNotFoundError):  # somebody else removes it
            yield os.lstat(path)
            for directory, subdirectories, files in os.walk(path):
                for name in (*subdirectories, *files):
                    yield os.lstat(f"{directory}/{name}")


# --- what dead processes left -------------------------------------------------------------------------


def left(store: Store) -> list[Path]:
    """Return what nobody will read: half images and files, replaced images, locks that nobody holds."""
    return [*(path for home in uses.homes(store) for path in leftovers(store, home)), *_left_in_store(store)]


def clear(store: Store) -> Iterator[Image]:
    """Remove what :func:`left` finds, unless somebody works on it by now; yield what is gone."""
    sizes = {path: freed([path]) for path in left(store)}
    for home in uses.homes(store):
        sweep(store, home)
    for path, size in sizes.items():
        if not os.path.lexists(path) or (path.is_relative_to(store.root) and _clear(store, path)):
            yield Image(path, size)


def _left_in_store(store: Store) -> list[Path]:
    with store.directory("journal") as at:
        begun = set(os.listdir(at))
    keys = {zone_key(zone.zonepath) for zone in store.each_zone()} | begun
    found = []
    for part in ("journal", "zones", "locks", previous.PART, observations.PART):
        for path in sorted((store.root / part).iterdir()):
            is_half = path.name.endswith(fs.UNSAVED) and path.name.removesuffix(fs.UNSAVED) not in begun
            of_zone = part == previous.PART or (part == observations.PART and "-" not in path.name)
            is_orphan = part == "locks" or (of_zone and path.name not in keys)
            if (is_half or is_orphan) and _is_old(path):
                found.append(path)
    return found


def _clear(store: Store, path: Path) -> bool:
    """Remove one of the store's files, under the lock of its zone, unless somebody holds that."""
    part = path.parent.name
    if part == store.images.name:
        return False
    name = path.name if part == "locks" else f"zone-{path.name.removesuffix(fs.UNSAVED)}"
    try:
        with store.lock_named(name, str(path)):  # a lock's file goes when we let go of it
            if part != "locks" and path in _left_in_store(store):
                with store.directory(part) as at:
                    remove(at, path.name)
    except BusyError:
        return False
    return not os.path.lexists(path)


def forget(store: Store, zone: Registered) -> None:
    """Let go of all that is kept for a zone that is not there any more. The caller holds its lock."""
    images = {*filter(None, zone.images), *map(Path, previous.image_of(store, zone.zonepath))}
    store.unregister(zone.zonepath)
    previous.forget(store, zone.zonepath)
    settled.forget(store.root, zone_key(zone.zonepath))
    for image in sorted(images):
        release_image(store, image)


def _is_old(path: Path) -> bool:
    try:
        return time.time() - os.lstat(path).st_mtime > OLD_SECONDS
    except FileNotFoundError:
        return False


# --- what only the user can tell ----------------------------------------------------------------------


def stale(store: Store) -> Iterator[Stale]:
    """Yield zones of the register that are not there, and stores that are not there."""
    for zone in store.zones():
        try:
            why = "" if receipt.read(zone.zonepath) else "there is no zone of ours there any more"
        except NoReceiptError as error:
            why = str(error)
        if why:
            entry = store.root / "zones" / zone_key(zone.zonepath)
            is_there = os.path.lexists(zone.zonepath)
            remedy = f"rm {entry}" if is_there else f"partialroot remove {zone.zonepath}"
            yield Stale(zone.zonepath, why, f"if it is gone for good: {remedy}")
    for home in uses.homes(store):
        for mark in uses.lost_stores(home):
            yield Stale(mark, "the store that it names is not there", f"if it is gone for good: rm {mark}")
