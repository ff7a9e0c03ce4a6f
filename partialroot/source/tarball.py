"""Reads the tarball of a zone's root (zmvix.sh's, alien-root's, ours), whoever made it, and writes nothing.

It is read twice. The first time everything is looked at, and what could harm is refused: a name that leads
out of the root or through a symlink, a device, a link to what is not in it, more than fits. The second time
contents are handed out, and what is not as it was the first time is refused. Owners are numbers: a zone has
accounts of its own.
"""

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, Self

from partialroot.errors import PartialRootError, SourceError, SpaceError
from partialroot.nodes import NO_XATTRS, FileType
from partialroot.paths import ROOT, TARBALLS, RootPath, is_tarball
from partialroot.source.tree import OWN_DIRECTORY

if TYPE_CHECKING:
    import tarfile

MOST_MEMBERS = 500_000
MOST_DEPTH = 250
MOST_RATIO, ALWAYS_ALLOWED = 100, 1 << 26
"""What unpacked is more than a hundred times larger is a bomb, unless it is small anyway."""

_AT_ONCE = 1 << 20  # no header of an honest tarball is longer
_BLOCK = 512
_GZIP = b"\x1f\x8b"
_XATTR = "SCHILY.xattr."
_CARRIED = ("user.", "security.capability", "system.posix_acl_")
_LAST_TIME = 1 << 34  # the year 2514
_NOBODY = (1 << 32) - 1  # to chown(2) this means: leave it
_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


class Member(NamedTuple):
    """One entry: what lstat(2) would say of it. ``twin`` is the file before it that it is a name of, too."""

    path: RootPath
    type: FileType
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    target: str | None = None
    twin: RootPath | None = None
    xattrs: tuple[tuple[str, bytes], ...] = NO_XATTRS


class Room(NamedTuple):
    """How much may be unpacked: bytes and inodes."""

    bytes: int
    inodes: int

    @classmethod
    def at(cls, directory: str | os.PathLike[str]) -> Self:
        """Return what is free where a directory is."""
        found = os.statvfs(directory)
        return cls(found.f_bavail * found.f_frsize, found.f_favail or MOST_MEMBERS)


class Tarball:
    """A tarball that was looked through and is harmless; ``members`` are in its order.

    Raises SourceError for one that cannot be read or could harm, SpaceError for one larger than ``room``.
    """

    def __init__(self, path: Path, room: Room) -> None:
        self.path = path
        self._room = room
        self.members = tuple(member for member, _ in self._read())
        _check_parents(self.members, path)

    def contents(self) -> Iterator[tuple[Member, Iterator[bytes]]]:
        """Yield the members again, each with its content in pieces, to be used up before the next.

        Raises SourceError when it is not what it was.
        """
        left = iter(self.members)
        for member, content in self._read():
            if member != next(left, None):
                raise SourceError("changed while it was read", path=str(self.path))
            yield member, content
        if next(left, None) is not None:
            raise SourceError("changed while it was read", path=str(self.path))

    def _read(self) -> Iterator[tuple[Member, Iterator[bytes]]]:
        with _opened(self.path) as raw:
            limit = min(self._room.bytes, MOST_RATIO * os.fstat(raw.fileno()).st_size + ALWAYS_ALLOWED)
            stream = _Stream(_unpacked(raw), limit, str(self.path))
            try:
                yield from _members(stream, min(self._room.inodes, MOST_MEMBERS))
            except PartialRootError as error:
                if error.path != str(self.path):
                    error.path = f"{self.path}: {error.path}" if error.path else str(self.path)
                raise


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    if not is_tarball(path.name):
        raise SourceError(f"the name of a tarball ends in {', '.join(TARBALLS)}", path=str(path))
    try:
        file = os.fdopen(os.open(path, _OPEN), "rb")
    except OSError as error:
        raise SourceError(f"cannot be read: {error.strerror}", path=str(path)) from None
    with file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise SourceError("is not a regular file", path=str(path))
        yield file


def _unpacked(raw: BinaryIO) -> BinaryIO:
    """Return the tar in a file: of gzip's format, or plain."""
    import gzip

    start = raw.read(len(_GZIP))
    raw.seek(0)
    return gzip.GzipFile(fileobj=raw, mode="rb") if start == _GZIP else raw  # type: ignore[return-value]


class _Stream:
    """A file that is only read forwards, and no further than ``limit``; tarfile skips by seeking."""

    def __init__(self, file: BinaryIO, limit: int, where: str) -> None:
        self._file = file
        self._limit = limit
        self._where = where
        self._at = 0
        self.last = b""

    def tell(self) -> int:
        """Return how much was read."""
        return self._at

    def read(self, size: int) -> bytes:
        """Return so many bytes, less at the end."""
        from zlib import error as ZlibError  # noqa: N812

        if not 0 <= size <= _AT_ONCE:
            raise self._wrong(f"has a header of {size} bytes")
        try:
            self.last = self._file.read(size)
        except (OSError, EOFError, ZlibError) as error:
            raise self._wrong(f"cannot be read: {error}") from None
        self._at += len(self.last)
        if self._at > self._limit:
            raise self._too_large()
        return self.last

    def seek(self, to: int) -> None:
        """Read on to a place."""
        if to < self._at:
            raise self._wrong("has an entry of an impossible size")
        if to > self._limit:
            raise self._too_large()
        while self._at < to:
            if not self.read(min(to - self._at, _AT_ONCE)):
                raise self._wrong("ends in the middle")

    def content(self, size: int) -> Iterator[bytes]:
        """Yield the next ``size`` bytes."""
        while size > 0:
            data = self.read(min(size, _AT_ONCE))
            if not data:
                raise self._wrong("ends in the middle")
            size -= len(data)
            yield data

    def finish(self) -> None:
        """Read to the end, where checksums are; raise SourceError when tar's own end was not reached."""
        if self.last != bytes(_BLOCK):
            raise self._wrong("ends in the middle, or is damaged")
        rest = self.read(_AT_ONCE)
        if rest.strip(b"\0") or len(rest) == _AT_ONCE:
            raise self._wrong("goes on after its end")

    def _wrong(self, why: str) -> SourceError:
        return SourceError(why, path=self._where)

    def _too_large(self) -> SpaceError:
        return SpaceError(
            f"is larger than {self._limit} bytes when unpacked",
            path=self._where,
            hint=f"so much is free, or is {MOST_RATIO} times its own size",
        )


# --- entries ----------------------------------------------------------------------------------------


def _members(stream: _Stream, most: int) -> Iterator[tuple[Member, Iterator[bytes]]]:
    """Yield the entries of a tar, but for the root itself, with their contents."""
    types: dict[RootPath, FileType] = {}
    for info in _infos(stream):
        member = _member(info, types)
        if member is None:
            continue
        if len(types) >= most:
            raise SpaceError(f"has more than {most} entries")
        types[member.path] = member.type
        end = stream.tell() + member.size
        yield member, stream.content(member.size)
        stream.seek(end)
    stream.finish()


def _infos(stream: _Stream) -> Iterator["tarfile.TarInfo"]:
    """Yield what tarfile reads; whatever it stumbles over is a SourceError."""
    import tarfile

    broken = (tarfile.TarError, ValueError, ArithmeticError, LookupError, RecursionError)
    try:
        with tarfile.open(fileobj=stream, mode="r:", encoding="utf-8") as archive:  # type: ignore[call-overload]
            while (info := archive.next()) is not None:
                archive.members = []  # it would remember them all
                yield info
    except (*broken, TypeError, AttributeError) as error:
        raise SourceError(f"cannot be read as a tarball: {error}") from None


def _member(info: "tarfile.TarInfo", known: dict[RootPath, FileType]) -> Member | None:
    """Return what an entry is, None for the root itself; SourceError when it could harm."""
    path = _path(info.name)
    if path == ROOT:
        return None
    kind = _kind(info, path)
    twin = _path(info.linkname) if info.islnk() else None
    if path in known and not kind is known[path] is FileType.DIR:
        raise SourceError("is there twice", path=path)
    if twin is not None and known.get(twin) is not FileType.FILE:
        raise SourceError(f"is a link to {twin}, which is no file before it", path=path)
    return Member(
        path=path,
        type=kind,
        mode=info.mode & 0o7777,
        uid=_owner(info.uid, path),
        gid=_owner(info.gid, path),
        size=info.size if info.isreg() else 0,
        mtime_ns=_time(info.mtime),
        target=_target(info, path) if kind is FileType.SYMLINK else None,
        twin=twin,
        xattrs=_xattrs(info.pax_headers),
    )


def _path(name: str) -> RootPath:
    """Return where an entry goes: ``./usr/bin`` is ``/usr/bin``."""
    if name.startswith("/"):
        raise SourceError("is absolute", path=ascii(name))
    try:
        path = RootPath.parse(f"/{name}")
        os.fsencode(path)
    except (PartialRootError, ValueError) as error:
        raise SourceError(f"cannot be a name in a root: {error}", path=ascii(name)) from None
    if len(path.parts) > MOST_DEPTH:
        raise SourceError(f"is deeper than {MOST_DEPTH} directories", path=ascii(name)[:80])
    if OWN_DIRECTORY in path.parts:
        raise SourceError("is a name of ours", path=path)
    return path


def _kind(info: "tarfile.TarInfo", path: RootPath) -> FileType:
    if info.issparse():
        raise SourceError("is a sparse file of GNU's own format", path=path, hint="tar without --sparse")
    if info.isreg() or info.islnk():
        if info.size < 0:
            raise SourceError("has a size below zero", path=path)
        return FileType.FILE
    if info.isdir():
        return FileType.DIR
    if info.issym():
        return FileType.SYMLINK
    what = "a device" if info.isdev() else f"an entry of type {info.type!r}"
    raise SourceError(f"is {what}: neither file, directory nor link", path=path)


def _owner(number: int, path: RootPath) -> int:
    if not 0 <= number < _NOBODY:
        raise SourceError(f"has the impossible owner {number}", path=path)
    return number


def _target(info: "tarfile.TarInfo", path: RootPath) -> str:
    target = info.linkname
    if not target or "\0" in target or len(os.fsencode(target)) >= 4096:
        raise SourceError("is a symlink that leads nowhere", path=path)
    return target


def _time(seconds: Any) -> int:
    """Return a time in nanoseconds; 0, which is none, for what no file could have."""
    return int(seconds * 10**9) if 0 <= seconds < _LAST_TIME else 0


def _xattrs(headers: Mapping[str, str]) -> tuple[tuple[str, bytes], ...]:
    """Return the extended attributes that a zone's files may have, sorted by name."""
    pairs = ((key.removeprefix(_XATTR), value) for key, value in headers.items() if key.startswith(_XATTR))
    wanted = (pair for pair in pairs if pair[0].startswith(_CARRIED))
    return tuple(sorted((name, value.encode("utf-8", "surrogateescape")) for name, value in wanted))


def _check_parents(members: tuple[Member, ...], path: Path) -> None:
    """Raise SourceError for what lies below anything but directories, in whatever order they come."""
    others = {one.path: one.type for one in members if one.type is not FileType.DIR}
    for one in members:
        for above in one.path.ancestors:
            if above in others:
                raise SourceError(f"lies below a {others[above]}", path=f"{path}: {one.path}")
