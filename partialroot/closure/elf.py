"""What a dynamic linker reads of an ELF file, by a handful of preads: 30 microseconds a file.

Any class, byte order and machine. The bytes are not trusted: every offset is checked by being read, and
one file is never read for more than BUDGET bytes. Numbers are those of the System V gABI and of glibc's
elf.h, and illumos' sys/link.h; FDO notes are UAPI.12 (ELF_DLOPEN_METADATA).
"""

import os
import struct
from collections.abc import Callable, Iterable, Iterator
from itertools import takewhile
from operator import itemgetter
from typing import Any, NamedTuple

from partialroot.closure import capabilities, openers
from partialroot.errors import SourceError

MAGIC = b"\x7fELF"
BUDGET = 1 << 22
"""Of no file more bytes are read or kept than this; real ones need a few thousand."""

_SYMBOL_BUDGET = 1 << 26  # the names and symbols of a large program, like node

_HEAD = 4096
_EXECUTABLE, _SHARED = 2, 3
_LOAD, _DYNAMIC, _INTERP, _NOTE = 1, 2, 3, 4
# Sizes in bytes.
_WINDOW = 512
_MOST_HEADERS = 1 << 16  # the kernel takes no more than one page of them
_MOST_DYNAMIC = 1 << 16
_MOST_NOTES = 1 << 18
_MOST_STRING = 1 << 16
_MOST_PATH = 4096

_NULL, _NEEDED, _HASH, _STRTAB, _SYMTAB, _STRSZ, _SONAME, _RPATH, _RUNPATH = 0, 1, 4, 5, 6, 10, 14, 15, 29
_FLAGS_1, _AUXILIARY, _FILTER = 0x6FFFFFFB, 0x7FFFFFFD, 0x7FFFFFFF
_NOW, _NODEFLIB = 0x1, 0x800
_BIND_NOW, _FLAGS, _FLAG_BIND_NOW = 24, 30, 0x8
_NEED_KINDS = {_NEEDED: "needed", _AUXILIARY: "auxiliary", _FILTER: "filter"}
# Tags of illumos. Other systems have given these numbers other meanings. Its ld marks every object (libld,
# EI_OSABI), other linkers' objects for it have no mark: its ld.so.1 looks at none (elf.c, elf_verify).
_SOLARIS = 6
_SOLARIS_KINDS = _NEED_KINDS | {0x7FFFFFFE: "needed", 0x6000000D: "auxiliary", 0x6000000F: "filter"}
_SOLARIS_KINDS |= {0x6FFFFEFC: "audit", 0x6FFFFEFB: "audit"}  # DT_AUDIT, DT_DEPAUDIT
_CONFIG, _POSITION = 0x6FFFFEFA, 0x6FFFFDFD
_WHEN = {1: "lazy", 4: "deferred", 5: "deferred"}

_tag = itemgetter(0)

_FDO, _DLOPEN = b"FDO\0", 0x407C0C0A


class Need(NamedTuple):
    """A name the linker looks for; ``kind`` is needed, filter, or what may be absent: auxiliary, audit.

    ``when`` is lazy or deferred for what illumos' linker does not load before it is used, else empty.
    """

    kind: str
    name: str
    when: str = ""


class Abi(NamedTuple):
    """What two objects must share to be linked: ``bits`` 32 or 64, byte order, machine (e_machine)."""

    bits: int
    little: bool
    machine: int


class Elf(NamedTuple):
    """What a dynamic linker must know of a program or library.

    ``flags`` is e_flags. ``needs`` are in the order of the file, which is the order of loading. ``dynamic``
    is False for a static program. ``dlopen`` holds the raw FDO notes about libraries opened at run time.
    ``strings`` is where in the file all names are, and how many bytes. ``last_path`` is the DT_RPATH or
    DT_RUNPATH that comes last. ``now`` says that all is bound at start-up. Only what was read as ``illumos``
    has ``config``, the DT_CONFIG, ``opens``: which functions that open others by name (module openers) it
    calls, and capabilities: ``special`` is what not every machine can load, ``address32`` what only a process
    with 32-bit addresses can.
    """

    abi: Abi
    flags: int
    interpreter: str | None
    dynamic: bool
    soname: str | None
    needs: tuple[Need, ...]
    rpath: str | None
    runpath: str | None
    no_default: bool
    dlopen: tuple[bytes, ...]
    strings: tuple[int, int] = (0, 0)
    last_path: str | None = None
    config: str | None = None
    opens: frozenset[bytes] = frozenset()
    now: bool = False
    special: bool = False
    address32: bool = False
    illumos: bool = False

    @property
    def packed(self) -> tuple[object, ...]:
        """The same in tuples alone."""
        abi, flags, interpreter, dynamic, soname, needs, *rest = self
        return tuple(abi), flags, interpreter, dynamic, soname, tuple(map(tuple, needs)), *rest

    @classmethod
    def unpacked(cls, fields: tuple[Any, ...]) -> "Elf":
        """Return what was packed."""
        abi, flags, interpreter, dynamic, soname, needs, *rest = fields
        return cls(Abi(*abi), flags, interpreter, dynamic, soname, tuple(Need(*one) for one in needs), *rest)


class _Layout(NamedTuple):
    """How the structures of one class and byte order are unpacked."""

    header: struct.Struct  # from e_type to e_phnum
    segment: struct.Struct
    columns: tuple[int, int, int, int]  # where offset, vaddr, filesz and align are in a program header
    dynamic: struct.Struct
    note: struct.Struct
    symbol: struct.Struct  # the name, and the section, which is 0 for what others define


def _layout(order: str, bits: int) -> _Layout:
    if bits == 32:
        forms, columns = ("HHIIIIIHHH", "8I", "II", "3I", "I10xH"), (1, 2, 4, 7)
    else:
        forms, columns = ("HHIQQQIHHH", "IIQQQQQQ", "QQ", "3I", "I2xH16x"), (2, 3, 5, 7)
    header, segment, dynamic, note, symbol = (struct.Struct(order + form) for form in forms)
    return _Layout(header, segment, columns, dynamic, note, symbol)


_LAYOUTS = {
    (ident_class, ident_data): _layout(order, bits)
    for ident_class, bits in ((1, 32), (2, 64))
    for ident_data, order in ((1, "<"), (2, ">"))
}


def read_elf(source: int | bytes, head: bytes | None = None, *, illumos: bool = False) -> Elf | None:
    """Read a program or shared object from an open file descriptor, or from all of its bytes.

    ``head`` is what :func:`read_head` has read of it already; ``illumos`` reads it as one of illumos' even if
    it has no mark that says so. None when it is no ELF file, or one that no linker loads (a relocatable or a
    core file). Raises SourceError when it says it is one but is damaged.
    """
    file = _File(source, BUDGET, head)
    ident = file.head[:16]
    if ident[:4] != MAGIC:
        return None
    layout = _LAYOUTS.get((ident[4], ident[5])) if len(ident) == 16 else None
    if layout is None:
        raise _damaged("its class or byte order is unknown")
    kind, machine, _, _, offset, _, flags, _, size, count = layout.header.unpack(
        file.at(16, layout.header.size)
    )
    if kind not in (_EXECUTABLE, _SHARED):
        return None
    if (count and size != layout.segment.size) or count * size > _MOST_HEADERS:
        raise _damaged("its program headers have a wrong size")
    abi = Abi(64 if ident[4] == 2 else 32, ident[5] == 1, machine)
    return _Reading(file, layout, abi, file.at(offset, count * size)).elf(
        flags, illumos or ident[7] == _SOLARIS
    )


def read_head(descriptor: int) -> bytes:
    """Return the first bytes of an open file, where most is that is looked for in an ELF file."""
    return _pread(descriptor, _HEAD, 0)


def mentions(descriptor: int, elf: Elf, symbols: Iterable[bytes]) -> bool:
    """Whether an open object defines or uses one of the symbols; of its names BUDGET bytes are read."""
    offset, size = elf.strings
    if offset >> 62:
        return False
    names = _pread(descriptor, min(size, BUDGET), offset)
    return any(symbol + b"\0" in names for symbol in symbols)


def _damaged(why: str) -> SourceError:
    return SourceError(f"is a damaged ELF file: {why}")


class _File:
    """Bytes at offsets, of a descriptor or of a buffer, within the budget."""

    def __init__(self, source: int | bytes, budget: int, head: bytes | None = None) -> None:
        self.source = source
        self._left = budget
        if head is None:
            head = source[:_HEAD] if isinstance(source, bytes) else read_head(source)
        self.head = head

    def spend(self, size: int) -> None:
        """Count bytes that are read or kept against the budget."""
        self._left -= size
        if self._left < 0:
            raise _damaged("a size in it is too large")

    def at(self, offset: int, size: int, *, short: bool = False) -> bytes:
        """Return ``size`` bytes, or as many as there are when ``short``; SourceError otherwise."""
        self.spend(size)
        if offset >> 62:
            raise _damaged("an offset in it is too large")
        if offset + size <= len(self.head):
            return self.head[offset : offset + size]
        if isinstance(self.source, bytes):
            data = self.source[offset : offset + size]
        else:
            data = _pread(self.source, size, offset)
        if len(data) < size and not short:
            raise _damaged("it ends too early")
        return data


def _pread(descriptor: int, size: int, offset: int) -> bytes:
    try:
        return os.pread(descriptor, size, offset)
    except OSError as error:
        raise SourceError(f"cannot be read: {error.strerror}") from None


class _Strings:
    """The string table. Only what is asked for is read: a window, as a linker's names lie close together."""

    def __init__(self, file: _File, offset: int, size: int) -> None:
        self._file, self.offset, self.size = file, offset, size
        self._start, self._window = 0, b""

    def text(self, start: int) -> str:
        """Return the string at ``start``; SourceError when it is not there, or too long."""
        if not self._start <= start < self._start + len(self._window):
            self._move(start, _WINDOW)
        end = self._window.find(b"\0", start - self._start)
        if end < 0:
            self._move(start, _MOST_STRING)
            end = self._window.find(b"\0")
        if end < 0:
            raise _damaged("a name in it is not there or does not end")
        self._file.spend(end + self._start - start)
        return self._window[start - self._start : end].decode("utf-8", "surrogateescape")

    def _move(self, start: int, size: int) -> None:
        size = max(0, min(size, self.size - start))
        self._start, self._window = start, self._file.at(self.offset + start, size, short=True)


class _Reading:
    """One ELF file while it is read."""

    def __init__(self, file: _File, layout: _Layout, abi: Abi, headers: bytes) -> None:
        self._file, self._layout, self._abi = file, layout, abi
        where, address, size, align = layout.columns
        # Of each kind of segment: offset, address, size and alignment.
        self._segments: dict[int, list[tuple[int, int, int, int]]] = {}
        for header in layout.segment.iter_unpack(headers):
            if header[size]:
                segment = header[where], header[address], header[size], header[align]
                self._segments.setdefault(header[0], []).append(segment)

    def elf(self, flags: int, illumos: bool) -> Elf:
        """Put together what the program headers lead to."""
        entries = self._dynamic()
        values = dict(entries)  # the last one of a tag counts, as in glibc
        strings = self._strings(values)
        text = strings.text
        paths = [value for tag, value in entries if tag in (_RPATH, _RUNPATH)]
        return Elf(
            self._abi,
            flags,
            self._interpreter(),
            bool(entries),
            text(values[_SONAME]) if _SONAME in values else None,
            tuple(_needs(entries, _SOLARIS_KINDS if illumos else _NEED_KINDS, text)),
            text(values[_RPATH]) if _RPATH in values else None,
            text(values[_RUNPATH]) if _RUNPATH in values else None,
            bool(values.get(_FLAGS_1, 0) & _NODEFLIB),
            tuple(self._dlopen_notes()),
            (strings.offset, strings.size),
            text(paths[-1]) if paths else None,
            text(values[_CONFIG]) if illumos and _CONFIG in values else None,
            self._opens(values, strings) if illumos else frozenset(),
            _BIND_NOW in values
            or bool(values.get(_FLAGS, 0) & _FLAG_BIND_NOW or values.get(_FLAGS_1, 0) & _NOW),
            *(self._demands() if illumos else (False, False)),
            illumos,
        )

    def _demands(self) -> tuple[bool, bool]:
        for offset, _, size, _ in self._of_kind(capabilities.SEGMENT):
            one = self._layout.dynamic  # of the same form
            data = self._file.at(offset, min(size, _MOST_DYNAMIC) // one.size * one.size)
            return capabilities.demands(one.iter_unpack(data), self._abi.machine)
        return False, False

    def _of_kind(self, kind: int) -> Iterable[tuple[int, int, int, int]]:
        return self._segments.get(kind, ())

    def _dynamic(self) -> list[tuple[int, int]]:
        """Return tag and value of the dynamic section's entries, up to the one that ends it."""
        for offset, _, size, _ in self._of_kind(_DYNAMIC):
            one = self._layout.dynamic
            size = min(size, _MOST_DYNAMIC) // one.size * one.size
            entries: Iterator[tuple[int, int]] = one.iter_unpack(self._file.at(offset, size))
            return list(takewhile(_tag, entries))
        return []

    def _strings(self, values: dict[int, int]) -> _Strings:
        """Find the string table: the dynamic section has its address, the file wants an offset."""
        offset = self._offset(values.get(_STRTAB, 0))
        return _Strings(self._file, offset, values.get(_STRSZ, 0) if offset else 0)

    def _offset(self, address: int) -> int:
        """Return where in the file an address is; 0 when it is nowhere."""
        for offset, start, size, _ in self._of_kind(_LOAD):
            if start <= address < start + size:
                return address - start + offset
        return 0

    def _opens(self, values: dict[int, int], strings: _Strings) -> frozenset[bytes]:
        """Return the functions of module openers that are used and not defined here; none if damaged."""
        table, hashed = self._offset(values.get(_SYMTAB, 0)), self._offset(values.get(_HASH, 0))
        if not (table and hashed):
            return frozenset()
        file = _File(self._file.source, _SYMBOL_BUDGET, self._file.head)
        try:
            names = file.at(strings.offset, strings.size)
            symbols = self._symbols(file, table, hashed)
        except SourceError:
            return frozenset()
        undefined = {names[at : at + openers.LONGEST] for at, section in symbols if section == 0}
        return openers.ALL.intersection(one.partition(b"\0")[0] for one in undefined)

    def _symbols(self, file: _File, table: int, hashed: int) -> Iterator[tuple[int, int]]:
        """Return name and section of all symbols; the hash table says how many there are."""
        note, symbol = self._layout.note, self._layout.symbol
        _, count, _ = note.unpack(file.at(hashed, note.size))
        return symbol.iter_unpack(file.at(table, count * symbol.size))

    def _interpreter(self) -> str | None:
        for offset, _, size, _ in self._of_kind(_INTERP):
            if size > _MOST_PATH:
                raise _damaged("the path of its interpreter is too long")
            path, end, _ = self._file.at(offset, size).partition(b"\0")
            if not end or not path:
                raise _damaged("the path of its interpreter does not end")
            return path.decode("utf-8", "surrogateescape")
        return None

    def _dlopen_notes(self) -> Iterator[bytes]:
        for offset, _, size, align in self._of_kind(_NOTE):
            if size <= _MOST_NOTES:
                yield from self._notes(self._file.at(offset, size), align)

    def _notes(self, data: bytes, align: int) -> Iterator[bytes]:
        """Yield the descriptions of the FDO notes about dlopen; the first broken note ends the list."""
        step = 8 if align == 8 else 4
        at = 0
        while at + 12 <= len(data):
            name_size, size, kind = self._layout.note.unpack_from(data, at)
            start = _aligned(at + 12 + name_size, step)
            if start + size > len(data):
                return
            if kind == _DLOPEN and data[at + 12 : at + 12 + name_size] == _FDO:
                yield data[start : start + size]
            at = _aligned(start + size, step)


def _needs(
    entries: list[tuple[int, int]], kinds: dict[int, str], text: Callable[[int], str]
) -> Iterator[Need]:
    """Yield what the entries name; one that says when belongs to the entry right after it."""
    before = 0
    for tag, value in entries:
        if tag in kinds:
            yield Need(kinds[tag], text(value), _WHEN.get(before & 5, ""))
        before = value if tag == _POSITION else 0


def _aligned(offset: int, step: int) -> int:
    return -(-offset // step) * step
