"""What the source's package database says: who installed a file, and how it was then."""

import hashlib
import os
from typing import Protocol

from partialroot.model import FileType
from partialroot.paths import RootPath
from partialroot.source.tree import Tree

_CHUNK = 1 << 20


class Packages(Protocol):
    """A package database. Raises SourceError when it is broken, naming the file."""

    def installed(self) -> tuple[str, ...]:
        """Return the names of the installed packages, sorted."""
        ...

    def files(self, package: str) -> tuple[RootPath, ...] | None:
        """Return where a package's files and directories are (parents' symlinks followed).

        None: it is not installed. SourceError: it is only partly.
        """
        ...

    def owner(self, path: RootPath) -> str | None:
        """Return the package that installed ``path``; of a directory the first one by name."""
        ...

    def checksum(self, path: RootPath) -> str | None:
        """Return the MD5 (hex) that the database recorded for a packaged file."""
        ...

    def supplier(self, name: str) -> str | None:
        """Return the package that would supply a missing program, path, shared library or package."""
        ...


class NoPackages:
    """The database of a source that has none: it knows nothing."""

    def installed(self) -> tuple[str, ...]:
        """No package is installed."""
        return ()

    def files(self, package: str) -> tuple[RootPath, ...] | None:
        """No package is installed."""
        return None

    def owner(self, path: RootPath) -> str | None:
        """Nobody installed anything."""
        return None

    def checksum(self, path: RootPath) -> str | None:
        """Nothing was recorded."""
        return None

    def supplier(self, name: str) -> str | None:
        """Nobody knows."""
        return None


def open_packages(tree: Tree) -> Packages:
    """Return the package database of a source; nothing is read until something is asked."""
    from partialroot.source.packages import dpkg

    if tree.resolve(dpkg.STATUS).node is not None:
        return dpkg.Dpkg(tree)
    return NoPackages()


def pristine(tree: Tree, packages: Packages, path: RootPath) -> bool:
    """Return whether the regular file at ``path`` is still as its package installed it.

    A file of no package, or one whose package recorded no checksum, is not.
    """
    recorded = packages.checksum(path)
    found = tree.resolve(path)
    if recorded is None or found.node is None or found.node.type is not FileType.FILE:
        return False
    digest = hashlib.md5(usedforsecurity=False)
    with os.fdopen(tree.open_node(found.real, found.node), "rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest() == recorded
