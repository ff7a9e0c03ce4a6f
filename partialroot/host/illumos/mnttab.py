"""What is mounted where, from the text of ``/etc/mnttab`` (mnttab(5)).

The only way to see a loopback mount: stat(2) and statvfs(2) show the file system below it (zones facts 4.1).
In a global zone SMF mounts the C library for the machine's CPU over /lib/libc.so.1 (fs-root): who copies or
links that path gets the variant.
"""

import os
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from partialroot.errors import SourceError

MNTTAB = "/etc/mnttab"
LOFS = "lofs"


class Mount(NamedTuple):
    """One mount: what, where, of which type, and how."""

    special: str
    point: str
    fstype: str
    options: tuple[str, ...]


_NONE = Mount("", "/", "", ())


class MountTable(tuple[Mount, ...]):
    """All mounts, in the order they were made: of two that hold a path, the later one hides the other."""

    is_rooted = True
    """Whether ``/`` is a mount: the kernel tells of all mounts of the system, also to who is in a chroot."""

    @cached_property
    def points(self) -> frozenset[str]:
        """Every mount point, also hidden ones."""
        return frozenset(mount.point for mount in self)

    def holding(self, path: str | os.PathLike[str]) -> Mount:
        """Return the mount that holds a path; the path is absolute, normal and free of symlinks."""
        return next(filter(_holds(os.fspath(path)), reversed(self)), _NONE)

    def beneath(self, path: str | os.PathLike[str]) -> Mount:
        """Return the mount that would hold a path were it not for loopback mounts."""
        here = _holds(os.fspath(path))
        return next((mount for mount in reversed(self) if mount.fstype != LOFS and here(mount)), _NONE)

    def at(self, path: str | os.PathLike[str]) -> Mount | None:
        """Return the mount that is seen at exactly this path, None if it is no mount point."""
        return next((mount for mount in reversed(self) if mount.point == os.fspath(path)), None)

    def below(self, path: str | os.PathLike[str]) -> tuple[Mount, ...]:
        """Return the mounts strictly below a path, in the order in which they can be unmounted.

        As the kernel and zoneadm count them: by the text of the path (zones facts 3.1). What ZFS mounts by
        itself in ``.zfs`` is left out, as it goes by itself.
        """
        inside = f"{os.fspath(path).rstrip('/')}/"
        return tuple(
            mount
            for mount in reversed(self)
            if mount.point.startswith(inside)
            and mount.point != inside
            and not mount.point.startswith(f"{inside}.zfs/")
        )


def parse(text: str) -> MountTable:
    """Return the mounts in the text of an mnttab; SourceError for what is no line of one."""
    return MountTable(_mount(line) for line in text.split("\n") if line)


def read() -> MountTable:
    """Return the mounts of this system."""
    with open(MNTTAB, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        return parse(file.read())


def _mount(line: str) -> Mount:
    fields = line.split("\t")
    if len(fields) != 5 or not fields[1].startswith("/") or not fields[4].isdecimal():
        raise SourceError(f"a line is no mount: {line[:80]!r}", path=MNTTAB)
    special, point, fstype, options, _ = fields
    return Mount(special, point, fstype, tuple(options.split(",")))


def _holds(path: str) -> Callable[[Mount], bool]:
    """Return whether a mount's point is a path, or above it."""
    tops = {"/", path, *map(str, Path(path).parents)}
    return lambda mount: mount.point in tops


def covered(mounts: MountTable, source: str, paths: Iterable[str]) -> tuple[str, ...]:
    """Return those of the paths (on the host) that a loopback mount shows: they are not the source's own.

    A source that is one itself is taken for what it shows: who names it has chosen it.
    """
    lofs = {mount.point for mount in mounts if mount.fstype == LOFS and _is_inside(mount.point, source)}
    if not lofs:
        return ()
    tops = tuple(f"{point}/" for point in lofs)
    perhaps = (path for path in paths if path in lofs or path.startswith(tops))
    return tuple(path for path in perhaps if mounts.holding(path).fstype == LOFS)


def hidden_files(
    mounts: MountTable, source: str, is_file: Callable[[str], bool] = os.path.isfile
) -> tuple[str, ...]:
    """Return the files of a source's own file system that a loopback mount hides.

    A directory that is hidden is no file of the source that anybody could mean.
    """
    own = mounts.holding(source)
    points = dict.fromkeys(mount.point for mount in mounts if mount.fstype == LOFS)
    inside = (point for point in points if _is_inside(point, source) and mounts.beneath(point) is own)
    return tuple(point for point in inside if mounts.holding(point).fstype == LOFS and is_file(point))


def _is_inside(point: str, source: str) -> bool:
    return point.startswith(f"{source.rstrip('/')}/") and point != source


def own_view(file_system: str, at: str) -> tuple[str, ...]:
    """Return the command that shows at ``at`` a file system's own files, without what is mounted in it.

    nosub shows what submounts cover (4.2). link(2) takes the file below, as its target is no lofs (4.4).
    """
    return ("/usr/sbin/mount", "-F", LOFS, "-o", "ro,nosub,nodevices,nosetuid", file_system, at)


def is_shown(mounts: MountTable, directory: Path) -> bool:
    """Whether a loopback mount shows a directory of ours, or one right below it.

    What was mounted is told by inode: its name may lead through a symlink that was flipped since, and
    stat(2) passes through to what is shown (4.1).
    """
    ours = {_inode(place) for place in (directory, *directory.glob("*/"))} - {None}
    points = (mount.point for mount in mounts if mount.fstype == LOFS)
    return any(_inode(Path(point)) in ours for point in points)


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def why_unprotected(mount: Mount | None) -> str:
    """Return why a mount is not safe from the zone that sees it; "" if it is (4.2).

    statvfs(2) cannot tell: it shows the flags of the file system below.
    """
    options = set(mount.options) if mount else set()
    if "ro" not in options:
        return "mounted writable"
    return "" if options & {"nodevices", "nosuid"} else "mounted with devices"
