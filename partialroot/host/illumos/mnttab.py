"""What is mounted on an illumos system, by the text of /etc/mnttab (mnttab(5)); and what hides its own files.

lofs hands through the inode of what it shows, so that stat(2) does not tell; mnttab does. In a global zone
SMF mounts the C library for the machine's CPU over /lib/libc.so.1 (fs-root): who copies or links that path
gets the variant. A view of the root without the mounts in it has the system's own.
"""

from collections.abc import Iterable
from typing import NamedTuple

from partialroot.errors import SourceError
from partialroot.paths import RootPath

LOFS = "lofs"


class Mount(NamedTuple):
    """A mounted file system; ``point`` is a path of the host, ``time`` in seconds."""

    special: str
    point: str
    type: str
    options: tuple[str, ...]
    time: int


def parse(text: str, where: str = "/etc/mnttab") -> tuple[Mount, ...]:
    """Return the mounts in their order, the later ones on top. Raises SourceError, naming ``where``."""
    return tuple(_mount(line, where) for line in text.split("\n") if line)


def _mount(line: str, where: str) -> Mount:
    fields = line.split("\t")
    if len(fields) != 5 or not fields[1].startswith("/") or not fields[4].isdecimal():
        raise SourceError(f"a line is no mount: {line[:80]!r}", path=where)
    special, point, kind, options, time = fields
    return Mount(special, point, kind, tuple(options.split(",")), int(time))


def covered(mounts: Iterable[Mount], source: str = "/") -> dict[RootPath, str]:
    """Return the paths of a source that a lofs covers, and what is shown there instead.

    What is read there, and below it when it is a directory, is not the source's own.
    """
    top = source.rstrip("/")
    return {
        RootPath.parse(mount.point[len(top) :], where=mount.point): mount.special
        for mount in mounts
        if mount.type == LOFS and mount.point.startswith(f"{top}/")
    }


def own_view(source: str, at: str) -> tuple[str, ...]:
    """Return the command that shows at ``at`` a source's own files, without what is mounted in it."""
    return ("/usr/sbin/mount", "-F", LOFS, "-o", "ro,nosub", source, at)
