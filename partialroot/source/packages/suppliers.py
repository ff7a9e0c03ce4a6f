"""Which build of which package supplied a file, and which would one that is missing: asked once, remembered.

To ask dpkg takes 0.1 s, as long as all else of a small populate, and to ask apt's lists for what is missing
0.2 s. What they said holds until one of the files changes that change with every installation, or with what
could be installed.
"""

import os
import zlib
from collections.abc import Iterable, Sequence

from partialroot.model import Supplier
from partialroot.paths import RootPath
from partialroot.source import memory
from partialroot.source.memory import Page
from partialroot.source.packages.base import Packages
from partialroot.source.tree import Tree

MOST_ASKED = 10_000
"""To remember more paths than these takes longer than to ask again."""

_KIND = memory.kind("supplier", Supplier._fields)
_MISSING = memory.kind("supplier of what is missing")
_NOBODY = ()


def suppliers(tree: Tree, packages: Packages, paths: Sequence[RootPath]) -> dict[RootPath, Supplier]:
    """Return who supplied each of ``paths``, without those that no package has."""
    if not packages.changing:
        return {}
    if len(paths) > MOST_ASKED:
        return _ask(packages, paths)
    state = _state(tree, packages.changing)
    known = {path: tree.memory.get(*_key(tree, path), state) for path in paths}
    unknown = [path for path in paths if known[path] is None]
    if unknown:
        found = _ask(packages, unknown)
        for path in unknown:
            known[path] = tuple(found.get(path, _NOBODY))
            tree.memory.put(*_key(tree, path), state, known[path])
    return {path: Supplier(*supplier) for path, supplier in known.items() if supplier}


def supplier_of_missing(tree: Tree, packages: Packages, name: str) -> str | None:
    """Return the package that would supply a missing program, path, shared library or package."""
    if not packages.changing:
        return packages.supplier(name)
    state = _state(tree, (*packages.changing, *packages.offering))
    page, name = (_MISSING, tree.root), str(name)  # no path: marshal knows plain texts only
    known: tuple[str, ...] | None = tree.memory.get(page, name, state)
    if known is None:
        found = packages.supplier(name)
        known = () if found is None else (found,)
        tree.memory.put(page, str(name), state, known)  # a RootPath cannot be written down
    return known[0] if known else None


def _ask(packages: Packages, paths: Sequence[RootPath]) -> dict[RootPath, Supplier]:
    owners = packages.owners(paths)
    versions = {owner: packages.version(owner) for owner in set(owners.values())}
    known = {owner: _supplied_by(owner, *(version or ("", ""))) for owner, version in versions.items()}
    return {path: known[owner] for path, owner in owners.items()}


def _supplied_by(*words: str) -> Supplier:
    """Return a supplier of words as a receipt can hold them: a damaged database may have a NUL in them."""
    return Supplier(*(word.partition("\0")[0] for word in words))


def _state(tree: Tree, paths: Iterable[RootPath]) -> str:
    """Return what changes whenever one of the files does, or what is in one of the directories."""
    nodes = (tree.resolve(path).node for path in paths)
    return " ".join(
        str(node and (node.dev, node.ino, node.size, node.mtime_ns, node.ctime_ns)) for node in nodes
    )


def _key(tree: Tree, path: RootPath) -> tuple[Page, str]:
    """Return the page and key of a path: what is in one directory is asked for together."""
    place = tree.host(path)
    return (_KIND, zlib.crc32(os.fsencode(os.path.dirname(place)))), place
