"""What is mounted where, from the text of ``/etc/mnttab`` (mnttab(5)).

The only way to see a loopback mount: stat(2) and statvfs(2) show the file system below it (zones facts 4.1).
In a global zone SMF mounts the C library for the machine's CPU over /lib/libc.so.1 (fs-root): who copies or
links that path gets the variant.
"""

import os
from collections.abc import Iterable
from typing import NamedTuple

from partialroot.errors import SourceError
from partialroot.paths import RootPath

MNTTAB = "/etc/mnttab"
LOFS = "lofs"


class Mount(NamedTuple):
    """One mount: what, where, of which type, and how."""

    special: str
    point: str
    fstype: str
    options: tuple[str, ...]


class MountTable(tuple[Mount, ...]):
    """All mounts, in the order they were made."""

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


def covered(mounts: Iterable[Mount], source: str = "/") -> dict[RootPath, str]:
    """Return the paths of a source that a lofs covers, and what is shown there instead.

    What is read there, and below it when it is a directory, is not the source's own.
    """
    top = source.rstrip("/")
    return {
        RootPath.parse(mount.point[len(top) :], where=mount.point): mount.special
        for mount in mounts
        if mount.fstype == LOFS and mount.point.startswith(f"{top}/")
    }


def own_view(source: str, at: str) -> tuple[str, ...]:
    """Return the command that shows at ``at`` a source's own files, without what is mounted in it."""
    return ("/usr/sbin/mount", "-F", LOFS, "-o", "ro,nosub", source, at)
