"""``/etc/ld.so.cache``: where the dynamic linker of glibc looks libraries up by name.

Read in every form glibc reads it (new; old with the new one behind it; old alone), written in the new one,
which every glibc since 2.2 takes. The layout is that of glibc's sysdeps/generic/dl-cache.h. Offsets of names
in the new form count from its magic, in its extension from the beginning of the file; in the old form from
the end of its entries.
"""

import os
import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

_OLD_MAGIC, _OLD_HEADER, _OLD_ENTRY = b"ld.so-1.7.0\0", 16, 12
_NEW_MAGIC, _NEW_HEADER, _NEW_ENTRY = b"glibc-ld.so.cache1.1", 48, 24
_ORDERS = ("<>", "", "<", ">")
"""What the header's two bits about the byte order mean; zero is an old ldconfig that did not say."""

_EXTENSION_MAGIC, _HWCAPS_TAG, _MOST_SECTIONS = 0xEAA42174, 1, 64
_HWCAPS_ENTRY = 1 << 62
"""In an entry's hwcap: its low 32 bits are the number of a subdirectory in the extension's list."""

_MOST_PATH = 4096
_WORDS = rb"[0-9]+|[^0-9]"


class Library(NamedTuple):
    """One entry: the library called ``name`` is at ``path``.

    ``flags`` says for which ABI (see linker.ports). ``hwcaps`` is the glibc-hwcaps subdirectory it is
    for (``x86-64-v3``), ``legacy`` the bit mask that older glibc used for the like. ``little`` is the byte
    order of the machine that reads the cache.
    """

    name: str
    path: str
    flags: int
    hwcaps: str | None = None
    legacy: int = 0
    little: bool = True


_Row = tuple[int, int, int, int]
"""Of an entry: its flags, where its name and its path are among the strings, and its hwcap."""


class Cache:
    """The entries of a cache; none when it is no cache that a linker would use.

    Of the hundreds that it has a program needs a few: only those are put together that are asked for.
    """

    def __init__(self, data: bytes) -> None:
        self._strings, self._order, self._rows = b"", "<", list[_Row]()
        self._hwcaps: dict[int, str] = {}
        if data.startswith(_NEW_MAGIC):
            self._read_new(data, 0)
        elif data.startswith(_OLD_MAGIC):
            self._read_old(data)

    def all(self) -> Iterator[Library]:
        """Yield all entries in their order."""
        return filter(None, map(self._library, self._rows))

    def named(self, name: str) -> tuple[Library, ...]:
        """Return the entries of a name in their order."""
        try:
            wanted = name.encode("utf-8", "surrogateescape") + b"\0"
        except UnicodeEncodeError:  # a surrogate that stands for no byte: no file has such a name
            return ()
        numbers: list[int] = []
        at = self._strings.find(wanted)
        while at >= 0:
            numbers += self._by_name.get(at, ())
            at = self._strings.find(wanted, at + 1)
        found = (self._library(self._rows[number]) for number in sorted(numbers))
        return tuple(one for one in found if one is not None and one.name == name)

    @cached_property
    def _by_name(self) -> dict[int, list[int]]:
        """The numbers of the entries by where their names are."""
        found: dict[int, list[int]] = {}
        for number, row in enumerate(self._rows):
            found.setdefault(row[1], []).append(number)
        return found

    def _library(self, row: _Row) -> Library | None:
        flags, key, value, hwcap = row
        name, path = _string(self._strings, key), _string(self._strings, value)
        subdirectory = None
        if hwcap & _HWCAPS_ENTRY:
            subdirectory, hwcap = self._hwcaps.get(hwcap & 0xFFFFFFFF), 0
            if subdirectory is None:
                return None
        little = self._order == "<"
        return Library(name, path, flags, subdirectory, hwcap, little) if name and path else None

    def _read_new(self, data: bytes, start: int) -> None:
        """Read the new form, which begins at ``start``."""
        new = self._strings = data[start:]
        orders = _ORDERS[new[28] & 3] if len(new) > 28 else ""
        if not orders:
            return
        self._order, count = _count(new, _NEW_HEADER, _NEW_ENTRY, orders)
        self._hwcaps = _hwcaps(data, start, self._order)
        entries = new[_NEW_HEADER : _NEW_HEADER + count * _NEW_ENTRY]
        self._rows = list(struct.iter_unpack(self._order + "iII4xQ", entries))

    def _read_old(self, data: bytes) -> None:
        """Read the old form, or the new one that may be behind it."""
        self._order, count = _count(data, _OLD_HEADER, _OLD_ENTRY, "<>")
        end = _OLD_HEADER + count * _OLD_ENTRY
        for start in (-(-end // 8) * 8, end):  # aligned for 64 bits, for 32
            if data.startswith(_NEW_MAGIC, start):
                self._read_new(data, start)
                return
        self._strings = data[end:]
        entries = struct.iter_unpack(self._order + "iII", data[_OLD_HEADER:end])
        self._rows = [(flags, key, value, 0) for flags, key, value in entries]


def parse(data: bytes) -> tuple[Library, ...]:
    """Return the entries of a cache in their order; none when it is no cache that a linker would use."""
    return tuple(Cache(data).all())


def build(libraries: Iterable[Library]) -> bytes:
    """Return a cache with these entries, for the byte order of the first.

    The linker takes the first entry of a name that fits, so their order is kept; those of glibc-hwcaps come
    before all others, as it expects.
    """
    entries = sorted(libraries, key=lambda library: library.hwcaps is None)
    entries.sort(key=lambda library: _sort_key(os.fsencode(library.name)), reverse=True)
    order = "<" if not entries or entries[0].little else ">"
    subdirectories = sorted({entry.hwcaps for entry in entries if entry.hwcaps is not None})
    strings = _StringTable(_NEW_HEADER + _NEW_ENTRY * len(entries))
    body = b"".join(_pack(entry, order, strings, subdirectories) for entry in entries)
    names = [strings.add(name) for name in subdirectories]
    text = strings.text()
    end = strings.start + len(text) if names else 0
    header = struct.pack(order + "IIB3xI12x", len(entries), len(text), _ORDERS.index(order), end)
    return _NEW_MAGIC + header + body + text + _extension(names, order, end)


def _count(data: bytes, header: int, entry: int, orders: str) -> tuple[str, int]:
    """Return the byte order and the number of entries, which stands right after the magic number.

    No entries when there cannot be as many as it says. Old caches do not name their order; there a number
    in the wrong one is too large.
    """
    at = {_OLD_HEADER: 12, _NEW_HEADER: 20}[header]
    for order in orders:
        if len(data) >= header:
            (count,) = struct.unpack_from(order + "I", data, at)
            if header + count * entry <= len(data):
                return order, count
    return orders[0], 0


def _string(data: bytes, at: int) -> str:
    """Return the string at ``at``, empty when there is none."""
    return data[at : max(data.find(b"\0", at, at + _MOST_PATH), at)].decode("utf-8", "surrogateescape")


def _hwcaps(data: bytes, header: int, order: str) -> dict[int, str]:
    """Return the numbered glibc-hwcaps subdirectories of the extension."""
    (start,) = struct.unpack_from(order + "I", data, header + 32) if len(data) >= header + 36 else (0,)
    if not start or start + 8 > len(data):
        return {}
    magic, count = struct.unpack_from(order + "II", data, start)
    sections = data[start + 8 : start + 8 + 16 * min(count, _MOST_SECTIONS)]
    if magic != _EXTENSION_MAGIC:
        return {}
    for tag, _, offset, size in struct.iter_unpack(order + "4I", sections[: len(sections) // 16 * 16]):
        if tag == _HWCAPS_TAG:
            names = data[offset : offset + min(size, _MOST_PATH)]
            offsets = struct.iter_unpack(order + "I", names[: len(names) // 4 * 4])
            return {number: _string(data, at) for number, (at,) in enumerate(offsets)}
    return {}


class _StringTable:
    """The strings of a cache that is being made, each once; ``start`` is where they begin in it."""

    def __init__(self, start: int) -> None:
        self.start = start
        self._at: dict[str, int] = {}
        self._end = start

    def add(self, text: str) -> int:
        """Return where ``text`` is in the cache."""
        if text not in self._at:
            self._at[text] = self._end
            self._end += len(os.fsencode(text)) + 1
        return self._at[text]

    def text(self) -> bytes:
        """Return all of it, padded so that an extension may follow."""
        text = b"".join(os.fsencode(text) + b"\0" for text in self._at)
        return text + bytes(-(self.start + len(text)) % 4)


def _pack(entry: Library, order: str, strings: _StringTable, subdirectories: Sequence[str]) -> bytes:
    hwcap = entry.legacy
    if entry.hwcaps is not None:
        hwcap = _HWCAPS_ENTRY | subdirectories.index(entry.hwcaps)
    key, value = strings.add(entry.name), strings.add(entry.path)
    return struct.pack(order + "iIIIQ", entry.flags, key, value, 0, hwcap)


def _extension(names: Sequence[int], order: str, start: int) -> bytes:
    """Return the extension that lists the subdirectories, whose names are at ``names``; empty without any."""
    if not names:
        return b""
    head = struct.pack(order + "6I", _EXTENSION_MAGIC, 1, _HWCAPS_TAG, 0, start + 24, 4 * len(names))
    return head + struct.pack(f"{order}{len(names)}I", *names)


def _sort_key(name: bytes) -> list[tuple[bool, int]]:
    """Order names as the linker's binary search does: numbers in them count as numbers, after other bytes."""
    return [(word.isdigit(), int(word) if word.isdigit() else word[0]) for word in re.findall(_WORDS, name)]
