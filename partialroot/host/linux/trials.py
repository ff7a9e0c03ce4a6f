"""Trying things in a directory without leaving anything behind; a reason in words where one does not work."""

import errno
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from partialroot.host.linux import syscalls
from partialroot.host.linux.mounts import why_no_mount

_NO_TMPFILE = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL)
_NAME = re.compile(r"\.partialroot-[0-9]+-[0-9a-f]{16}")
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_NO_LINK = {
    errno.EXDEV: "on another mount",
    errno.EPERM: "the kernel lets only its owner link it (fs.protected_hardlinks)",
    errno.EOPNOTSUPP: "no hard links on this file system",
}
_NO_CLONE = {
    errno.EXDEV: "on another file system",
    errno.EOPNOTSUPP: "no reflinks on this file system",
    errno.ENOTTY: "no reflinks on this file system",
}


class Scratch:
    """A nameless file in a directory, to try things on. Where none can be made, every trial says why."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.failed = ""
        self._place = self._file = -1
        try:
            self._place = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            self._file = _nameless(directory)
        except OSError as error:
            self.failed = f"nothing can be written in {directory}: {error.strerror}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for descriptor in (self._file, self._place):
            if descriptor >= 0:
                os.close(descriptor)

    def why_no_links(self, files: Iterable[str]) -> str:
        """Return why files like these cannot be hard-linked into the directory; "" if they can.

        One that can be is enough. An immutable one is no proof against the others, nor is one that is gone.
        """
        for file in files:
            try:
                self._link(file)
            except OSError as error:
                if error.errno == errno.ENOENT or (error.errno == errno.EPERM and _is_immutable(file)):
                    continue
                return _words(error, _NO_LINK)
            return self.failed
        return self.failed

    def why_no_clones(self, files: Iterable[str]) -> str:
        """Return why files like these cannot be reflinked into the directory; "" if they can."""
        if self.failed:
            return self.failed
        for file in files:
            with suppress(OSError), open(file, "rb", opener=lambda path, _: os.open(path, _READ)) as source:
                return self._why_no_clone(source.fileno())
        return "its files cannot be read"

    def loses(self, uid: int, gid: int) -> bool:
        """Whether a file here cannot be given to this owner and group."""
        if self.failed:
            return True
        with suppress(OSError):
            os.fchown(self._file, uid, gid)
        status = os.fstat(self._file)
        return (status.st_uid, status.st_gid) != (uid, gid)

    def why_no_mount(self) -> str:
        """Return why what lies in this directory cannot be mounted elsewhere; "" if it can."""
        if self.failed:
            return self.failed
        if os.fstatvfs(self._file).f_flag & os.ST_NOEXEC:
            return f"{self.directory} is mounted noexec: nothing in it could run"
        return why_no_mount(self._file, self._place)

    def _link(self, file: str) -> None:
        """Make a link and remove it, with any that were left by who was killed here. Raises OSError."""
        if self.failed:
            return
        try:
            os.link(file, _name(), dst_dir_fd=self._place, follow_symlinks=False)
        finally:
            for name in filter(_NAME.fullmatch, os.listdir(self.directory)):
                with suppress(FileNotFoundError):  # whose trial is under way needs it no more
                    os.unlink(name, dir_fd=self._place)

    def _why_no_clone(self, source: int) -> str:
        try:
            os.ftruncate(self._file, 0)  # a shorter file cannot be cloned over a longer one
            syscalls.clone_file(self._file, source)
        except OSError as error:
            return _words(error, _NO_CLONE)
        return ""


def _nameless(directory: Path) -> int:
    """Return a descriptor of a new file without a name in a directory."""
    try:
        return os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in _NO_TMPFILE:
            raise
    name = directory / _name()
    descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    os.unlink(name)
    return descriptor


def _name() -> str:
    """Return a name that nobody has."""
    return f".partialroot-{os.getpid()}-{os.urandom(8).hex()}"


def _is_immutable(file: str) -> bool:
    """Whether a file is immutable or append-only, as far as we may see."""
    from partialroot.source.content import is_immutable

    with suppress(OSError), open(file, "rb", opener=lambda path, _: os.open(path, _READ)) as source:
        return is_immutable(source.fileno())
    return False


def _words(error: OSError, words: dict[int, str]) -> str:
    return words.get(error.errno or 0) or error.strerror or str(error)
