"""Trying things in a directory without leaving anything behind; a reason in words where one does not work."""

import errno
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from partialroot.observed import is_immutable

_NAME = re.compile(r"\.partialroot-[0-9]+-[0-9a-f]{16}")
_PLACE = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Scratch:
    """A nameless file in a directory, to try things on. Where none can be made, every trial says why.

    What only one system can try is in a class of its own, in ``host.linux`` or ``host.illumos``.
    """

    no_link: ClassVar[Mapping[int, str]] = {}
    """In words, what link(2) says by its errno."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.failed = ""
        self._place = self._file = -1
        try:
            self._place = os.open(directory, _PLACE)
            self._file = self.nameless(directory)
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

    def nameless(self, directory: Path) -> int:
        """Return a descriptor of a new file in a directory that has no name any more. Raises OSError."""
        name = directory / new_name()
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        os.unlink(name)
        return descriptor

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
                return words(error, self.no_link)
            return self.failed
        return self.failed

    def why_no_clones(self, files: Iterable[str]) -> str:
        """Return why files like these cannot be reflinked into the directory; "" if they can."""
        raise NotImplementedError

    def why_no_snapshots(self, place: Path) -> str:
        """Return why a directory at ``place`` cannot be a snapshot of one in this directory; "" if it can."""
        raise NotImplementedError

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
        raise NotImplementedError

    def _link(self, file: str) -> None:
        """Make a link and remove it, with any that were left by who was killed here. Raises OSError."""
        if self.failed:
            return
        try:
            os.link(file, new_name(), dst_dir_fd=self._place, follow_symlinks=False)
        finally:
            for name in filter(_NAME.fullmatch, os.listdir(self.directory)):
                with suppress(FileNotFoundError):  # whose trial is under way needs it no more
                    os.unlink(name, dir_fd=self._place)


def words(error: OSError, known: Mapping[int, str]) -> str:
    """Return in words why something failed."""
    return known.get(error.errno or 0) or error.strerror or str(error)


def new_name() -> str:
    """Return a name that nobody has."""
    return f".partialroot-{os.getpid()}-{os.urandom(8).hex()}"


def _is_immutable(file: str) -> bool:
    """Whether a file is immutable or append-only, as far as we may see."""
    with suppress(OSError), open(file, "rb", opener=lambda path, _: os.open(path, READ)) as source:
        return is_immutable(source.fileno())
    return False
