"""What every package database can be asked, and what one that knows nothing answers."""

import hashlib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from partialroot.nodes import FileType
from partialroot.paths import RootPath
from partialroot.source.packages.sysv import SysvSum
from partialroot.source.tree import Tree

if TYPE_CHECKING:  # few ask what a package is about
    from partialroot.source.packages.licences import Licence

# The file by which each kind of database is known, before what reads it is imported.
DPKG_STATUS = RootPath("/var/lib/dpkg/status")
IPS_CATALOG = RootPath("/var/pkg/state/installed/catalog.base.C")
SVR4_CONTENTS = RootPath("/var/sadm/install/contents")

_CHUNK = 1 << 20


class Recorded(NamedTuple):
    """What a database recorded of a file as it was installed.

    ``algorithm`` is md5, sha1 or sysv (module sysv), ``digest`` in hexadecimal. ``size`` in bytes and
    ``mtime`` in whole seconds are None where the database has none.
    """

    algorithm: str
    digest: str
    size: int | None = None
    mtime: int | None = None


class Version(NamedTuple):
    """Which build of a package is installed; "" is what the database does not say."""

    version: str
    architecture: str


class About(NamedTuple):
    """What a database says of an installed package for its users; "" is what it does not say.

    ``source`` is the source package that it was built from, ``copyright`` the text of a notice.
    """

    summary: str = ""
    supplier: str = ""
    homepage: str = ""
    source: str = ""
    licences: "tuple[Licence, ...]" = ()
    copyright: str = ""


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

    def group(self, name: str) -> tuple[str, ...] | None:
        """Return the packages that a group of packages (a Tribblix overlay) stands for, sorted.

        Those it requires are among them. None: there is no such group.
        """
        ...

    def owner(self, path: RootPath) -> str | None:
        """Return the package that installed ``path``; of a directory the first one by name."""
        ...

    def owners(self, paths: Sequence[RootPath]) -> dict[RootPath, str]:
        """Return the packages that installed ``paths``, without those that no package did."""
        ...

    def version(self, package: str) -> Version | None:
        """Return which build of a package is installed, None if none is."""
        ...

    def about(self, package: str) -> About | None:
        """Return what the database says of an installed package, None if it is not."""
        ...

    @property
    def changing(self) -> tuple[RootPath, ...]:
        """The files of which at least one changes whenever a package is installed, upgraded or removed."""
        ...

    @property
    def offering(self) -> tuple[RootPath, ...]:
        """What changes when lists of what could be installed are fetched: files, or their directory."""
        ...

    @property
    def doubts(self) -> tuple[str, ...]:
        """What speaks against the database being whole, as far as it was read."""
        ...

    def recorded(self, path: RootPath) -> Recorded | None:
        """Return what the database recorded of the content of a packaged file."""
        ...

    def pristine_copy(self, path: RootPath) -> RootPath | None:
        """Return where the source keeps a copy of a packaged file as it was shipped."""
        ...

    def global_only(self, path: RootPath) -> bool:
        """Return whether only a global zone may have ``path``, and no other."""
        ...

    def supplier(self, name: str) -> str | None:
        """Return the package that would supply a missing program, path, shared library or package."""
        ...


class NoPackages:
    """The database of a source that has none: it knows nothing. Others inherit what they know nothing of."""

    def installed(self) -> tuple[str, ...]:
        """No package is installed."""
        return ()

    def files(self, package: str) -> tuple[RootPath, ...] | None:
        """No package is installed."""
        return None

    def group(self, name: str) -> tuple[str, ...] | None:
        """There are no groups."""
        return None

    def owner(self, path: RootPath) -> str | None:
        """Nobody installed anything."""
        return None

    def owners(self, paths: Sequence[RootPath]) -> dict[RootPath, str]:
        """Ask for the owner of one path after the other."""
        owners = ((path, self.owner(path)) for path in paths)
        return {path: owner for path, owner in owners if owner is not None}

    def version(self, package: str) -> Version | None:
        """No package is installed."""
        return None

    def about(self, package: str) -> About | None:
        """No package is installed."""
        return None

    @property
    def changing(self) -> tuple[RootPath, ...]:
        """Nothing can change."""
        return ()

    @property
    def offering(self) -> tuple[RootPath, ...]:
        """There are no such lists."""
        return ()

    @property
    def doubts(self) -> tuple[str, ...]:
        """There are none."""
        return ()

    def recorded(self, path: RootPath) -> Recorded | None:
        """Nothing was recorded."""
        return None

    def pristine_copy(self, path: RootPath) -> RootPath | None:
        """No copies are kept."""
        return None

    def global_only(self, path: RootPath) -> bool:
        """There are no global zones."""
        return False

    def supplier(self, name: str) -> str | None:
        """Nobody knows."""
        return None


def pristine(
    tree: Tree, packages: Packages, path: RootPath, descriptor: int | None = None, beginning: bytes = b""
) -> bool:
    """Return whether the regular file at ``path`` is still as its package installed it.

    A file of no package, or one whose package recorded no checksum, is not. Where the database recorded size
    and time they must be the same too: 16 bits of checksum alone do not notice when two digits change places.
    ``descriptor`` is for reading it, where it is open already, and ``beginning`` what was read of it.
    """
    recorded = packages.recorded(path)
    real, node, _ = tree.resolve(path)
    if recorded is None or node is None or node.type is not FileType.FILE:
        return False
    if recorded.size not in (None, node.size) or recorded.mtime not in (None, node.mtime_ns // 10**9):
        return False
    if descriptor is not None:
        return _digest(recorded.algorithm, descriptor, beginning, node.size) == recorded.digest
    with tree.opened(real, node) as opened:
        return _digest(recorded.algorithm, opened, b"", node.size) == recorded.digest


def _digest(algorithm: str, descriptor: int, beginning: bytes, size: int) -> str:
    """Return the digest of an open file of so many bytes, of which the first have been read."""
    digest = SysvSum() if algorithm == "sysv" else hashlib.new(algorithm, usedforsecurity=False)
    digest.update(beginning)
    done = len(beginning)
    while done < size and (chunk := os.pread(descriptor, _CHUNK, done)):
        digest.update(chunk)
        done += len(chunk)
    return digest.hexdigest()
