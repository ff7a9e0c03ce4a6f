"""Which build of which package supplied a file: asked of the database once, then remembered.

To ask dpkg takes 0.1 s, as long as all else of a small populate. What it said holds until one of the files
changes that change with every installation.
"""

import os
import zlib
from collections.abc import Sequence

from partialroot.model import Supplier
from partialroot.paths import RootPath
from partialroot.source import memory
from partialroot.source.memory import Page
from partialroot.source.packages.base import Packages
from partialroot.source.tree import Tree

MOST_ASKED = 10_000
"""To remember more paths than these takes longer than to ask again."""

_KIND = memory.kind("supplier", Supplier._fields)
_NOBODY = ()


def suppliers(tree: Tree, packages: Packages, paths: Sequence[RootPath]) -> dict[RootPath, Supplier]:
    """Return who supplied each of ``paths``, without those that no package has."""
    if not packages.changing:
        return {}
    if len(paths) > MOST_ASKED:
        return _ask(packages, paths)
    state = _state(tree, packages)
    known = {path: tree.memory.get(*_key(tree, path), state) for path in paths}
    unknown = [path for path in paths if known[path] is None]
    if unknown:
        found = _ask(packages, unknown)
        for path in unknown:
            known[path] = tuple(found.get(path, _NOBODY))
            tree.memory.put(*_key(tree, path), state, known[path])
    return {path: Supplier(*supplier) for path, supplier in known.items() if supplier}


def _ask(packages: Packages, paths: Sequence[RootPath]) -> dict[RootPath, Supplier]:
    owners = packages.owners(paths)
    versions = {owner: packages.version(owner) for owner in set(owners.values())}
    known = {owner: _supplied_by(owner, *(version or ("", ""))) for owner, version in versions.items()}
    return {path: known[owner] for path, owner in owners.items()}


def _supplied_by(*words: str) -> Supplier:
    """Return a supplier of words as a receipt can hold them: a damaged database may have a NUL in them."""
    return Supplier(*(word.partition("\0")[0] for word in words))


def _state(tree: Tree, packages: Packages) -> str:
    """Return what changes whenever a package does."""
    nodes = (tree.resolve(path).node for path in packages.changing)
    return " ".join(
        str(node and (node.dev, node.ino, node.size, node.mtime_ns, node.ctime_ns)) for node in nodes
    )


def _key(tree: Tree, path: RootPath) -> tuple[Page, str]:
    """Return the page and key of a path: what is in one directory is asked for together."""
    place = str(tree.host(path))
    return (_KIND, zlib.crc32(os.fsencode(os.path.dirname(place)))), place
