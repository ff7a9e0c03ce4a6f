"""What is mounted where, from the text of ``/etc/mnttab`` (mnttab(5)).

The only way to see a loopback mount: stat(2) and statvfs(2) show the file system below it (zones facts 4.1).
"""

import os
from typing import NamedTuple

from partialroot.errors import PartialRootError

MNTTAB = "/etc/mnttab"


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
    """Return the mounts in the text of an mnttab; PartialRootError for what is no line of one."""
    return MountTable(_mount(line) for line in text.split("\n") if line)


def read() -> MountTable:
    """Return the mounts of this system."""
    with open(MNTTAB, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        return parse(file.read())


def _mount(line: str) -> Mount:
    fields = line.split("\t")
    if len(fields) < 4:
        raise PartialRootError(f"cannot be read: {line[:200]!r}", path=MNTTAB)
    special, point, fstype, options = fields[:4]
    return Mount(special, point, fstype, tuple(options.split(",")))
