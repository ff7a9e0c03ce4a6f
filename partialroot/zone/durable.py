"""Durability for several files or places at once: one sync of a file system has all written there."""

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from partialroot.zone import fs


def save_all(at: int, files: Mapping[str, bytes], sync: Callable[[], None]) -> None:
    """Write files of our own, each in full or not at all; ``sync`` has the content of all on the disk."""
    beside = {name: fs.create_beside(at, name, data) for name, data in files.items()}
    sync()
    for name, new in beside.items():
        fs.rename(at, new, at, name)


def sync_names(directories: Iterable[Path], what: str) -> None:
    """Have the names in directories on the disk: one alone, or all of each file system that holds some."""
    systems = by_system(directories)
    is_alone = sum(map(len, systems)) == 1
    for path, *_ in systems:
        _synced(path, what, is_alone=is_alone)


def sync_system(path: Path, what: str) -> None:
    """Have everything of the file system that holds a directory on the disk."""
    _synced(path, what, is_alone=False)


def by_system(directories: Iterable[Path]) -> list[list[Path]]:
    """Return the directories of each file system."""
    systems: dict[int, list[Path]] = {}
    for path in directories:
        systems.setdefault(os.stat(path).st_dev, []).append(path)
    return list(systems.values())


def _synced(path: Path, what: str, *, is_alone: bool) -> None:
    fd = fs.open_directory(path)
    try:
        (fs.sync if is_alone else fs.sync_all)(fd, what)
    finally:
        os.close(fd)
