"""What is mounted where, from the text of ``/proc/PID/mountinfo`` (proc_pid_mountinfo(5)).

Parsing and asking are pure. Paths are text as :func:`os.fsdecode` makes it.
"""

import os
from bisect import bisect_left
from collections.abc import Iterator
from functools import cached_property
from itertools import islice, takewhile
from typing import NamedTuple

from partialroot.errors import PartialRootError


class Mount(NamedTuple):
    """One mount.

    ``root`` is the path inside its file system that is seen at ``point``; ``dev`` is ``major:minor`` of
    that file system. ``options`` are the mount's own (``ro``, ``nodev`` ...), not the file system's.
    ``propagation`` holds ``shared:N``, ``master:N`` and the like; empty means private.
    """

    id: int
    parent: int
    dev: str
    root: str
    point: str
    options: tuple[str, ...]
    propagation: tuple[str, ...]
    fstype: str
    source: str


class MountTable(tuple[Mount, ...]):
    """All mounts of a namespace as one process sees them, in the kernel's order.

    A mount may hide others: those below its point that were there before. What is asked by path is
    answered as the kernel would walk it, so hidden mounts are never found.
    """

    @property
    def is_rooted(self) -> bool:
        """Whether ``/`` is a mount: not so after a chroot into a plain directory."""
        return bool(self._root.dev)

    @cached_property
    def _root(self) -> Mount:
        """The mount at ``/``; one without a ``dev`` where the table has none."""
        orphans = [one for one in self if one.parent not in self._by_id or one.parent == one.id]
        nowhere = orphans[0].parent if orphans else min(self._by_id, default=0) - 1
        unknown = Mount(nowhere, nowhere, "", "/", "/", (), (), "", "")
        return next((mount for mount in orphans if mount.point == "/"), unknown)

    @cached_property
    def _children(self) -> dict[tuple[int, str], Mount]:
        """Each mount by what it is mounted on: the parent's id and the point."""
        return {(mount.parent, mount.point): mount for mount in self if mount.id != mount.parent}

    @cached_property
    def points(self) -> frozenset[str]:
        """Every mount point, also hidden ones."""
        return frozenset(mount.point for mount in self)

    def holding(self, path: str | os.PathLike[str]) -> Mount:
        """Return the mount that holds a path; the path is absolute, normal and free of symlinks."""
        mount = self._top(self._root, "/")
        for prefix in _prefixes(os.fspath(path)):
            if prefix in self.points:
                mount = self._top(mount, prefix)
        return mount

    def at(self, path: str | os.PathLike[str]) -> Mount | None:
        """Return the mount that is seen at exactly this path; None if it is no mount point."""
        mount = self.holding(path)
        return mount if mount.point == os.fspath(path) else None

    def below(self, path: str | os.PathLike[str]) -> tuple[Mount, ...]:
        """Return the mounts at or below a path, in the order in which they can be unmounted."""
        top = os.fspath(path).rstrip("/")
        # Children first; of others the latest first, since it may hide what was there before.
        latest = [
            mount for mount in reversed(self) if mount.point == top or mount.point.startswith(top + "/")
        ]
        return tuple(sorted(latest, key=lambda mount: -self._depth(mount)))

    def points_below(self, path: str | os.PathLike[str]) -> tuple[str, ...]:
        """Return the mount points below a path, also hidden ones, sorted."""
        top = os.fspath(path).rstrip("/") + "/"
        start = bisect_left(self._sorted_points, top)
        below = takewhile(lambda point: point.startswith(top), islice(self._sorted_points, start, None))
        return tuple(below)

    @cached_property
    def _sorted_points(self) -> list[str]:
        return sorted(self.points)

    def inside(self, path: str | os.PathLike[str]) -> tuple[str, str]:
        """Return the file system that holds a path (``major:minor``) and the path's name inside of it."""
        mount = self.holding(path)
        rest = os.fspath(path)[len(mount.point) if mount.point != "/" else 0 :]
        return mount.dev, mount.root.rstrip("/") + rest if rest.strip("/") else mount.root

    def _top(self, mount: Mount, point: str) -> Mount:
        """Return the uppermost of the mounts stacked on ``mount`` at ``point``; itself if there is none."""
        while child := self._children.get((mount.id, point)):
            mount = child
        return mount

    @cached_property
    def _by_id(self) -> dict[int, Mount]:
        """Each mount by its id."""
        return {mount.id: mount for mount in self}

    def _depth(self, mount: Mount) -> int:
        """Return how many mounts lie under this one; bounded: only the kernel's text has no loops."""
        for depth in range(len(self)):
            if mount.parent == mount.id or mount.parent not in self._by_id:
                return depth
            mount = self._by_id[mount.parent]
        return len(self)


def parse(text: str) -> MountTable:
    """Return the mounts in the text of a mountinfo file.

    Raises PartialRootError for what the kernel does not write.
    """
    # Not splitlines(), not split(): only space, tab, newline and backslash are escaped in names.
    mounts = (_mount(line) for line in text.split("\n") if line)
    # Read while mounts change, the kernel's list may tell of one mount twice.
    return MountTable({mount.id: mount for mount in mounts}.values())


def read(process: int | str = "self") -> MountTable:
    """Return the mounts that a process sees. Raises OSError if it is gone or not ours to look at."""
    return parse(read_text(process))


def read_text(process: int | str) -> str:
    """Return the text of a process's mountinfo. Raises OSError."""
    with open(f"/proc/{process}/mountinfo", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        return file.read()


def escape(path: str) -> str:
    """Return a path as the kernel writes it in mountinfo."""
    escapes = {ord(character): f"\\{ord(character):03o}" for character in " \t\n\\"}
    return path.translate(escapes)


def _mount(line: str) -> Mount:
    """Return the mount that one line tells of."""
    try:
        left, right = line.split(" - ", 1)
        number, parent, dev, root, point, options, *propagation = left.split(" ")
        fstype, source, _ = right.split(" ", 2)
        return Mount(
            int(number),
            int(parent),
            dev,
            _unescape(root),
            _unescape(point),
            tuple(options.split(",")),
            tuple(propagation),
            _unescape(fstype),
            _unescape(source),
        )
    except ValueError as error:
        raise PartialRootError(f"mountinfo has a line that cannot be read: {line[:200]!r}") from error


def _unescape(field: str) -> str:
    r"""Undo the kernel's octal escapes (``\040`` is a space). Raises ValueError for other backslashes."""
    if "\\" not in field:
        return field
    first, *rest = field.split("\\")
    return first + "".join(_character(piece[:3]) + piece[3:] for piece in rest)


def _character(digits: str) -> str:
    """Return the character for three octal digits."""
    if len(digits) != 3 or not digits.isdecimal():
        raise ValueError(f"no octal escape: {digits!r}")
    return os.fsdecode(bytes([int(digits, 8)]))


def _prefixes(path: str) -> Iterator[str]:
    """Yield the directories above a path, then the path: /a, /a/b, /a/b/c."""
    end = path.find("/", 1)
    while end > 0:
        yield path[:end]
        end = path.find("/", end + 1)
    yield path
