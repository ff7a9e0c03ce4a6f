"""The names by which packages may list one file: where /bin is a symlink, /bin/sh and /usr/bin/sh are one."""

from collections.abc import Iterator
from functools import cached_property
from posixpath import dirname, join, normpath

from partialroot.nodes import FileType
from partialroot.paths import ROOT, RootPath
from partialroot.source.tree import Tree


def linked(path: str, target: str) -> RootPath:
    """Return what the hard link at ``path`` was made from: its target begins at the root or beside it."""
    return RootPath("/" + normpath(join(dirname(path), target)).lstrip("/"))


class Spellings:
    """The spellings of the paths of a root."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def of(self, path: RootPath) -> Iterator[RootPath]:
        """Yield the names by which packages may list what is at ``path``, the canonical one first."""
        real = self._tree.place(path)
        yield real
        if real != path:
            yield path
        if not real.startswith(self._aliased):  # as most
            return
        for alias, directory in self._aliases:
            if real.is_below(directory):
                yield RootPath(alias + real[len(directory) :])

    @cached_property
    def _aliased(self) -> tuple[str, ...]:
        return tuple(directory for _, directory in self._aliases)

    @cached_property
    def _aliases(self) -> tuple[tuple[RootPath, RootPath], ...]:
        """Return (symlink, directory) for the root's top symlinks to directories."""
        tops = [ROOT / name for name in self._tree.names(ROOT)]
        found = [(top, self._tree.resolve(top)) for top in tops]
        return tuple(
            (top, real.real)
            for top, real in found
            if real.links and real.real != ROOT and real.node is not None and real.node.type is FileType.DIR
        )
