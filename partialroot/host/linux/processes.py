"""Who lives in a zone, and who has what mounted: read from /proc, which shows only what we may see.

A process of another user is skipped where we are not root; one that ends meanwhile is not there.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from partialroot.host.linux.mountinfo import escape, parse, read, read_text
from partialroot.host.process import Process


def zone_processes(root: Path) -> tuple[Process, ...]:
    """Return the processes whose root directory is ``root`` or below it, and who shares a namespace with one.

    Directories are compared by device and inode: from outside, a path means nothing in another mount
    namespace. Raises OSError if ``root`` is not there.
    """
    return Living().inside(root)


class Living:
    """The processes of this moment by their root directories: for who asks of many zones."""

    def __init__(self) -> None:
        self._pids = list(_pids())
        self._below: dict[tuple[int, int], set[int]] = {}
        ours = _inode("/")
        for pid in self._pids:
            for inode in _directories(f"/proc/{pid}/root/.", ours):
                self._below.setdefault(inode, set()).add(pid)

    def inside(self, root: Path) -> tuple[Process, ...]:
        """Return what :func:`zone_processes` does."""
        found = self._below.get(_inode(str(root)), set())
        if not found:
            return ()
        spaces = {_inode_or_none(f"/proc/{pid}/ns/mnt") for pid in found}
        spaces -= {None, _inode("/proc/self/ns/mnt")}
        others = {pid for pid in self._pids if spaces and _inode_or_none(f"/proc/{pid}/ns/mnt") in spaces}
        return tuple(Process(pid, _command(pid)) for pid in sorted(found | others))


def other_mounts(path: Path) -> tuple[int, ...]:
    """Return the mount namespaces (this one too), each by one process, where ``path`` is mounted somewhere.

    What is below it counts too. Empty means that no mount we may see shows any of it: it can be deleted.
    Only mounts *of* the path count, wherever they are mounted; not mounts *at* points below it.
    """
    device, inside = read().inside(path)
    return tuple(pid for pid, text in _namespaces() if _shows(text, device, inside))


def _shows(text: str, device: str, inside: str) -> bool:
    """Whether a mountinfo's text shows a path of a file system, or something below it."""
    if f" {escape(inside)}" not in text:  # the usual case, without parsing thousands of lines
        return False
    return any(mount.dev == device and _is_below(mount.root, inside) for mount in parse(text))


def _is_below(path: str, top: str) -> bool:
    return path == top or path.startswith(top.rstrip("/") + "/")


def _namespaces() -> Iterator[tuple[int, str]]:
    """Yield a process of each mount namespace, and the text of its mountinfo."""
    seen: set[tuple[int, int] | None] = {None}
    for pid in _pids():
        space = _inode_or_none(f"/proc/{pid}/ns/mnt")
        if space in seen:
            continue
        try:
            text = read_text(pid)
        except OSError:  # gone meanwhile: another of its namespace will do
            continue
        seen.add(space)
        yield pid, text


def _pids() -> Iterator[int]:
    """Yield the numbers of all processes."""
    return (int(name) for name in os.listdir("/proc") if name.isdecimal())


def _directories(path: str, ours: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Yield a directory and those above it; a daemon may have gone into a chroot.

    Seen from outside, a process's root has its ``..``. Most processes' root is ours: nothing is above it.
    """
    before, seen = None, _inode_or_none(path)
    while seen not in (None, before):
        yield seen
        if seen == ours:
            return
        path = f"{path}/.."
        before, seen = seen, _inode_or_none(path)


def _inode(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _inode_or_none(path: str) -> tuple[int, int] | None:
    """Return device and inode; None if it is gone or not ours to see."""
    try:
        return _inode(path)
    except OSError:
        return None


def _command(pid: int) -> str:
    """Return a process's command line, or its name in brackets where it has none."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        if words != [b""]:
            return os.fsdecode(b" ".join(words))
        return f"[{os.fsdecode(Path(f'/proc/{pid}/comm').read_bytes()).rstrip()}]"
    except OSError:
        return "[gone]"
