"""Which system this host runs, and what every stage asks of it, whichever that is.

The modules of the other system are not even imported: they may need what this one's Python lacks.
"""

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # most who ask which system this is ask nothing else
    from pathlib import Path

    from partialroot.host.process import Process
    from partialroot.model import Selection
    from partialroot.plan.facts import HostFacts


def is_illumos() -> bool:
    """Whether this host runs illumos: then its own files may be a source that is alive."""
    return sys.platform == "sunos5"


def zone_processes(root: "Path") -> "tuple[Process, ...]":
    """Return the processes that live in the zone whose root is the directory ``root``."""
    if is_illumos():
        from partialroot.host.illumos import processes

        return processes.zone_processes(root)
    from partialroot.host.linux import processes as of_linux

    return of_linux.zone_processes(root)


def living() -> "Callable[[Path], tuple[Process, ...]]":
    """Return a function like :func:`zone_processes` that tells of this moment: for who asks of many zones."""
    if is_illumos():
        return zone_processes
    from partialroot.host.linux.processes import Living

    return Living().inside


def is_mount_point(directory: "Path") -> bool:
    """Whether something is mounted on a directory; on illumos stat(2) would not show a loopback (4.1)."""
    if is_illumos():
        from partialroot.host.illumos import mnttab

        return mnttab.read().at(directory) is not None
    return os.path.ismount(directory)


def mount_points() -> frozenset[str]:
    """Return where something is mounted, as this process sees it."""
    if is_illumos():
        from partialroot.host.illumos import mnttab

        return mnttab.read().points
    from partialroot.host.linux import mountinfo

    return mountinfo.read().points


def is_shown(directory: "Path") -> bool:
    """Whether a directory, or something below it, is mounted somewhere: then it must not go yet."""
    if is_illumos():
        from partialroot.host.illumos import mnttab

        return mnttab.is_shown(mnttab.read(), directory)
    from partialroot.host.linux import processes

    return bool(processes.other_mounts(directory))


def copy_at_once() -> Callable[[Iterable[str], str], frozenset[str]] | None:
    """Return what copies files with ACLs and extended attributes where Python cannot set those: on illumos.

    It takes absolute paths and a directory to put them below, and returns those that lost something.
    """
    if not is_illumos():
        return None
    from partialroot.host.illumos.copying import copy

    return copy


def why_unprotected(descriptor: int, path: str) -> str:
    """Return why the mount at ``path``, open as ``descriptor``, is not safe from a zone; "" if it is."""
    if is_illumos():
        from partialroot.host.illumos import mnttab

        return mnttab.why_unprotected(mnttab.read().at(path))
    flags, nodev = os.fstatvfs(descriptor).f_flag, getattr(os, "ST_NODEV", 0)
    if not flags & os.ST_RDONLY:
        return "mounted writable"
    return "" if flags & nodev == nodev else "mounted with devices"


def probe(
    selection: "Selection", store: "Path", zonepaths: "Sequence[Path]", *, into_root: bool = False
) -> "HostFacts":
    """Return what this host offers for building a selection (``host.facts.probe``)."""
    if is_illumos():
        from partialroot.host.illumos.facts import probe as probe_illumos

        return probe_illumos(selection, store, zonepaths, into_root=into_root)
    from partialroot.host.linux.facts import probe as probe_linux

    return probe_linux(selection, store, zonepaths, into_root=into_root)
