"""Who uses an image: zones, what they were before or will be, work under way, and mounts of any process.

A home of images outside of its store may be shared by several stores: it and each of them have a symlink to
the other.

::

    HOME/.store-KEY -> STORE
    STORE/images/.home-KEY -> HOME

Marks stay when the last zone goes: no lock is about a whole home, so who removes a mark might take it from a
command that found it there a moment ago, and other stores would not ask about the image which that one makes.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from partialroot.errors import BusyError, StoreError
from partialroot.host import local
from partialroot.zone import fs, journal, previous
from partialroot.zone.store import Store, is_common, zone_key

_MARK, _HOME = ".store-", ".home-"


def mark_home(store: Store, home: int, path: Path) -> None:
    """Leave word, there and here, that a store has images in the open home at ``path``."""
    name = _MARK + zone_key(store.root)
    if not is_common(path) or fs.exists(home, name):
        return
    with store.directory("images") as at:
        if not fs.exists(at, _HOME + zone_key(path)):
            fs.symlink(str(path), at, _HOME + zone_key(path))
    fs.symlink(str(store.root), home, name)


def homes(store: Store) -> tuple[Path, ...]:
    """Return where the store has images: in itself, and beside files on other mounts that are there."""
    marks = (name for name in os.listdir(store.images) if name.startswith(_HOME))
    others = (Path(os.readlink(store.images / name)) for name in sorted(marks))
    return (store.images, *(home for home in others if home.is_dir()))


def is_used(
    store: Store, image: Path, settled: frozenset[str] = frozenset(), *, even_previous: bool = False
) -> bool:
    """Ask all who may use an image, until one does; who cannot be asked may use it.

    ``settled`` are zonepaths whose own journals do not count. With ``even_previous`` it does not count either
    that zones of this store could go back to it.
    """
    try:
        return (
            _is_used_now(store, image, settled)
            or (not even_previous and str(image) in previous.images(store))
            or any(_is_used_by_other(other, image) for other in _others(store, image.parent))
            or local.is_shown(image)
        )
    except (StoreError, BusyError):
        return True


def _is_used_now(store: Store, image: Path, settled: frozenset[str] = frozenset()) -> bool:
    """Whether a zone of a store uses an image, or work under way; what zones were before is to be asked next.

    The order counts: a change under way goes from the journals to the register, and what it takes from there
    is among what zones were before. Who begins to use an image takes its lock once his journal is written.
    """
    intents = (one for one in journal.all_intents(store) if one.zonepath not in settled)
    return any(str(image) in one.images for one in intents) or any(
        image in (*zone.images, _linked(zone.zonepath)) for zone in store.each_zone()
    )


def _is_used_by_other(store: Store, image: Path) -> bool:
    return _is_used_now(store, image) or str(image) in previous.images(store)


def lost_stores(home: Path) -> tuple[Path, ...]:
    """Return the marks in a home of images whose stores are not there: all its images may be theirs."""
    marks = sorted(home.glob(f"{_MARK}*"))
    return tuple(one for one in marks if not os.path.isdir(os.readlink(one)))


def _others(store: Store, home: Path) -> Iterator[Store]:
    """Yield the other stores that have images in a home; StoreError for one that is not there."""
    for name in sorted(os.listdir(home)) if is_common(home) else ():
        if name.startswith(_MARK) and name != _MARK + zone_key(store.root):
            root = os.readlink(home / name)
            if not os.path.isdir(root):
                raise StoreError("the store is not there", path=root)
            yield Store(Path(root))


def _linked(zonepath: Path) -> Path | None:
    """Return the image a zonepath points to."""
    try:
        return Path(os.readlink(zonepath / "image"))
    except OSError:
        return None
