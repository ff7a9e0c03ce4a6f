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


def parse(data: bytes) -> tuple[Library, ...]:
    """Return the entries of a cache in their order; none when it is no cache that a linker would use."""
    if data.startswith(_NEW_MAGIC):
        return tuple(_new_entries(data, 0))
    if not data.startswith(_OLD_MAGIC):
        return ()
    order, count = _count(data, _OLD_HEADER, _OLD_ENTRY, "<>")
    end = _OLD_HEADER + count * _OLD_ENTRY
    for start in (-(-end // 8) * 8, end):  # aligned for 64 bits, for 32
        if data.startswith(_NEW_MAGIC, start):
            return tuple(_new_entries(data, start))
    return tuple(_old_entries(data, order, count))


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


def _new_entries(data: bytes, start: int) -> Iterator[Library]:
    """Yield the entries of the new form, which begins at ``start``."""
    new = data[start:]
    orders = _ORDERS[new[28] & 3] if len(new) > 28 else ""
    if not orders:
        return
    order, count = _count(new, _NEW_HEADER, _NEW_ENTRY, orders)
    hwcaps = _hwcaps(data, start, order)
    entries = new[_NEW_HEADER : _NEW_HEADER + count * _NEW_ENTRY]
    for flags, key, value, _, hwcap in struct.iter_unpack(order + "iIIIQ", entries):
        name, path = _string(new, key), _string(new, value)
        subdirectory = None
        if hwcap & _HWCAPS_ENTRY:
            subdirectory, hwcap = hwcaps.get(hwcap & 0xFFFFFFFF), 0
            if subdirectory is None:
                continue
        if name and path:
            yield Library(name, path, flags, subdirectory, hwcap, order == "<")


def _old_entries(data: bytes, order: str, count: int) -> Iterator[Library]:
    end = _OLD_HEADER + count * _OLD_ENTRY
    for flags, key, value in struct.iter_unpack(order + "iII", data[_OLD_HEADER:end]):
        name, path = _string(data, end + key), _string(data, end + value)
        if name and path:
            yield Library(name, path, flags, little=order == "<")


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
