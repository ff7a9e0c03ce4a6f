"""The only module that changes a file system: small primitives that do one thing or raise OSError.

Names are single components below an open directory; nothing is followed through a symlink. A new file
is made with O_EXCL and gets its owner, mode and times through its descriptor: no inode that may have
another name is ever opened for writing, truncated, or given another mode or owner.

Every effect is announced to :data:`observe` first: tests count them, stop there, or raise ENOSPC.
"""

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from partialroot.errors import ApplyError
from partialroot.host import local

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PASSED = DIRECTORY | getattr(os, "O_PATH", 0)  # searched, not read
SOURCE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
CHUNK = 1 << 30
UNSAVED = ".new"
WITHOUT_OWNER = 0o1777
NOT_EMPTY = (errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY)

observe: Callable[[str, str], None] | None = None
"""Called with the name of each effect and what it is about, before it happens."""


def announce(effect: str, path: str) -> None:
    """Tell :data:`observe` of an effect that another module is about to have (a mount)."""
    if observe is not None:
        observe(effect, path)


def failed(error: OSError, path: str) -> ApplyError:
    """Return what to tell the user when an effect at ``path`` (a path of the host) raised ``error``."""
    hints = {
        "EPERM": "if it is immutable or append-only: chattr -i -a",
        "ENOSPC": "free some bytes or inodes on that file system",
        "EDQUOT": "the quota of the owner is used up",
        "EMLINK": "the file has as many links as its file system allows",
        "EBUSY": "something is mounted there",
    }
    name = errno.errorcode.get(error.errno or 0, type(error).__name__)
    return ApplyError(f"{error.strerror or error} ({name})", path=path, hint=hints.get(name))


# --- directories ------------------------------------------------------------------------------------


def open_directory(path: Path) -> int:
    """Return a descriptor of a directory of the host; a symlink in any component is ELOOP or ENOTDIR."""
    fd = os.open(path, DIRECTORY)
    with suppress(OSError):  # where the kernel says that it came there by this very path (proc_pid_fd(5))
        if os.readlink(f"/proc/self/fd/{fd}") == str(path):
            return fd
    os.close(fd)
    at = os.open("/", _PASSED)
    try:
        for name in path.parts[1:-1]:
            at, above = os.open(name, _PASSED, dir_fd=at), at
            os.close(above)
        return os.open(path.name or "/", DIRECTORY, dir_fd=at)
    finally:
        os.close(at)


def make_directory(at: int, name: str, mode: int = 0o700) -> None:
    """Make a directory, with ``mode`` as far as the umask and its parent's default ACL let it have that."""
    announce("mkdir", name)
    os.mkdir(name, mode, dir_fd=at)


def make_own_directory(at: int, name: str, mode: int = 0o700) -> None:
    """Make a directory of ours with ``mode``, whatever the umask, and without a default ACL of its parent."""
    make_directory(at, name, mode)
    _make_own(at, name, mode)


def make_subvolume(at: int, name: str, mode: int) -> None:
    """Make a directory of ours of which there can be snapshots; OSError where the system has none."""
    from partialroot.host.linux import subvolumes

    announce("subvolume", name)
    subvolumes.create(at, name)
    _make_own(at, name, mode)


def snapshot(source: int, at: int, name: str) -> None:
    """Make a snapshot of an open subvolume; all that was written before is on the disk then."""
    from partialroot.host.linux import subvolumes

    announce("snapshot", name)
    subvolumes.snapshot(source, at, name)


def _make_own(at: int, name: str, mode: int) -> None:
    fd = os.open(name, DIRECTORY, dir_fd=at)
    try:
        for key in {"system.posix_acl_default", "system.posix_acl_access"}.intersection(xattr_names(fd)):
            os.removexattr(fd, key)
        if stat.S_IMODE(os.fstat(fd).st_mode) != mode:
            os.fchmod(fd, mode)
    finally:
        os.close(fd)


# --- new files --------------------------------------------------------------------------------------


def link(source: str, at: int, name: str, source_at: int | None = None) -> None:
    """Make a hard link to ``source``, itself no symlink that is followed."""
    if observe is not None:
        observe("link", name)
    os.link(source, name, src_dir_fd=source_at, dst_dir_fd=at, follow_symlinks=False)


def symlink(target: str, at: int, name: str) -> None:
    """Make a symlink."""
    announce("symlink", name)
    os.symlink(target, name, dir_fd=at)


def create(at: int, name: str, mode: int = 0o600) -> int:
    """Return a descriptor of a new, empty file. Others may open it only where none of them can come."""
    announce("create", name)
    return os.open(name, NEW_FILE, mode, dir_fd=at)


def open_lock(at: int, name: str) -> int:
    """Return a descriptor of a lock file, made if it is not there."""
    announce("lock", name)
    return os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=at)


def clone(source: int, fd: int, name: str) -> None:
    """Share the extents of the open file ``source`` with the new file ``fd`` (a reflink)."""
    from partialroot.host.linux.syscalls import clone_file

    announce("clone", name)
    clone_file(fd, source)


def copy(source: int, fd: int, size: int, name: str) -> None:
    """Copy ``size`` bytes of the open file ``source`` to the new file ``fd``; holes stay holes."""
    if os.fstat(source).st_blocks * 512 < size:
        _copy_sparse(source, fd, size, name)
    else:
        _copy_range(source, fd, 0, size, name)


def _copy_sparse(source: int, fd: int, size: int, name: str) -> None:
    end = 0
    while end < size:
        try:
            start = os.lseek(source, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # no data after ``end``
                raise
            break
        end = min(os.lseek(source, start, os.SEEK_HOLE), size)
        os.lseek(fd, start, os.SEEK_SET)
        _copy_range(source, fd, start, end, name)
    os.ftruncate(fd, size)


def _copy_range(source: int, fd: int, start: int, end: int, name: str) -> None:
    while start < end:
        announce("copy", name)
        sent = os.sendfile(fd, source, start, min(end - start, CHUNK))
        if not sent:
            raise OSError(errno.ESTALE, "became shorter while it was read", name)
        start += sent


def write(fd: int, data: bytes, name: str) -> None:
    """Write all of ``data`` to the new file ``fd``."""
    view = memoryview(data)
    while view:
        announce("write", name)
        view = view[os.write(fd, view) :]


# --- metadata ---------------------------------------------------------------------------------------


class Meta(NamedTuple):
    """What :func:`set_meta` gives an inode. An owner or a time of None stays as it is."""

    mode: int
    owner: tuple[int, int] | None
    mtime_ns: int | None
    xattrs: tuple[tuple[str, bytes], ...] = ()


def set_meta(fd: int, meta: Meta, name: str) -> list[str]:
    """Set owner, mode, xattrs and times, in this order; return the xattrs that could not be kept.

    chown(2) clears the setuid bits and file capabilities, and chmod(2) changes an ACL's mask. Without its
    owner a file keeps no setuid or setgid bit: it would run as somebody it was never meant to.
    """
    announce("meta", name)
    mode, found = meta.mode, os.fstat(fd)
    if meta.owner is None:
        mode &= WITHOUT_OWNER
    elif meta.owner != (found.st_uid, found.st_gid):
        os.fchown(fd, *meta.owner)
        found = os.fstat(fd)
    if mode != found.st_mode & 0o7777:
        os.fchmod(fd, mode)
    lost = [key for key, value in meta.xattrs if not _set_xattr(fd, key, value)]
    if meta.mtime_ns is not None:
        os.utime(fd, ns=(meta.mtime_ns, meta.mtime_ns))
    return lost


def _set_xattr(fd: int, key: str, value: bytes) -> bool:
    """Set one xattr; False where this file system, our rights or (illumos) Python do not allow it."""
    if not hasattr(os, "setxattr"):
        return False
    try:
        os.setxattr(fd, key, value)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EINVAL):
            raise
        return False
    return True


def mend_meta(fd: int, mode: int, uid: int, gid: int, mtime_ns: int, name: str) -> None:
    """Give a directory or a copy what it has not of owner, mode and time: chmod(2) may change an ACL."""
    found = os.fstat(fd)
    is_now = (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, found.st_mtime_ns)
    if is_now == (mode, uid, gid, mtime_ns):
        return
    announce("meta", name)
    if is_now[1:3] != (uid, gid):
        os.fchown(fd, uid, gid)
    if is_now[:3] != (mode, uid, gid):
        os.fchmod(fd, mode)
    os.utime(fd, ns=(mtime_ns, mtime_ns))


def set_link_meta(at: int, name: str, meta: Meta) -> None:
    """Set owner and times of what is at ``name``, a symlink itself: that has no mode of its own."""
    announce("meta", name)
    found = os.stat(name, dir_fd=at, follow_symlinks=False)
    if meta.owner is not None and meta.owner != (found.st_uid, found.st_gid):
        os.chown(name, *meta.owner, dir_fd=at, follow_symlinks=False)
    if meta.mtime_ns is not None:
        os.utime(name, ns=(meta.mtime_ns, meta.mtime_ns), dir_fd=at, follow_symlinks=False)


def xattr_names(fd: int) -> list[str]:
    """Return the names of a file's xattrs; none where the file system, or illumos, has no such thing."""
    if not hasattr(os, "listxattr"):
        return []
    try:
        return os.listxattr(fd)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        return []


# --- names ------------------------------------------------------------------------------------------


def rename(at: int, name: str, to_at: int, to_name: str) -> None:
    """Move one name; what ``to_name`` was before is replaced."""
    announce("rename", to_name)
    os.rename(name, to_name, src_dir_fd=at, dst_dir_fd=to_at)


def move(at: int, name: str, to_at: int, to_name: str) -> None:
    """Move one name to another directory, where there is nothing of that name.

    To get another parent, a directory must be writable itself, for all but root.
    """
    mode = os.geteuid() and os.stat(name, dir_fd=at, follow_symlinks=False).st_mode
    if not stat.S_ISDIR(mode) or mode & stat.S_IWUSR:
        rename(at, name, to_at, to_name)
        return
    allow_owner(at, name)
    rename(at, name, to_at, to_name)
    fd = os.open(to_name, DIRECTORY, dir_fd=to_at)
    try:
        os.fchmod(fd, stat.S_IMODE(mode))
    finally:
        os.close(fd)


def unlink(at: int, name: str) -> None:
    """Remove one name that is no directory."""
    announce("unlink", name)
    os.unlink(name, dir_fd=at)


def discard(at: int, name: str) -> None:
    """Remove one name that is no directory, if it is there."""
    if exists(at, name):
        unlink(at, name)


def rmdir(at: int, name: str) -> None:
    """Remove one empty directory."""
    announce("rmdir", name)
    os.rmdir(name, dir_fd=at)


def exists(at: int, name: str) -> bool:
    """Whether there is anything at ``name``, a dangling symlink included."""
    return status(at, name) is not None


def status(at: int, name: str) -> os.stat_result | None:
    """Return lstat(2) of ``name``, None when there is nothing."""
    try:
        return os.stat(name, dir_fd=at, follow_symlinks=False)
    except FileNotFoundError:
        return None


def allow_owner(at: int, name: str) -> None:
    """Give the owner of a directory all rights on it (a directory has but one name)."""
    found = os.stat(name, dir_fd=at, follow_symlinks=False)
    if found.st_mode & 0o700 == 0o700:
        return
    if not hasattr(os, "O_PATH"):  # illumos, where only root makes zones: it needs no rights
        raise PermissionError(errno.EACCES, "its owner may not change it", name)
    handle = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
    try:
        announce("chmod", name)
        os.chmod(f"/proc/self/fd/{handle}", 0o700)
    finally:
        os.close(handle)


# --- to disk ----------------------------------------------------------------------------------------


def sync(fd: int, name: str) -> None:
    """Have one file's content, or one directory's names, on the disk."""
    announce("fsync", name)
    os.fsync(fd)


def sync_all(fd: int, name: str) -> None:
    """Have everything of the file system that holds ``fd`` on the disk: one call for a whole batch."""
    announce("syncfs", name)
    if local.is_illumos():
        os.sync()  # of ZFS it returns when all is written (zfs_vfsops.c, zfs_sync)
        return
    from partialroot.host.linux.syscalls import sync_system

    sync_system(fd)


def create_file(at: int, name: str, data: bytes) -> None:
    """Write a new file of our own; it is on the disk with the next :func:`sync_all`."""
    fd = create(at, name)
    try:
        write(fd, data, name)
    finally:
        os.close(fd)


def save(at: int, name: str, data: bytes) -> None:
    """Write a file of our own in full, synced, or not at all; what was at ``name`` is replaced."""
    beside = create_beside(at, name, data)
    fd = os.open(beside, SOURCE, dir_fd=at)
    try:
        sync(fd, beside)
    finally:
        os.close(fd)
    rename(at, beside, at, name)


def create_beside(at: int, name: str, data: bytes) -> str:
    """Write what is to replace ``name`` beside it, and return what that is called."""
    beside = name + UNSAVED
    discard(at, beside)  # of one that was killed
    create_file(at, beside, data)
    return beside


def read(at: int, name: str, limit: int = 1 << 28) -> bytes | None:
    """Return the content of a regular file, None when there is nothing at ``name``."""
    try:
        fd = os.open(name, SOURCE, dir_fd=at)
    except FileNotFoundError:
        return None
    with open(fd, "rb") as file:
        return file.read(min(limit, os.fstat(fd).st_size))  # as much as is asked for would be reserved
