"""The smallest ELF files a dynamic linker takes: as illumos' ld makes them, without the code.

Numbers are those of <sys/elf.h> and <sys/link.h>. Every object has the OS ABI of Solaris, its runpath both as
DT_RUNPATH and DT_RPATH, and before each lazy need the entry that makes it so (DT_POSFLAG_1).
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

LAZY, DEFERRED = 1, 4
FILTERS = {
    "DT_FILTER": 0x7FFFFFFF,
    "DT_AUXILIARY": 0x7FFFFFFD,
    "DT_SUNW_FILTER": 0x6000000F,
    "DT_SUNW_AUXILIARY": 0x6000000D,
}
_NEEDED, _HASH, _STRTAB, _SYMTAB, _STRSZ, _SYMENT, _SONAME, _RPATH, _RUNPATH = 1, 4, 5, 6, 10, 11, 14, 15, 29
_POSFLAG_1, _FLAGS_1 = 0x6FFFFDFD, 0x6FFFFFFB
AUDITS = {"DT_AUDIT": 0x6FFFFEFC, "DT_DEPAUDIT": 0x6FFFFEFB}
_LOAD, _DYNAMIC, _INTERP, _SUNWCAP = 1, 2, 3, 0x6FFFFFFD
_SOLARIS, _SUNW_CURRENT = 6, 1
_EXECUTABLE, _SHARED = 2, 3
_BASE = {32: 0x8050000, 64: 0x400000}  # where illumos' ld puts programs
_MACHINE = {32: 3, 64: 62}
_ALIGN = 8


@dataclass(frozen=True)
class Need:
    """A DT_NEEDED entry; ``flags`` are those of the DT_POSFLAG_1 entry before it."""

    name: str
    flags: int = 0


@dataclass(frozen=True)
class Object:
    """What an object tells the dynamic linker. ``filters`` are pairs of a key of FILTERS and a string.

    ``imports`` are its undefined symbols, ``flags_1`` is DT_FLAGS_1; ``entries`` are further dynamic entries,
    a string or a number each. ``capabilities`` are tags (CA_SUNW_*) and values of PT_SUNWCAP. ``tail``
    follows the last segment's tables, as data would. ``bound`` says of imports which need has them, and
    whether data refers to them: ld's DT_SYMINFO, and relocations.
    """

    bits: int = 32
    interpreter: str | None = None
    soname: str | None = None
    needs: Sequence[Need] = ()
    filters: Sequence[tuple[str, str]] = ()
    runpath: str | None = None
    flags_1: int = 0
    imports: Sequence[str] = ()
    entries: Sequence[tuple[int, int | str]] = ()
    capabilities: Sequence[tuple[int, int]] = ()
    bound: Sequence[tuple[str, str, bool]] = ()
    tail: bytes = b""


class _Strings:
    """A string table that grows."""

    def __init__(self) -> None:
        self.table = bytearray(b"\0")

    def at(self, text: str) -> int:
        """Return the offset of ``text``, added at the end."""
        offset = len(self.table)
        self.table += text.encode() + b"\0"
        return offset


def make(one: Object) -> bytes:
    """Return the file of an object: a program (ET_EXEC) if it has an interpreter, else a library (ET_DYN)."""
    strings = _Strings()
    entries = list(_entries(one, strings))
    symbols = _symbols(one.bits, [strings.at(name) for name in one.imports])
    parts = [
        _padded(b"" if one.interpreter is None else one.interpreter.encode() + b"\0"),
        _padded(
            struct.pack(f"<{4 + len(one.imports)}I", 1, len(one.imports) + 1, *[0] * (len(one.imports) + 2))
        ),
        _padded(symbols),
        _padded(bytes(strings.table)),
    ]
    word = "I" if one.bits == 32 else "Q"
    demands = [*one.capabilities, (0, 0)] if one.capabilities else []
    parts.append(_padded(b"".join(struct.pack("<2" + word, *pair) for pair in demands)))
    parts += [_padded(_syminfo(one)), _padded(_relocations(one))]
    header, segment = (52, 32) if one.bits == 32 else (64, 56)
    count = 2 + (one.interpreter is not None) + bool(demands)
    *starts, end = accumulate(map(len, parts), initial=header + count * segment)
    base = 0 if one.interpreter is None else _BASE[one.bits]
    entries += [
        (_HASH, base + starts[1]),
        (_SYMTAB, base + starts[2]),
        (_SYMENT, 16 if one.bits == 32 else 24),
        (_STRTAB, base + starts[3]),
        (_STRSZ, len(strings.table)),
        *([(_FLAGS_1, one.flags_1)] if one.flags_1 else []),
        *(_bindings(one, base + starts[5], base + starts[6]) if one.bound else []),
        (0, 0),
    ]
    dynamic = b"".join(struct.pack("<2" + word, *entry) for entry in entries)
    total = end + len(dynamic) + len(one.tail)
    segments = [(_LOAD, 0, total), (_DYNAMIC, end, len(dynamic))]
    if demands:
        segments.append((_SUNWCAP, starts[4], len(parts[4])))
    if one.interpreter is not None:
        segments.insert(0, (_INTERP, starts[0], len(one.interpreter) + 1))
    heads = b"".join(_segment(one.bits, base, *each) for each in segments)
    kind = _SHARED if one.interpreter is None else _EXECUTABLE
    return _header(one.bits, kind, count) + heads + b"".join(parts) + dynamic + one.tail


def _entries(one: Object, strings: _Strings) -> Iterable[tuple[int, int]]:
    """Yield the dynamic entries whose values are names, in ld's order."""
    for need in one.needs:
        if need.flags:
            yield _POSFLAG_1, need.flags
        yield _NEEDED, strings.at(need.name)
    for kind, name in one.filters:
        yield FILTERS[kind], strings.at(name)
    for tag, value in one.entries:
        yield tag, strings.at(value) if isinstance(value, str) else value
    if one.soname is not None:
        yield _SONAME, strings.at(one.soname)
    if one.runpath is not None:
        offset = strings.at(one.runpath)
        yield _RUNPATH, offset
        yield _RPATH, offset


def _syminfo(one: Object) -> bytes:
    """Return for each symbol which dynamic entry is the need that has it, with SYMINFO_FLG_LAZYLOAD."""
    if not one.bound:
        return b""
    places, at = {}, 0
    for need in one.needs:
        at += bool(need.flags)
        places[need.name] = at
        at += 1
    has = {symbol: places[need] for symbol, need, _ in one.bound}
    notes = [(has[name], 8) if name in has else (0xFFFF, 1) for name in one.imports]
    return b"".join(struct.pack("<HH", *note) for note in [(1, 0), *notes])


def _relocations(one: Object) -> bytes:
    """Return a relocation for each binding: of data (type 1), or of a call (type 7)."""
    word, shift, more = ("I", 8, ()) if one.bits == 32 else ("Q", 32, (0,))
    infos = ((one.imports.index(name) + 1) << shift | (1 if data else 7) for name, _, data in one.bound)
    return b"".join(struct.pack(f"<{2 + len(more)}{word}", 0, info, *more) for info in infos)


def _bindings(one: Object, syminfo: int, relocations: int) -> list[tuple[int, int]]:
    table, size = (17, 18) if one.bits == 32 else (7, 8)
    return [
        (0x6FFFFEFF, syminfo),
        (0x6FFFFDFE, len(_syminfo(one))),
        (table, relocations),
        (size, len(_relocations(one))),
    ]


def _symbols(bits: int, names: Iterable[int]) -> bytes:
    """Return a symbol table: the null symbol, then undefined functions with these names."""
    info = 0x12  # STB_GLOBAL, STT_FUNC
    if bits == 32:
        return bytes(16) + b"".join(struct.pack("<IIIBBH", name, 0, 0, info, 0, 0) for name in names)
    return bytes(24) + b"".join(struct.pack("<IBBHQQ", name, info, 0, 0, 0, 0) for name in names)


def _header(bits: int, kind: int, segments: int) -> bytes:
    ident = b"\x7fELF" + bytes([bits // 32, 1, 1, _SOLARIS, _SUNW_CURRENT]) + bytes(7)
    word, size, each = ("I", 52, 32) if bits == 32 else ("Q", 64, 56)
    return ident + struct.pack(
        f"<HHI3{word}I6H", kind, _MACHINE[bits], 1, 0, size, 0, 0, size, each, segments, 0, 0, 0
    )


def _segment(bits: int, base: int, kind: int, offset: int, size: int) -> bytes:
    address = base + offset
    if bits == 32:
        return struct.pack("<8I", kind, offset, address, 0, size, size, 5, _ALIGN)
    return struct.pack("<2I6Q", kind, 5, offset, address, 0, size, size, _ALIGN)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % _ALIGN)
