"""What only Linux can try: reflinks, read-only binds, files that never had a name."""

import errno
import os
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path

from partialroot.host.linux import subvolumes, syscalls
from partialroot.host.linux.mounts import why_no_mount
from partialroot.host.scratch import READ, Scratch, new_name, words

_NO_TMPFILE = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL)
_NO_SNAPSHOT = {
    errno.EXDEV: "the image is on another file system",
    errno.EINVAL: "the image is on another file system",
    errno.ENOTTY: "no subvolumes on this file system",
}
_NO_CLONE = {
    errno.EXDEV: "on another file system",
    errno.EOPNOTSUPP: "no reflinks on this file system",
    errno.ENOTTY: "no reflinks on this file system",
}


class LinuxScratch(Scratch):
    """Trials on Linux."""

    no_link = {  # noqa: RUF012 - it is a ClassVar there
        errno.EXDEV: "on another mount",
        errno.EPERM: "the kernel lets only its owner link it (fs.protected_hardlinks)",
        errno.EOPNOTSUPP: "no hard links on this file system",
    }

    def nameless(self, directory: Path) -> int:
        """Return a descriptor of a file that never had a name, where the file system can make one."""
        try:
            return os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if error.errno not in _NO_TMPFILE:
                raise
        return super().nameless(directory)

    def why_no_clones(self, files: Iterable[str]) -> str:
        """Try FICLONE with the first file that can be read."""
        if self.failed:
            return self.failed
        for file in files:
            with suppress(OSError), open(file, "rb", opener=lambda path, _: os.open(path, READ)) as source:
                return self._why_no_clone(source.fileno())
        return "its files cannot be read"

    def why_no_snapshots(self, place: Path) -> str:
        """Try it with an empty subvolume of btrfs."""
        if self.failed:
            return self.failed
        name = new_name()
        with ExitStack() as stack:
            here, there = (_opened(directory, stack) for directory in (self.directory, place))
            try:
                subvolumes.create(here, name)
                stack.callback(_forget, here, name)
                subvolumes.snapshot(_opened(self.directory / name, stack), there, f"{name}-root")
                stack.callback(_forget, there, f"{name}-root")
            except OSError as error:
                return words(error, _NO_SNAPSHOT)
        return ""

    def why_no_mount(self) -> str:
        """Try all of a bind but the last step."""
        if self.failed:
            return self.failed
        if os.fstatvfs(self._file).f_flag & os.ST_NOEXEC:
            return f"{self.directory} is mounted noexec: nothing in it could run"
        return why_no_mount(self._file, self._place)

    def _why_no_clone(self, source: int) -> str:
        try:
            os.ftruncate(self._file, 0)  # a shorter file cannot be cloned over a longer one
            syscalls.clone_file(self._file, source)
        except OSError as error:
            return words(error, _NO_CLONE)
        return ""


def _opened(directory: Path, stack: ExitStack) -> int:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    stack.callback(os.close, descriptor)
    return descriptor


def _forget(at: int, name: str) -> None:
    with suppress(OSError):
        os.rmdir(name, dir_fd=at)
