"""What a zone was before its last change, kept so that it can go back: one generation, no more.

::

    STORE/previous/KEY/receipt.json     the receipt of then
    STORE/previous/KEY/config.json      the bundle's spec of then, if it was another one
    STORE/previous/KEY/image            a symlink to the image of then: it is in use
    STORE/previous/KEY/root/...         the private files that were replaced or removed
    STORE/previous/KEY.new              one that is being written: it counts when the change is committed

Files lie there with their content alone; the receipt has the rest.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from partialroot.model import Receipt, Record
from partialroot.nodes import FileType, Node
from partialroot.paths import RootPath
from partialroot.zone import fs, look, receipt
from partialroot.zone.dirs import Dirs, opened
from partialroot.zone.removal import remove
from partialroot.zone.store import Store, zone_key

PART = "previous"
ROOT, IMAGE, CONFIG = "root", "image", "config.json"


class Previous(NamedTuple):
    """What a zone was; ``files`` is the host's directory of the private files that are no longer in it."""

    receipt: Receipt
    config: bytes | None
    files: Path


def read(store: Store, zonepath: Path) -> Previous | None:
    """Return what a zone was before its last change, None if nothing is known; NoReceiptError if damaged."""
    place = store.root / PART / zone_key(zonepath)
    data = receipt.read_own(place, receipt.NAME)
    if data is None:
        return None
    found = receipt.load(data, str(place / receipt.NAME))
    return Previous(found, receipt.read_own(place, CONFIG), place / ROOT)


def image_of(store: Store, zonepath: Path) -> tuple[str, ...]:
    """Return the image that a zone had before its last change, if it had one."""
    image = _linked(store.root / PART / zone_key(zonepath))
    return (image,) if image else ()


def images(store: Store) -> Iterator[str]:
    """Yield the images that zones had before their last changes: they may want to go back."""
    with os.scandir(store.root / PART) as places:
        yield from filter(None, (_linked(place.path) for place in places))


def _linked(place: str | Path) -> str | None:
    try:
        return os.readlink(f"{place}/{IMAGE}")
    except OSError:
        return None


# --- writing ------------------------------------------------------------------------------------------


def write(store: Store, made: Receipt, config: bytes | None, root: int, replaced: Iterable[Record]) -> None:
    """Keep what the zone of ``made`` is, whose root is open; it counts once :func:`adopt` is called.

    ``config`` is its spec if that will change, and ``replaced`` the private files that will. Raises OSError.
    """
    with store.directory(PART) as at:
        name = zone_key(Path(made.zonepath)) + fs.UNSAVED
        remove(at, name)
        fs.make_own_directory(at, name)
        with opened(name, at) as place:
            _write_files(place, root, replaced)
            if made.image is not None:
                fs.symlink(made.image, place, IMAGE)
            if config is not None:
                fs.create_file(place, CONFIG, config)
            fs.create_file(place, receipt.NAME, receipt.dump(made))
            if os.fstat(place).st_dev != os.fstat(root).st_dev:  # else it is on the disk with the change
                fs.sync_all(place, PART)


def _write_files(place: int, root: int, replaced: Iterable[Record]) -> None:
    fs.make_own_directory(place, ROOT)
    with opened(ROOT, place) as top, Dirs(top) as made, Dirs(root) as source:
        for record in replaced:
            if record.type is FileType.FILE:
                _make_parents(made, record.path)
                _copy(source.fd(record.path.parent), made.fd(record.path.parent), record)


def _make_parents(made: Dirs, path: RootPath) -> None:
    for directory in reversed(list(path.ancestors)):
        if directory != "/" and not fs.exists(made.fd(directory.parent), directory.name):
            fs.make_directory(made.fd(directory.parent), directory.name)


def _copy(source: int, at: int, record: Record) -> None:
    name = record.path.name
    node = Node.of(os.stat(name, dir_fd=source, follow_symlinks=False))
    descriptor = look.open_file(source, name, node)
    try:
        fd = fs.create(at, name)
        try:
            fs.copy(descriptor, fd, node.size, name)
        finally:
            os.close(fd)
    finally:
        os.close(descriptor)


# --- its life -----------------------------------------------------------------------------------------


def adopt(store: Store, zonepaths: Iterable[Path]) -> None:
    """Let what was written of zones take the place of what was kept before, if anything was written."""
    with store.directory(PART) as at:
        for name in map(zone_key, zonepaths):
            if fs.exists(at, name + fs.UNSAVED):
                remove(at, name)
                fs.rename(at, name + fs.UNSAVED, at, name)


def discard(store: Store, zonepath: Path) -> None:
    """Drop what was written and does not count: the change was undone."""
    with store.directory(PART) as at:
        remove(at, zone_key(zonepath) + fs.UNSAVED)


def forget(store: Store, zonepath: Path) -> None:
    """Drop everything that is kept of a zone."""
    discard(store, zonepath)
    with store.directory(PART) as at:
        remove(at, zone_key(zonepath))
