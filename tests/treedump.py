"""A whole tree as lines of text: the tests' own judge of what is on disk.

It shares no code with partialroot on purpose, so that a blind spot of the one is not one of the other.
A line holds all that a populate must keep and a source must not lose::

    /usr/bin/su file 4755 0:0 size=72000 mtime=1679585634000000000 sha256=12ab...
    /usr/bin/awk symlink 0777 0:0 size=21 mtime=... -> /etc/alternatives/awk

Further words, where there is something to say: ``xattr:NAME=HEX`` (ACLs and file capabilities are
xattrs), ``rdev=MAJOR:MINOR``, ``links=[every name of the inode inside the dumped tree]``. Never told:
ctime, atime, link counts, and the sizes of directories, which differ by file system.
"""

import hashlib
import os
import stat
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

TYPES = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "dir",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
}

Found = tuple[str, str, os.stat_result]
"""The path below the top (``/`` for itself), the path on the host, and its lstat."""


def dump(
    path: Path,
    *,
    skip: Iterable[str | Path] = (),
    times: bool = True,
    contents: bool = True,
    cross: bool = True,
) -> list[str]:
    """Return the tree at ``path`` as lines sorted by path, which is written relative to the tree: ``/etc``.

    ``skip`` names subtrees to leave out, as the lines would (``/var/store``) or as host paths below
    ``path``; the directory that holds one then shows no mtime, since entries came and went in it.
    ``times`` False leaves all mtimes out, ``contents`` False the SHA-256s, ``cross`` False what is
    below a mount point (which itself is shown).
    """
    top = os.path.realpath(path)
    skipped = {_below(top, str(one)) for one in skip}
    mounts = frozenset() if cross else _mount_points()
    found = list(_walk(top, "/", skipped, mounts))
    groups = _link_groups(found)
    unsteady = {os.path.dirname(one) for one in skipped}
    return [
        " ".join(_words(one, groups, times=times and one[0] not in unsteady, contents=contents))
        for one in sorted(found, key=lambda one: one[0])
    ]


def differences(before: Iterable[str], after: Iterable[str]) -> list[str]:
    """Return what changed between two dumps, ``-`` lines and ``+`` lines beside each other; [] if nothing."""
    old, new = set(before), set(after)
    changed = [(line.split(" ")[0], "-" + line) for line in old - new]
    changed += [(line.split(" ")[0], "+" + line) for line in new - old]
    return [line for _, line in sorted(changed, key=lambda one: (one[0], one[1][0] == "+"))]


def _below(top: str, path: str) -> str:
    """Return a host path below ``top`` as the dump writes it; one written that way stays."""
    return path[len(top) :] if path.startswith(top + "/") else path


def _mount_points() -> frozenset[str]:
    """Return where the kernel says something is mounted (octal escapes undone)."""
    with open("/proc/self/mountinfo", "rb") as lines:
        fields = [line.split()[4] for line in lines]
    return frozenset(os.fsdecode(one.decode("unicode_escape").encode("latin-1")) for one in fields)


def _walk(host: str, name: str, skipped: Collection[str], mounts: Collection[str]) -> Iterator[Found]:
    """Yield ``host`` and all below it; symlinks are never followed."""
    status = os.lstat(host)
    yield name, host, status
    if not stat.S_ISDIR(status.st_mode) or (host in mounts and name != "/"):
        return
    with os.scandir(host) as entries:
        names = [entry.name for entry in entries]
    for child in names:
        below = f"{name.rstrip('/')}/{child}"
        if below not in skipped:
            yield from _walk(f"{host.rstrip('/')}/{child}", below, skipped, mounts)


def _link_groups(found: Iterable[Found]) -> dict[tuple[int, int], list[str]]:
    """Return the sorted names of each inode that is no directory."""
    groups: dict[tuple[int, int], list[str]] = {}
    for name, _, status in found:
        if not stat.S_ISDIR(status.st_mode):
            groups.setdefault((status.st_dev, status.st_ino), []).append(name)
    return {inode: sorted(names) for inode, names in groups.items()}


def _words(
    found: Found, groups: dict[tuple[int, int], list[str]], *, times: bool, contents: bool
) -> Iterator[str]:
    """Yield the words of one line."""
    name, host, status = found
    kind = TYPES[stat.S_IFMT(status.st_mode)]
    yield _plain(name)
    yield kind
    yield f"{stat.S_IMODE(status.st_mode):04o}"
    yield f"{status.st_uid}:{status.st_gid}"
    if kind in ("file", "symlink"):
        yield f"size={status.st_size}"
    if times:
        yield f"mtime={status.st_mtime_ns}"
    if kind == "symlink":
        yield f"-> {_plain(os.readlink(host))}"
    if kind == "file" and contents:
        yield f"sha256={_sha256(host)}"
    if kind in ("char", "block"):
        yield f"rdev={os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    yield from _xattrs(host)
    names = groups.get((status.st_dev, status.st_ino), [])
    if len(names) > 1:
        yield f"links=[{','.join(map(_plain, names))}]"


def _plain(name: str) -> str:
    """Return a name on one line without blanks, whatever bytes it has."""
    return ascii(name)[1:-1].replace(" ", "\\x20")


def _sha256(host: str) -> str:
    """Return the SHA-256 of a file; ``unreadable`` if we may not read it."""
    try:
        descriptor = os.open(host, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except PermissionError:
        return "unreadable"
    with open(descriptor, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _xattrs(host: str) -> Iterator[str]:
    """Yield a word for each extended attribute; none where the file system has no such thing."""
    try:
        names = sorted(os.listxattr(host, follow_symlinks=False))
    except OSError:
        return
    for name in names:
        value = os.getxattr(host, name, follow_symlinks=False)
        yield f"xattr:{_plain(name)}={value.hex()}"
