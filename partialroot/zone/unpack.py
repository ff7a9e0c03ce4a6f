"""Unpacks a tarball that was looked through into an empty directory of ours: the source of a zone's files.

Nothing is followed and nothing is replaced: every name is made below the descriptor of its directory, with
O_EXCL. Metadata is set through the new file's own descriptor; a set-id bit stays only with its owner.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from partialroot.nodes import FileType
from partialroot.paths import RootPath
from partialroot.source.tarball import Member, Room, Tarball
from partialroot.zone import fs
from partialroot.zone.dirs import Dirs
from partialroot.zone.image import scratch
from partialroot.zone.measured import lost_sentence
from partialroot.zone.store import Store, make_private

_PARENT = fs.Meta(0o755, None, None)
"""Of a directory that the tarball has something in, but not itself."""


class Unpacked(NamedTuple):
    """A tarball's files in the directory ``root``; ``lost`` says what could not be kept of them.

    ``home`` is where images can link them.
    """

    tarball: Path
    root: Path
    home: Path
    lost: tuple[str, ...]


@contextmanager
def unpacked(place: Path, path: Path, home: Path | None = None) -> Iterator[Unpacked]:
    """Unpack a tarball beside the images, so that these can link its files; take it all away in the end.

    ``place`` is the store, ``home`` where those images are if not in it. Raises SourceError or SpaceError
    before anything is written, ApplyError when writing fails.
    """
    home = home or place / "images"
    tarball = Tarball(path, Room.at(next(one for one in (home, *home.parents) if one.is_dir())))
    store = Store(place)
    make_private(home, "the home of images")
    with scratch(store, home) as root:
        top = fs.open_directory(root)
        try:
            with Dirs(top) as dirs:
                unpacking = _Unpacking(dirs, root)
                unpacking.run(tarball)
        finally:
            os.close(top)
        yield Unpacked(path, root, home, tuple(unpacking.lost))


class _Unpacking:
    def __init__(self, dirs: Dirs, where: Path) -> None:
        self.lost: list[str] = []
        self._dirs = dirs
        self._where = where
        self._may_give = os.geteuid() == 0
        self._directories: dict[RootPath, fs.Meta] = {}

    def run(self, tarball: Tarball) -> None:
        """Make everything; directories get their metadata last, the deepest first: entries change it."""
        path = RootPath("/")
        try:
            for member, content in tarball.contents():
                path = member.path
                self._make(member, content)
            for path in sorted(self._directories, reverse=True):
                self._set_meta(self._dirs.fd(path), path, self._directories[path])
        except OSError as error:
            raise fs.failed(error, f"{self._where}{path}") from error

    def _make(self, member: Member, content: Iterable[bytes]) -> None:
        path = member.path
        for above in reversed(list(path.ancestors)):
            self._make_directory(above, _PARENT)
        if member.type is FileType.DIR:
            self._make_directory(path, self._meta(member))
            self._directories[path] = self._meta(member)
            return
        at = self._dirs.fd(path.parent)
        if member.twin is not None:
            fs.link(member.twin.name, at, path.name, self._dirs.fd(member.twin.parent))
        elif member.type is FileType.SYMLINK:
            fs.symlink(member.target or "", at, path.name)
            fs.set_link_meta(at, path.name, self._meta(member))
        else:
            self._make_file(at, member, content)

    def _make_directory(self, path: RootPath, meta: fs.Meta) -> None:
        if path not in self._directories:
            fs.make_directory(self._dirs.fd(path.parent), path.name)
            self._directories[path] = meta

    def _make_file(self, at: int, member: Member, content: Iterable[bytes]) -> None:
        name = member.path.name
        fd = fs.create(at, name)
        try:
            for piece in content:
                fs.write(fd, piece, name)
            self._set_meta(fd, member.path, self._meta(member))
        finally:
            os.close(fd)

    def _set_meta(self, fd: int, path: RootPath, meta: fs.Meta) -> None:
        self.lost += [lost_sentence(path, key) for key in fs.set_meta(fd, meta, path.name)]

    def _meta(self, member: Member) -> fs.Meta:
        owner = (member.uid, member.gid) if self._may_give else None
        return fs.Meta(member.mode, owner, member.mtime_ns, member.xattrs)
