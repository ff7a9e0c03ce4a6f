"""What a global zone has alone: the kernel's files, and those that packages or brands mark as its own."""

import re
from collections.abc import Iterable
from functools import cached_property

from partialroot.paths import RootPath
from partialroot.source.tree import Tree

_KERNEL = re.compile(
    r"/(boot|devices|kernel|platform|system/boot|usr/kernel)(/.*)?"
    r"|/(dev|proc|system/contract|system/object|etc/svc/volatile)/.*",
    re.DOTALL,
)
BRAND = RootPath("/usr/lib/brand/tribblix-common")
_LIST = re.compile(r"(?P<kind>[a-z]+)\.(ignorelist|blacklist)")
_LIMIT = 1 << 20


def of_the_kernel(path: RootPath) -> bool:
    """Return whether ``path`` belongs to the kernel or the machine, or is hidden by what zones mount there.

    These are the directories that Tribblix leaves out of its zones, and the mount points of the brands'
    platform.xml: themselves, they must be there.
    """
    return _KERNEL.fullmatch(path) is not None


def lines(text: str) -> Iterable[str]:
    """Return the lines of a list that say something; some have blanks at their end."""
    return filter(None, map(str.strip, text.split("\n")))


class IgnoreLists:
    """Tribblix' lists of what its zones must not have; older releases name them differently.

    They come from the marks in illumos' IPS manifests, which a Tribblix system does not have.
    """

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    @cached_property
    def paths(self) -> frozenset[str]:
        """The paths that no zone gets."""
        return frozenset("/" + line.lstrip("/") for kind, line in self._all if kind != "pkg")

    @cached_property
    def packages(self) -> frozenset[str]:
        """The packages that no zone gets."""
        return frozenset(line for kind, line in self._all if kind == "pkg")

    @cached_property
    def _all(self) -> tuple[tuple[str, str], ...]:
        """Return (kind of list, line) of all lists."""
        found = [
            (one["kind"], BRAND / one[0]) for one in map(_LIST.fullmatch, self._tree.names(BRAND)) if one
        ]
        return tuple(
            (kind, line)
            for kind, path in found
            for line in lines(self._tree.read(path, _LIMIT).decode("utf-8", "surrogateescape"))
        )
