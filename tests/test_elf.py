"""Reading ELF files: judged by pyelftools on this machine's files, and by mutating their bytes."""

import os
import subprocess
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from needs import needs
from objects import make_elf

from partialroot.closure import notes
from partialroot.closure.elf import Abi, Elf, Need, read_elf
from partialroot.closure.notes import DlopenNote
from partialroot.errors import SourceError

PLACES = (
    "/usr/bin",
    "/usr/sbin",
    "/usr/lib",
    "/usr/lib64",
    "/usr/lib32",
    "/usr/lib/*-linux-gnu",
    "/usr/*-linux-gnu*/lib",
)
NOW = {"DT_FLAGS": 0x8, "DT_FLAGS_1": 0x1}
FDO = (b"FDO\0", 0x407C0C0A)


def elf_files() -> Iterator[str]:
    """Yield the ELF files of this machine's usual places, those of other architectures too."""
    for place in sorted(path for pattern in PLACES for path in Path("/").glob(pattern[1:])):
        for entry in os.scandir(place):
            if entry.is_file(follow_symlinks=False):
                with open(entry.path, "rb") as file:
                    if file.read(4) == b"\x7fELF":
                        yield entry.path


def judged(path: str) -> Elf | None:
    """Read the same with pyelftools."""
    from elftools.elf.dynamic import DynamicSegment
    from elftools.elf.elffile import ELFFile
    from elftools.elf.segments import InterpSegment

    with open(path, "rb") as file:
        elf = ELFFile(file)
        if elf["e_type"] not in ("ET_EXEC", "ET_DYN"):
            return None
        segments = list(elf.iter_segments())
        interpreters = [one.get_interp_name() for one in segments if isinstance(one, InterpSegment)]
        tags = [
            tag
            for one in segments
            if isinstance(one, DynamicSegment) and one["p_filesz"]
            for tag in one.iter_tags()
            if tag.entry.d_tag != "DT_NULL"
        ]
        kinds = {"DT_NEEDED": "needed", "DT_FILTER": "filter", "DT_AUXILIARY": "auxiliary"}
        named = {tag.entry.d_tag: tag for tag in tags}
        flags = named.get("DT_FLAGS_1")
        return Elf(
            Abi(elf.elfclass, elf.little_endian, _machine(path)),
            elf["e_flags"],
            interpreters[0] if interpreters else None,
            bool(tags),
            getattr(named.get("DT_SONAME"), "soname", None),
            tuple(Need(kinds[tag.entry.d_tag], _string(tag)) for tag in tags if tag.entry.d_tag in kinds),
            getattr(named.get("DT_RPATH"), "rpath", None),
            getattr(named.get("DT_RUNPATH"), "runpath", None),
            flags is not None and bool(flags.entry.d_val & 0x800),
            (),
            now="DT_BIND_NOW" in named
            or any(tag in named and named[tag].entry.d_val & bit for tag, bit in NOW.items()),
        )


def _compared(elf: Elf) -> Elf:
    """Return what both readers say: not where in the file things are, nor what only illumos reads."""
    return elf._replace(dlopen=(), strings=(0, 0), last_path=None)


def _machine(path: str) -> int:
    with open(path, "rb") as file:
        head = file.read(20)
    return int.from_bytes(head[18:20], "little" if head[5] == 1 else "big")


def _string(tag: object) -> str:
    return str(getattr(tag, "needed", None) or getattr(tag, "filter", None) or getattr(tag, "auxiliary", ""))


@needs("glibc")
def test_every_elf_file_of_the_machine_reads_as_by_pyelftools() -> None:
    paths = list(elf_files())
    assert len(paths) > 100
    differing = {}
    for path in paths:
        with open(path, "rb") as file:
            ours = read_elf(file.fileno())
        theirs = judged(path)
        if theirs is None or ours is None:
            assert ours is None and theirs is None, path
        elif _compared(ours) != theirs:
            differing[path] = (ours, theirs)
    assert differing == {}


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("little", [True, False])
def test_both_classes_and_byte_orders(bits: int, little: bool) -> None:
    data = make_elf(
        bits=bits,
        little=little,
        machine=22,
        interpreter="/lib/ld64.so.1",
        entries=[
            (1, "liba.so.1"),
            (14, "libme.so"),
            (0x7FFFFFFF, "libf.so"),
            (0x7FFFFFFD, "libx.so"),
            (15, "$ORIGIN"),
            (29, "/opt/lib:/srv"),
            (0x6FFFFFFB, 0x801),
            (1, "libc.so.6"),
        ],
        notes=[(b"GNU\0", 3, b"build id"), (*FDO, b'{"soname": "libz.so"}\0'), (*FDO, b"[]")],
    )
    found = read_elf(data)
    assert found is not None
    assert _compared(found)._replace(dlopen=found.dlopen) == Elf(
        Abi(bits, little, 22),
        0,
        "/lib/ld64.so.1",
        True,
        "libme.so",
        (
            Need("needed", "liba.so.1"),
            Need("filter", "libf.so"),
            Need("auxiliary", "libx.so"),
            Need("needed", "libc.so.6"),
        ),
        "$ORIGIN",
        "/opt/lib:/srv",
        True,
        (b'{"soname": "libz.so"}\0', b"[]"),
        now=True,
    )


def test_what_no_linker_loads_is_none() -> None:
    assert read_elf(b"") is None
    assert read_elf(b"\x7fEL") is None
    assert read_elf(b"#!/bin/sh\n") is None
    assert read_elf(make_elf(kind=1)) is None
    assert read_elf(make_elf(kind=4)) is None


@pytest.mark.parametrize(
    "data",
    [
        b"\x7fELF",
        b"\x7fELF\x03\x01" + bytes(60),
        make_elf()[:60],
        make_elf(interpreter="/lib/ld.so")[:200],
        make_elf(entries=[(1, 1 << 40)]),
        make_elf(entries=[(1, "x" * 70000)]),
        make_elf(interpreter="/x" * 4000),
        make_elf(entries=[(1, "liba")]).replace(b"liba\0", b"libaa"),
    ],
    ids=[
        "magic",
        "class",
        "header",
        "cut",
        "string outside",
        "long name",
        "long interpreter",
        "unterminated",
    ],
)
def test_damage_is_said(data: bytes) -> None:
    with pytest.raises(SourceError, match="damaged ELF"):
        read_elf(data)


def test_a_thousand_needs_of_one_long_string_cost_little() -> None:
    data = make_elf(entries=[(14, "x" * 60000), *((1, 1) for _ in range(4000))])
    tracemalloc.start()
    with pytest.raises(SourceError, match="too large"):
        read_elf(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20


REAL = [Path(path).read_bytes() for path in ("/bin/sh", "/usr/bin/env") if os.path.exists(path)]
HANDMADE = [
    make_elf(
        bits=bits,
        little=little,
        interpreter="/lib/ld.so",
        entries=[(1, "liba"), (29, "/x")],
        notes=[(*FDO, b"[]")],
    )
    for bits in (32, 64)
    for little in (True, False)
]


def reads_or_says(data: bytes) -> None:
    """Whatever the bytes, the answer is an Elf, None, or a SourceError, and it is quick."""
    start = time.process_time()
    try:
        found = read_elf(data)
    except SourceError:
        found = None
    if found is not None:
        assert sum(len(need.name) for need in found.needs) <= 1 << 23
        for note in found.dlopen:
            notes.parse(note)
    assert time.process_time() - start < 10, "as good as a hang"


@settings(max_examples=400, deadline=None)
@given(data=st.data(), sample=st.sampled_from(HANDMADE + REAL))
def test_mutated_bytes(data: st.DataObject, sample: bytes) -> None:
    """Most of what is read is in the first pages and wherever the dynamic segment is."""
    changed = bytearray(sample)
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, min(len(sample), 1024) - 1) | st.integers(0, len(sample) - 1))
        size = data.draw(st.sampled_from([1, 1, 2, 4, 8]))
        changed[at : at + size] = data.draw(st.binary(min_size=size, max_size=size) | st.just(b"\xff" * size))
    end = data.draw(st.none() | st.integers(0, len(sample)))
    reads_or_says(bytes(changed[:end]))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_arbitrary_bytes(data: bytes) -> None:
    reads_or_says(b"\x7fELF" + data)


def test_a_descriptor_reads_like_the_bytes(tmp_path: Path) -> None:
    for number, data in enumerate(HANDMADE + REAL):
        place = tmp_path / str(number)
        place.write_bytes(data)
        with place.open("rb") as file:
            assert read_elf(file.fileno()) == read_elf(data)


def test_a_directory_is_no_elf_file_but_an_error(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(SourceError, match="cannot be read"):
        read_elf(descriptor)
    os.close(descriptor)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            '[{"soname": ["liba.so.2", "liba.so.1"], "priority": "required"}]',
            [DlopenNote(("liba.so.2", "liba.so.1"), "required")],
        ),
        ('{"soname": "libb.so"}\0', [DlopenNote(("libb.so",), "recommended")]),
        (
            '[{"soname": ["libc.so"], "feature": "x"}, {"soname": ["libd.so"], "priority": "suggested"}]\0\0',
            [DlopenNote(("libc.so",), "recommended"), DlopenNote(("libd.so",), "suggested")],
        ),
        ('[{"priority": "required"}, {"soname": []}, {"soname": [7, ""]}, 3, null]', []),
        ("[" * 100000, []),
        ("not json", []),
        ('"libe.so"', []),
    ],
)
def test_dlopen_notes(text: str, expected: list[DlopenNote]) -> None:
    assert list(notes.parse(text.encode())) == expected


@needs("gcc")
def test_a_note_as_compilers_emit_it(tmp_path: Path) -> None:
    """The form of the specification's own example, in a section of an allocated note segment."""
    source = tmp_path / "note.s"
    source.write_text(
        '.section .note.dlopen, "a", %note\n.balign 4\n.long 4\n.long 2f - 1f\n.long 0x407c0c0a\n'
        '.asciz "FDO"\n1: .asciz "[{\\"soname\\":[\\"libzstd.so.1\\"],\\"priority\\":\\"required\\"}]"\n'
        "2: .balign 4\n"
    )
    subprocess.run(["as", "-o", tmp_path / "note.o", source], check=True)
    subprocess.run(["ld", "-shared", "-o", tmp_path / "note.so", tmp_path / "note.o"], check=True)
    elf = read_elf((tmp_path / "note.so").read_bytes())
    assert elf is not None
    assert [notes.parse(note) for note in elf.dlopen] == [(DlopenNote(("libzstd.so.1",), "required"),)]
