"""What a closure says, and how it is put together."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from partialroot.closure import ldcache
from partialroot.closure.files import Found
from partialroot.errors import Missing
from partialroot.nodes import Reason
from partialroot.paths import ROOT, RootPath


class Object(NamedTuple):
    """A file the closure leads to, as first met: ``path`` is its name there, ``real`` the canonical path.

    ``needed_by`` is a path of the zone or a place in a profile. A ``variant`` is not what the linker takes on
    this machine: it is for another processor, or another name of a file that is taken.
    """

    path: str
    real: RootPath
    needed_by: str
    rule: str
    variant: bool = False


class Closure(NamedTuple):
    """All that is needed, by canonical path, and why.

    The first reason of every path leads, step by step, to a place in a profile. ``cached`` are the libraries
    that the linker finds only if the zone has an ``/etc/ld.so.cache`` with them.
    """

    reasons: Mapping[RootPath, tuple[Reason, ...]]
    objects: tuple[Object, ...]
    missing: tuple[Missing, ...]
    cached: tuple[ldcache.Library, ...]
    warnings: tuple[str, ...]


class Collector:
    """A closure while it grows."""

    def __init__(self, supplier: Callable[[str], str | None]) -> None:
        self._supplier = supplier
        self._reasons: dict[RootPath, dict[Reason, None]] = {}
        self._objects: dict[RootPath, Object] = {}
        self._missing: dict[tuple[str, str], Missing] = {}
        self._perhaps: set[tuple[str, str]] = set()
        self._cached: dict[ldcache.Library, None] = {}
        self._warnings: list[str] = []

    def __contains__(self, path: RootPath) -> bool:
        return path in self._reasons

    def add(self, found: Found, rule: str, reason: Reason, *, variant: bool = False) -> None:
        """Add a file with one more reason, and the symlinks and directories that its name passes."""
        self._reasons.setdefault(found.real, {})[reason] = None
        known = self._objects.get(found.real)
        if known is None or (known.variant and not variant):
            self._objects[found.real] = Object(found.name, found.real, reason.origin, rule, variant)
        for link in found.links:
            self._reasons.setdefault(link, {Reason("symlink", found.real): None})
        for directory in found.crossed:
            if directory != ROOT:
                self._reasons.setdefault(directory, {reason: None})

    def cache(self, entry: ldcache.Library) -> None:
        """Note that the zone's linker needs a cache with this entry."""
        self._cached[entry] = None

    def miss(
        self, name: str, needed_by: str, severity: str, remark: str = "", *, perhaps: bool = False
    ) -> None:
        """Note that something is not there; said before as an error, it stays one.

        ``perhaps`` if that is no lack when a file of that name is in the zone for another reason.
        """
        if perhaps:
            self._perhaps.add((name, needed_by))
        known = self._missing.get((name, needed_by))
        if known is None or known.severity != "error":
            package = None if remark else self._supplier(name)
            self._missing[name, needed_by] = Missing(name + remark, needed_by, severity, package)

    def warn(self, text: str) -> None:
        """Add a warning."""
        self._warnings.append(text)

    def closure(self) -> Closure:
        """Return all of it."""
        names = {path.name for path in self._reasons}
        missing = (
            one for key, one in self._missing.items() if not (key in self._perhaps and key[0] in names)
        )
        return Closure(
            {path: tuple(reasons) for path, reasons in self._reasons.items()},
            tuple(self._objects.values()),
            tuple(missing),
            tuple(self._cached),
            tuple(self._warnings),
        )
