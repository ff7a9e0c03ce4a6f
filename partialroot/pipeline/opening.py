"""The source, for as long as it is read; all that a closure needs of it, so nothing else is imported here."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NamedTuple

from partialroot.host import local
from partialroot.nodes import NOTHING
from partialroot.paths import RootPath, is_tarball
from partialroot.source.memory import NAME, Memory
from partialroot.source.tree import Tree

if TYPE_CHECKING:  # to look into a package database takes longer to import than a closure to find
    from pathlib import Path

    from partialroot.source.packages import Packages
    from partialroot.zone.unpack import Unpacked


class Opened(NamedTuple):
    """A source that can be read, at ``root``: with the ``views`` of files that mounts hide, or unpacked."""

    root: str
    views: Mapping[str, str] = NOTHING
    memory: Memory | None = None
    unpacked: "Unpacked | None" = None


@contextmanager
def opened(store: str, source: str, home: "Path | None" = None) -> Iterator[Opened]:
    """Yield a source for as long as it is read.

    Meanwhile files hidden by mounts are seen, and what earlier runs found out is at hand. A tarball is
    unpacked for that time, so that images in ``home`` (None: in the store) can link its files.
    """
    with ExitStack() as stack:
        if is_tarball(source.rstrip("/")):
            from pathlib import Path

            from partialroot.zone.unpack import unpacked

            found = stack.enter_context(unpacked(Path(store), Path(source), home))
            yield Opened(str(found.root), unpacked=found)
            return
        views: Mapping[str, str] = NOTHING
        if local.is_illumos():
            from pathlib import Path

            from partialroot.pipeline import live

            views = stack.enter_context(live.own_files(Path(store), Path(source)))
        yield Opened(source, views, stack.enter_context(Memory(f"{store}/{NAME}")))


def tree_of(store: str, source: Opened) -> Tree:
    """Return the files of a source, without the store if that lies in it."""
    tree = Tree(source.root, views=source.views, memory=source.memory)
    top = tree.root.rstrip("/")
    if store.startswith(f"{top}/"):
        tree.hidden = frozenset({RootPath(store.removeprefix(top))})
    return tree


def packages_of(tree: Tree) -> "Packages":
    """Return the source's package database; of a live illumos system when all changes are in it."""
    from partialroot.source.packages import open_packages

    packages = open_packages(tree)
    if local.is_illumos() and tree.root == "/":
        from partialroot.pipeline import live
        from partialroot.source.packages.svr4 import Svr4

        if isinstance(packages, Svr4):
            live.sync_packages()
    return packages
