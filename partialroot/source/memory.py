"""What earlier runs found out, in one file of the store: it only saves time, and may vanish at any moment.

The file has pages, each with what is likely asked for together, and an index of them: only what is asked for
is read, a page in 20 microseconds. It is replaced as a whole by rename(2), so that several processes may use
it at once: the last one wins, with what the others had written when it ended. Nothing is synced: every part
has a checksum, and what is damaged, or may have been written by others, counts as empty. The values are those
of the module marshal, for the same Python only.
"""

import marshal
import os
import stat
import struct
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from types import TracebackType
from typing import Any, NamedTuple, Self

from partialroot.nodes import Node

NAME = "memory"
"""Of the file in the store."""

Page = tuple[str | int, ...]

MOST_BYTES = 32 << 20
"""Of what is remembered; the pages written first are forgotten first. A file takes 100 to 500 bytes."""

RECENT_NS = 2 * 10**9
"""A file that changed less than this before we look may change again and look the same: times are coarse."""

_MOST_ENTRIES = 8192  # of one page
_INODES = 64  # neighbours are on one page: what was installed together often is wanted together
_MAGIC = b"partialroot memory 1, Python %08x\n" % sys.hexversion
_HEADER = struct.Struct(f"<{len(_MAGIC)}sII")  # magic, size and checksum of the index that follows
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_ABANDONED = 60  # seconds after which a file half written is that of a process that was killed


class _Place(NamedTuple):
    """Where a page is, in bytes after the index, and its checksum."""

    offset: int
    size: int
    checksum: int


def kind(name: str, *form: object) -> str:
    """Return a name for values of a form: another form (of a later release) is another kind."""
    return f"{name} {zlib.crc32(repr(form).encode()):08x}"


class Memory:
    """What is remembered from run to run; ``file`` None remembers nothing.

    It is never an error: where the file cannot be used, it is done without. Its directory must be ours, and
    closed to others.
    """

    def __init__(self, file: str | os.PathLike[str] | None = None) -> None:
        self._file = None if file is None or not _is_closed(os.path.dirname(file)) else os.fspath(file)
        self._since = time.time_ns()
        self._descriptor = -1
        self._start = 0
        self._pages: dict[Page, dict[Any, tuple[Any, Any]]] = {}
        self._fresh: dict[Page, dict[Any, tuple[Any, Any]]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:  # who is refused has touched nothing, not even this
            self._fresh.clear()
        self.close()

    def get(self, page: Page, key: int | str, state: object) -> Any:
        """Return what was put for a key, None unless ``state`` is as it was then."""
        if self._file is None:
            return None
        entry = self._page(page).get(key)
        return entry[1] if entry is not None and entry[0] == state else None

    def put(self, page: Page, key: int | str, state: object, value: object) -> None:
        """Remember a value (of types that marshal knows) on a page, for as long as ``state`` is the same."""
        if self._file is not None:
            entry = self._page(page)[key] = state, value
            self._fresh.setdefault(page, {})[key] = entry

    def get_of(self, node: Node, kind: str) -> Any:
        """Return what was put for a file; None when its inode, size, mtime or ctime is another."""
        if self._file is None:
            return None
        return self.get((kind, node.dev, node.ino // _INODES), node.ino, _state(node))

    def put_of(self, node: Node, kind: str, value: object) -> None:
        """Remember what was read in a file after lstat(2) said ``node`` of it.

        A file that was changed meanwhile has another ctime ever after: what is put here is never got again.
        One that was changed just before this memory was opened may not, and is passed over.
        """
        if self._file is not None and node.ctime_ns < self._since - RECENT_NS:
            self.put((kind, node.dev, node.ino // _INODES), node.ino, _state(node), value)

    def close(self) -> None:
        """Write what is new, and remember nothing from then on."""
        if self._fresh and self._file is not None:
            with suppress(OSError):
                self._save(self._file)
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._file, self._descriptor = None, -1

    # --- reading ------------------------------------------------------------------------------------

    def _page(self, page: Page) -> dict[Any, tuple[Any, Any]]:
        known = self._pages.get(page)
        if known is None:
            known = self._pages[page] = self._checked(page)
        return known

    def _checked(self, page: Page) -> dict[Any, tuple[Any, Any]]:
        place = self._index.get(page)
        data = b"" if place is None else self._raw(place)
        if place is None or zlib.crc32(data) != place.checksum:
            return {}
        entries: dict[Any, tuple[Any, Any]] = marshal.loads(data)  # noqa: S302 - ours, and undamaged
        return entries

    def _raw(self, place: _Place) -> bytes:
        try:
            return os.pread(self._descriptor, place.size, self._start + place.offset)
        except OSError:
            return b""

    @cached_property
    def _index(self) -> dict[Page, _Place]:
        """Where the pages are, the oldest first; none of a file that cannot be trusted."""
        try:
            return self._read_index() if self._file is not None else {}
        except OSError:
            return {}

    def _read_index(self) -> dict[Page, _Place]:
        assert self._file is not None
        self._descriptor = os.open(self._file, _READ)
        found = os.fstat(self._descriptor)
        if not (stat.S_ISREG(found.st_mode) and _is_ours(found, 0o022)):
            return {}
        header = os.pread(self._descriptor, _HEADER.size, 0)
        magic, size, checksum = _HEADER.unpack(header.ljust(_HEADER.size))
        data = os.pread(self._descriptor, min(size, MOST_BYTES), _HEADER.size)
        if magic != _MAGIC or zlib.crc32(data) != checksum:
            return {}
        self._start = _HEADER.size + size
        places: dict[Page, tuple[int, int, int]] = marshal.loads(data)  # noqa: S302 - ours, and undamaged
        return {page: _Place(*place) for page, place in places.items()}

    # --- writing ------------------------------------------------------------------------------------

    def _save(self, file: str) -> None:
        """Replace the file by one that has what is new, too."""
        new = f"{file}.new"
        try:
            descriptor = os.open(new, _WRITE, 0o600)
        except FileExistsError:  # another process is about to do the same, or was killed
            if time.time() - os.lstat(new).st_mtime > _ABANDONED:
                os.unlink(new)
            return
        try:
            with open(descriptor, "wb") as output:
                output.writelines(_form(self._merged(file)))
            os.replace(new, file)
        except BaseException:
            with suppress(OSError):
                os.unlink(new)
            raise

    def _merged(self, file: str) -> dict[Page, tuple[bytes, int]]:
        """Return the file's pages as they are now, with their checksums; those with something new last."""
        now = Memory(file)
        pages = {
            page: (now._raw(place), place.checksum)
            for page, place in now._index.items()
            if page not in self._fresh
        }
        for page, fresh in self._fresh.items():
            entries = list({**now._page(page), **fresh}.items())
            data = marshal.dumps(dict(entries[-_MOST_ENTRIES:]))
            pages[page] = data, zlib.crc32(data)
        now.close()
        size = sum(len(data) for data, _ in pages.values())
        while size > MOST_BYTES:
            size -= len(pages.pop(next(iter(pages)))[0])
        return pages


def _form(pages: dict[Page, tuple[bytes, int]]) -> Iterator[bytes]:
    """Yield the parts of a file: header, index, pages."""
    places: dict[Page, tuple[int, int, int]] = {}
    offset = 0
    for page, (data, checksum) in pages.items():
        places[page] = offset, len(data), checksum
        offset += len(data)
    index = marshal.dumps(places)
    yield _HEADER.pack(_MAGIC, len(index), zlib.crc32(index))
    yield index
    yield from (data for data, _ in pages.values())


def _is_closed(directory: str) -> bool:
    """Whether a directory is ours, and nobody else may enter it."""
    try:
        found = os.lstat(directory)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and _is_ours(found, 0o077)


def _is_ours(found: os.stat_result, forbidden: int) -> bool:
    return found.st_uid == os.geteuid() and not found.st_mode & forbidden


def _state(node: Node) -> tuple[int, int, int]:
    return node.size, node.mtime_ns, node.ctime_ns
