"""Which lazy needs of an object are loaded at start-up all the same: those of its data (rtld, elf.c).

A call is bound when it is made first. What data refers to is bound when the object is relocated, and with it
what has that is loaded. ld notes for every symbol which need has it (DT_SYMINFO: libld, sys/link.h).
"""

import struct
from collections.abc import Iterator

from partialroot.closure.elf import Abi

_LOAD, _DYNAMIC = 1, 2
_NEEDED, _STRTAB, _SYMINFO, _SYMINFO_SIZE = 1, 5, 0x6FFFFEFF, 0x6FFFFDFE
_TABLES = ((17, 18, False), (7, 8, True))  # DT_REL, DT_RELSZ; DT_RELA, DT_RELASZ, which have addends
_JUMP_SLOT = 7  # R_386_JMP_SLOT, R_AMD64_JUMP_SLOT: a call


def bound_at_start(data: bytes, abi: Abi) -> frozenset[str]:
    """Return the names of the needs that data of an object refers to; none where it does not tell."""
    try:
        return frozenset(_bound(data, abi))
    except (struct.error, ValueError, IndexError, OverflowError):
        return frozenset()


def _bound(data: bytes, abi: Abi) -> Iterator[str]:
    order, word = "<" if abi.little else ">", "I" if abi.bits == 32 else "Q"
    segments = list(_segments(data, abi, order))
    entries = [
        (tag, value)
        for kind, _, offset, size in segments
        if kind == _DYNAMIC
        for tag, value in _records(data, f"{order}2{word}", offset, size)
    ]
    values = dict(entries)
    if _SYMINFO not in values:
        return
    notes = _offset(values[_SYMINFO], segments)
    known = list(_records(data, f"{order}2H", notes, values.get(_SYMINFO_SIZE, 0)))
    strings = _offset(values.get(_STRTAB, 0), segments)
    for symbol in _of_data(data, abi, order, values, segments):
        needed = entries[known[symbol][0]] if known[symbol][0] < len(entries) else (0, 0)  # others: itself
        if needed[0] == _NEEDED:
            start = strings + needed[1]
            yield data[start : data.index(b"\0", start)].decode("utf-8", "surrogateescape")


def _of_data(
    data: bytes, abi: Abi, order: str, values: dict[int, int], segments: list[tuple[int, int, int, int]]
) -> set[int]:
    """Return the numbers of the symbols that are bound when the object is relocated."""
    word, shift = ("I", 8) if abi.bits == 32 else ("Q", 32)
    found = set()
    for table, table_size, addends in _TABLES:
        if table in values:
            form = f"{order}{3 if addends else 2}{word}"
            start, size = _offset(values[table], segments), values.get(table_size, 0)
            infos = (record[1] for record in _records(data, form, start, size))
            found |= {info >> shift for info in infos if info & ((1 << shift) - 1) != _JUMP_SLOT}
    return found - {0}


def _segments(data: bytes, abi: Abi, order: str) -> Iterator[tuple[int, int, int, int]]:
    """Yield type, address, offset and size of the program headers."""
    if abi.bits == 32:
        (start,), (each, count) = struct.unpack_from(f"{order}I", data, 28), _pair(data, order, 42)
        for at in range(start, start + each * count, each):
            kind, offset, address, _, size = struct.unpack_from(f"{order}5I", data, at)
            yield kind, address, offset, size
        return
    (start,), (each, count) = struct.unpack_from(f"{order}Q", data, 32), _pair(data, order, 54)
    for at in range(start, start + each * count, each):
        kind, _, offset, address, _, size = struct.unpack_from(f"{order}2I4Q", data, at)
        yield kind, address, offset, size


def _pair(data: bytes, order: str, at: int) -> tuple[int, int]:
    """Return how large a program header is, and how many there are."""
    each, count = struct.unpack_from(f"{order}2H", data, at)
    if not each:
        raise ValueError("program headers without a size")
    return each, count


def _records(data: bytes, form: str, start: int, size: int) -> Iterator[tuple[int, ...]]:
    one = struct.Struct(form)
    return one.iter_unpack(data[start : start + size // one.size * one.size])


def _offset(address: int, segments: list[tuple[int, int, int, int]]) -> int:
    """Return where in the file an address is. Raises ValueError when it is nowhere."""
    for kind, start, offset, size in segments:
        if kind == _LOAD and start <= address < start + size:
            return address - start + offset
    raise ValueError("an address in no segment")
