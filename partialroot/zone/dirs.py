"""Descriptors of directories: of one by its name, of many below one; reached without following a symlink."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from partialroot.zone.fs import DIRECTORY


@contextmanager
def opened(name: str, at: int | None = None) -> Iterator[int]:
    """Hold a directory open, by its name below an open one; OSError if it is not one."""
    descriptor = os.open(name, DIRECTORY, dir_fd=at)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


class Dirs:
    """Descriptors of the directories below an open one, opened component by component, never by a link.

    Keys are paths inside a root (``/usr/bin``); ``""`` and ``/`` are the top itself. A descriptor stays
    open at least until ``limit`` others were asked for.
    """

    def __init__(self, top: int, limit: int = 128) -> None:
        self.top = top
        self._limit = limit
        self._open: dict[str, int] = {}

    def __enter__(self) -> "Dirs":
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()

    def fd(self, path: str) -> int:
        """Return the descriptor of the directory at ``path``; OSError if it is not one."""
        found = self._open.get(path)
        return self._descend(path) if found is None else found

    def _descend(self, path: str) -> int:
        above, missing = path.rstrip("/"), []
        while above and above not in self._open:
            above, _, name = above.rpartition("/")
            missing.append(name)
        at = self._open.get(above, self.top)
        for name in reversed(missing):
            above = f"{above}/{name}"
            at = self._keep(above, os.open(name, DIRECTORY, dir_fd=at))
        return at

    def _keep(self, path: str, descriptor: int) -> int:
        if len(self._open) >= self._limit:
            os.close(self._open.pop(next(iter(self._open))))
        self._open[path] = descriptor
        return descriptor
