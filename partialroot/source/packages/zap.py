"""Which package zap could install for something missing: from the catalogs that it has fetched.

``/etc/zap/repositories`` has NAME.catalog with lines ``package|version|dependencies|size|md5|``, and
NAME.aliases with ``alias|package``. They name packages, not their files: all of this only makes a hint.
"""

from functools import cached_property

from partialroot.errors import SourceError
from partialroot.paths import RootPath
from partialroot.source.tree import Tree

REPOSITORIES = RootPath("/etc/zap/repositories")
_LIMIT = 64 << 20


class ZapCatalogs:
    """What the catalogs of a source say; they are read when first asked."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def package(self, name: str) -> str | None:
        """Return the package that is called ``name``, or has it as an alias."""
        return self._packages.get(name)

    @cached_property
    def _packages(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for name in self._tree.names(REPOSITORIES):
            if name.endswith((".catalog", ".aliases")):
                rows = (line.split("|") for line in self._text(name).split("\n") if "|" in line)
                found |= {row[0]: row[1 if name.endswith(".aliases") else 0] for row in rows}
        return found

    def _text(self, name: str) -> str:
        """Return the text of a catalog; of one that cannot be read, nothing."""
        try:
            return self._tree.read(REPOSITORIES / name, _LIMIT).decode("utf-8", "replace")
        except SourceError:
            return ""
