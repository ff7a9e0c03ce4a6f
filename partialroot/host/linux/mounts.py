"""The shared layer's mounts: read-only binds of an image's directories in a zone's root.

A bind is made while it is attached nowhere, so it is never visible writable; it holds no submounts, and
tells and hears nothing of other mounts (mount_setattr(2), move_mount(2), Linux 5.12). The zone's root is
hostile: mount points are looked up by the kernel below the open root, without following any symlink
or crossing any mount (openat2(2)), and are then only named by descriptor.
"""

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from partialroot.errors import ApplyError, BusyError
from partialroot.host.linux import syscalls
from partialroot.host.linux.mountinfo import MountTable
from partialroot.paths import RootPath

State = Literal["present", "absent", "foreign"]

_PLACE = os.O_PATH | os.O_DIRECTORY
_INSIDE = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS | syscalls.RESOLVE_NO_MAGICLINKS
_ON_ROOT = _INSIDE | syscalls.RESOLVE_NO_XDEV

_WHY = {
    errno.ELOOP: "a symlink is in the way",
    errno.ENOTDIR: "something that is no directory is in the way",
    errno.ENOENT: "there is no such directory",
    errno.EXDEV: "something is mounted there already",
    errno.EPERM: "this process may not mount or unmount here",
    errno.EACCES: "a security module of the kernel forbids it",
    errno.EINVAL: "the mount is locked or must not be bound",
    errno.ENOSYS: "the kernel lacks the system calls (they came with Linux 5.12)",
    errno.ESTALE: "the mount point was moved away meanwhile",
}


def bind_readonly(source: Path, root: Path, at: RootPath, clones: "Clones | None" = None) -> None:
    """Mount the directory ``source`` (trusted) at ``at`` in the root: read-only, nodev, private, alone.

    ``clones`` makes it cheap for many. Raises ApplyError when the mount point is not a plain directory of the
    root, something is mounted there, or the kernel refuses; nothing is mounted then.
    """
    with _failing("cannot be mounted elsewhere", str(source)):
        tree = clones.of(source) if clones else _clone(source)
    try:
        with _failing(f"cannot mount {source} read-only", f"{root}{at}"), _opened(root) as top:
            _attach(tree, top, at)
    finally:
        os.close(tree)


class Clones:
    """Detached mounts of directories of the host, each copied from a first one that nothing is mounted in.

    To copy a mount the kernel looks at all that is mounted in it: where thousands of zones are mounted in the
    host's root, that takes longer than all the rest.
    """

    def __init__(self) -> None:
        self._first: dict[Path, int] = {}

    def close(self) -> None:
        """Let go of the first ones."""
        for tree in self._first.values():
            os.close(tree)
        self._first.clear()

    def of(self, directory: Path) -> int:
        """Return a descriptor of a detached mount of a directory. Raises OSError."""
        first = self._first.get(directory)
        if first is not None and not os.path.samestat(os.fstat(first), os.lstat(directory)):
            os.close(self._first.pop(directory))
            first = None
        if first is None:
            first = self._first[directory] = _clone(directory)
        try:
            return syscalls.open_tree(first, b"", syscalls.AT_EMPTY_PATH)
        except OSError as error:
            if error.errno != errno.EINVAL:  # before Linux 6.15 what is detached could not be copied
                raise
            return _clone(directory)


def _clone(directory: Path) -> int:
    """Return a descriptor of a detached mount of a directory, as a zone may see it; so are its copies."""
    tree = syscalls.open_tree(syscalls.AT_FDCWD, os.fsencode(directory), syscalls.AT_SYMLINK_NOFOLLOW)
    try:
        _protect(tree)
    except OSError:
        os.close(tree)
        raise
    return tree


def mounted(root: Path, tops: Iterable[RootPath]) -> tuple[RootPath, ...]:
    """Return those of the tops of a root at which something is mounted; none where there is no root.

    Each is looked up alone: that takes no longer where thousands of others are mounted.
    """
    if not os.path.isdir(root):
        return ()
    with _failing("cannot tell what is mounted", str(root)), _opened(root) as top:
        return tuple(at for at in tops if _is_mounted(top, at))


def unbind(root: Path, at: RootPath) -> bool:
    """Unmount the uppermost mount at ``at`` in the root; return False if nothing is mounted there.

    Raises BusyError while a process uses it or something is mounted inside of it, ApplyError when the
    kernel refuses.
    """
    with _failing("cannot unmount it", f"{root}{at}"), _opened(root) as top:
        if not _is_mounted(top, at):
            return False
        parent = syscalls.openat2(top, os.fsencode(at.parent.relative), _PLACE, _ON_ROOT)
        try:
            # The name is looked up in a directory we hold, and not followed: no one can swap the path.
            syscalls.unmount(os.fsencode(f"/proc/self/fd/{parent}/{at.name}"), syscalls.UMOUNT_NOFOLLOW)
        finally:
            os.close(parent)
    return True


def state(root: Path, at: RootPath, image: Path, mounts: MountTable) -> State:
    """Tell whether the image's directory is mounted at ``at`` in the root, as we mount it.

    ``foreign`` is anything else that is mounted there: other files, an image that was deleted, a mount
    that is writable or allows devices.
    """
    mount = mounts.at(f"{root}{at}")
    if mount is None:
        return "absent"
    expected = mounts.inside(f"{image}{at}")
    safe = {"ro", "nodev"} <= set(mount.options)
    return "present" if safe and (mount.dev, mount.root) == expected else "foreign"


def why_no_mount(scratch: int, directory: int) -> str:
    """Try to mount without any effect: return "" if it would work, else the reason.

    ``scratch`` is open on a file of the image's file system, ``directory`` (``O_PATH``) on any
    directory. Everything is done as for a bind, but a file cannot be mounted on a directory: a kernel
    that would let us mount says EINVAL, after it has asked everyone who may forbid it.
    """
    try:
        os.close(syscalls.openat2(directory, b".", _PLACE, _ON_ROOT))
        tree = syscalls.open_tree(scratch, b"", syscalls.AT_EMPTY_PATH)
    except OSError as error:
        return _why(error)
    try:
        _protect(tree)
        return _why_no_move(tree, directory)
    except OSError as error:
        return _why(error)
    finally:
        os.close(tree)


def _why_no_move(tree: int, directory: int) -> str:
    """Return why the kernel would not attach the detached file ``tree``; it never does here."""
    try:
        syscalls.move_mount(tree, directory)
    except OSError as error:
        return "" if error.errno == errno.EINVAL else _why(error)
    raise AssertionError("a file was mounted on a directory")


def _protect(tree: int) -> None:
    """Make a detached mount what a zone may see: read-only, without devices, private."""
    attributes = syscalls.MOUNT_ATTR_RDONLY | syscalls.MOUNT_ATTR_NODEV
    syscalls.mount_setattr(tree, attributes, syscalls.MS_PRIVATE)


def _attach(tree: int, top: int, at: RootPath) -> None:
    """Attach a detached mount at ``at`` below the open root, or fail and leave nothing mounted."""
    point = syscalls.openat2(top, os.fsencode(at.relative), _PLACE, _ON_ROOT)
    try:
        syscalls.move_mount(tree, point)
    finally:
        os.close(point)
    try:
        # On a shared mount (systemd's /) it became shared itself: what is mounted in it would spread.
        syscalls.mount_setattr(tree, 0, syscalls.MS_PRIVATE)
        _confirm(tree, top, at)
    except OSError:
        syscalls.unmount(os.fsencode(f"/proc/self/fd/{tree}"), syscalls.MNT_DETACH)
        raise


def _confirm(tree: int, top: int, at: RootPath) -> None:
    """Make sure that the mount is where it should be: the zone may have renamed the directory meanwhile."""
    seen = syscalls.openat2(top, os.fsencode(at.relative), _PLACE, _INSIDE)
    try:
        if not os.path.samestat(os.fstat(seen), os.fstat(tree)):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
    finally:
        os.close(seen)


def _is_mounted(top: int, at: RootPath) -> bool:
    """Whether something is mounted at ``at`` below the open root."""
    try:
        os.close(syscalls.openat2(top, os.fsencode(at.relative), _PLACE, _ON_ROOT))
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR):
            return False
        if error.errno != errno.EXDEV:
            raise
        return True
    return False


@contextmanager
def _opened(root: Path) -> Iterator[int]:
    """Hold the root open."""
    top = os.open(root, _PLACE | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield top
    finally:
        os.close(top)


@contextmanager
def _failing(doing: str, path: str) -> Iterator[None]:
    """Make one of our errors of what the kernel says."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise BusyError(f"{doing}: it is in use", path=path) from error
        raise ApplyError(f"{doing}: {_why(error)}", path=path) from error


def _why(error: OSError) -> str:
    """Return the reason in words."""
    return _WHY.get(error.errno or 0) or error.strerror or str(error)
