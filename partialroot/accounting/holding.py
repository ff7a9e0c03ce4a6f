"""Which files of zones are meant by a path or by a package, and which build of it supplied them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from partialroot.errors import PartialRootError, UsageError
from partialroot.model import Record, Supplier
from partialroot.nodes import FileType
from partialroot.paths import RootPath
from partialroot.zone.explain import MOST_LINKS, joined

Files = Mapping[RootPath, Record]


class Asked(NamedTuple):
    """What is asked for in ``text``: a path, else a package, perhaps of one version."""

    text: str
    path: RootPath | None
    package: str = ""
    version: str = ""

    @classmethod
    def parse(cls, text: str) -> "Asked":
        """Return what a word of the command line asks for; UsageError when it is neither path nor package."""
        if text.startswith("/"):
            try:
                return cls(text, RootPath.parse(text))
            except PartialRootError as error:
                raise UsageError(error.message, path=text) from None
        package, at, version = text.partition("@")
        if not package or (at and not version):
            raise UsageError("neither a path nor PACKAGE[@VERSION]", path=text, hint="paths begin with /")
        return cls(text, None, package, version)

    def means(self, supplier: Supplier | None) -> bool:
        """Whether the package that is asked for is ``supplier``, in whatever version."""
        return supplier is not None and self.package in _names(supplier)

    def is_version(self, version: str) -> bool:
        """Whether a version is the one asked for, if one is."""
        return not self.version or self.version in _versions(version)


def _names(supplier: Supplier) -> Iterator[str]:
    """Yield the names of a package: also without a foreign architecture, or by the end of a name of IPS."""
    name = supplier.package
    yield from (name, name.partition(":")[0])
    yield from (name[at + 1 :] for at, character in enumerate(name) if character == "/")


def _versions(version: str) -> Iterator[str]:
    """Yield the spellings of a version: IPS' ``1.2,5.11-0.1:20250101T000000Z`` is ``1.2-0.1`` to pkg(1)."""
    yield version
    release, comma, rest = version.partition(",")
    if comma:
        branch = rest.partition(":")[0]
        yield from (release, f"{release},{branch}", f"{release}-{branch.partition('-')[2]}")


def of_package(asked: Asked, files: Iterable[Record], suppliers: Mapping[RootPath, Supplier]) -> list[Record]:
    """Return the files that the package supplied, in whatever version."""
    return [record for record in files if asked.means(suppliers.get(record.path))]


def at_path(path: RootPath, look: Callable[[RootPath], Record | None]) -> Iterator[Record]:
    """Yield what is at ``path`` in a zone; a symlink, then what it leads to.

    ``look`` returns what is recorded for a path. Symlinks among the directories are followed.
    """
    for _ in range(MOST_LINKS):
        link = next(filter(None, (_link(above, look) for above in [*path.ancestors][::-1])), None)
        if link is not None:
            path = joined(link.path.parent, link.target or "", path[len(link.path) + 1 :])
            continue
        record = look(path)
        if record is None:
            return
        yield record
        if record.type is not FileType.SYMLINK:
            return
        path = joined(path.parent, record.target or "", "")


def _link(path: RootPath, look: Callable[[RootPath], Record | None]) -> Record | None:
    record = look(path)
    return record if record is not None and record.type is FileType.SYMLINK else None
