"""Which build of which package supplied a file: asked of the database once, then remembered.

To ask dpkg takes 0.1 s, as long as all else of a small populate. What it said holds until one of the files
changes that change with every installation.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from partialroot.model import Supplier
from partialroot.paths import RootPath
from partialroot.source.memory import Memory
from partialroot.source.packages.base import Packages
from partialroot.source.tree import Tree

if TYPE_CHECKING:
    import sqlite3

MOST_ASKED = 10_000
"""To remember more paths than these takes longer than to ask again."""
MOST_REMEMBERED = 100_000

_LOOK = "SELECT supplier FROM supplier WHERE path = ? AND state = ?"
_REMEMBER = "INSERT OR REPLACE INTO supplier (path, state, supplier) VALUES (?, ?, ?)"
_FORGET = "DELETE FROM supplier WHERE number <= (SELECT max(number) FROM supplier) - ?"


def suppliers(
    tree: Tree, packages: Packages, paths: Sequence[RootPath], memory: "SupplierMemory"
) -> dict[RootPath, Supplier]:
    """Return who supplied each of ``paths``, without those that no package has."""
    if not packages.changing:
        return {}
    if len(paths) > MOST_ASKED:
        return _ask(packages, paths)
    state = _state(tree, packages)
    known = memory.get(tree, state, paths)
    unknown = [path for path in paths if path not in known]
    if unknown:
        found = _ask(packages, unknown)
        fresh = {path: found.get(path) for path in unknown}
        memory.put(tree, state, fresh)
        known |= fresh
    return {path: supplier for path, supplier in known.items() if supplier is not None}


def _ask(packages: Packages, paths: Sequence[RootPath]) -> dict[RootPath, Supplier]:
    owners = packages.owners(paths)
    versions = {owner: packages.version(owner) for owner in set(owners.values())}
    return {path: Supplier(owner, *(versions[owner] or ("", ""))) for path, owner in owners.items()}


def _state(tree: Tree, packages: Packages) -> str:
    """Return what changes whenever a package does."""
    nodes = (tree.resolve(path).node for path in packages.changing)
    return " ".join(
        str(node and (node.dev, node.ino, node.size, node.mtime_ns, node.ctime_ns)) for node in nodes
    )


class SupplierMemory(Memory):
    """What databases said before; ``state`` is that of the database, of which any change makes all void."""

    schema = (
        "CREATE TABLE IF NOT EXISTS supplier"
        " (number INTEGER PRIMARY KEY, path BLOB UNIQUE, state TEXT, supplier TEXT)"
    )

    def get(self, tree: Tree, state: str, paths: Iterable[RootPath]) -> dict[RootPath, Supplier | None]:
        """Return what is remembered, None for a path that no package has."""
        found: dict[RootPath, Supplier | None] = {}

        def look(database: "sqlite3.Connection") -> None:
            for path in paths:
                row = database.execute(_LOOK, (_key(tree, path), state)).fetchone()
                if row is not None:
                    found[path] = _supplier(row[0])

        return found if self.with_database(look) else {}

    def put(self, tree: Tree, state: str, known: Mapping[RootPath, Supplier | None]) -> None:
        """Remember what the database says."""
        rows = [(_key(tree, path), state, json.dumps(supplier)) for path, supplier in known.items()]

        def remember(database: "sqlite3.Connection") -> None:
            database.executemany(_REMEMBER, rows)
            database.execute(_FORGET, (MOST_REMEMBERED,))
            database.commit()

        self.with_database(remember)


def _key(tree: Tree, path: RootPath) -> bytes:
    return os.fsencode(tree.host(path))


def _supplier(text: str) -> Supplier | None:
    """Make a supplier of a row; ValueError or TypeError when that is not what we wrote."""
    row = json.loads(text)
    return None if row is None else Supplier(*map(str, row))
