"""From the words of a command line to what those programs need at run time."""

import os
from collections.abc import Sequence
from functools import cache

from partialroot.closure import Closure, Wanted, closure
from partialroot.nodes import Item, Reason
from partialroot.paths import RootPath
from partialroot.pipeline.opening import opened, packages_of, tree_of
from partialroot.source.programs import find_program
from partialroot.source.tree import Tree

_ASKED = Reason("wanted", "command line")
# What programs look up by getpwnam(3), getgrnam(3), getaddrinfo(3) and getservbyname(3).
_DATABASES = ("passwd", "group", "hosts", "services")


def find_closure(store: str, source: str, words: Sequence[str], *, modules: bool) -> Closure:
    """Return what the named programs need at run time; those that do not exist are in its ``missing``.

    With ``modules`` also what they load later: dlopen notes, name services, and for programs that have a
    PAM stack of their name, its modules. ``store`` and ``source`` are directories of the host.
    """
    with opened(store, source) as seen:
        return _closure(tree_of(store, seen), words, modules)


def _closure(tree: Tree, words: Sequence[str], modules: bool) -> Closure:
    packages = cache(lambda: packages_of(tree))

    def supplier(name: str) -> str | None:
        from partialroot.source.packages.suppliers import supplier_of_missing  # mostly nothing is

        return supplier_of_missing(tree, packages(), name)

    paths = [_program_path(tree, word) for word in words]
    return closure(
        tree,
        [Wanted(path, _ASKED) for path in paths],
        nss=[Item(database, _ASKED.origin) for database in _DATABASES] if modules else (),
        pam=[Item(path.name, _ASKED.origin) for path in paths if modules and _has_stack(tree, path.name)],
        notes=modules,
        supplier=supplier,
    )


def _program_path(tree: Tree, word: str) -> RootPath:
    """Return the path a word means: a path, or a program on the standard path."""
    if "/" in word or not word:
        return RootPath.parse(os.path.abspath(word) if tree.root == "/" else word)
    return find_program(tree, word) or RootPath.parse(f"/{word}")


def _has_stack(tree: Tree, service: str) -> bool:
    """Whether PAM knows a service: by a file of its own, or (illumos) in the one of all, with ``other``."""
    files = (RootPath("/etc/pam.d") / service, RootPath("/etc/pam.conf"))
    return any(tree.resolve(file).node is not None for file in files)
