"""prune: what no zone needs any more goes, never what one uses."""

from pathlib import Path
from typing import NamedTuple

from partialroot.errors import StoreError
from partialroot.host import local
from partialroot.zone import previous, pruning
from partialroot.zone.pruning import Image, Stale
from partialroot.zone.store import Store


class Pruned(NamedTuple):
    """What was removed (or would be): images, leftovers of dead processes; and what only the user can tell.

    ``size`` is what all of it frees, in bytes.
    """

    images: tuple[Image, ...]
    leftovers: tuple[Image, ...]
    stale: tuple[Stale, ...]
    size: int


def prune(store: Path, *, dry_run: bool = False, give_up_previous: bool = False) -> Pruned:
    """Remove the images that nobody uses, and what dead processes left; or only tell what that would be.

    With ``give_up_previous`` also what zones were before their last changes: they cannot go back then.
    """
    if not store.is_dir():
        raise StoreError("there is no store", path=str(store), hint="--store DIR names it")
    opened = Store(store)
    return _shown(opened, give_up_previous) if dry_run else _pruned(opened, give_up_previous)


def _shown(store: Store, give_up_previous: bool) -> Pruned:
    left, unused = pruning.left(store), pruning.unused_images(store, even_previous=give_up_previous)
    images, leftovers = (
        tuple(Image(path, pruning.freed([path])) for path in paths) for paths in (unused, left)
    )
    goldens = _goldens(store, dry_run=True)
    size = pruning.freed([*unused, *left]) + sum(one.size for one in goldens)
    return Pruned(images, (*leftovers, *goldens), tuple(pruning.stale(store)), size)


def _pruned(store: Store, give_up_previous: bool) -> Pruned:
    unused = pruning.unused_images(store, even_previous=give_up_previous)
    leftovers = (*pruning.clear(store), *_goldens(store, dry_run=False))
    if give_up_previous:
        for zone in store.zones():
            with store.lock_zone(zone.zonepath):
                previous.forget(store, zone.zonepath)
    images = tuple(one for one in (pruning.remove_image(store, path) for path in unused) if one)
    size = sum(one.size for one in (*images, *leftovers))
    return Pruned(images, leftovers, tuple(pruning.stale(store)), size)


def _goldens(store: Store, *, dry_run: bool) -> tuple[Image, ...]:
    """Remove golden datasets that no zone is a clone of, where zones are made of such; or only tell them."""
    if not local.is_illumos():
        return ()
    from partialroot.zone import clones

    return tuple(clones.prune(store, dry_run=dry_run))
