"""Small programs and libraries for tests of the closure: linked by ld in a moment, or made byte by byte."""

import os
import re
import struct
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from sources import add_path

LISTED = re.compile(r"^\t(?:.*? => )?(/.*) \(0x[0-9a-f]+\)$", re.MULTILINE)
ABSENT = re.compile(r"^\t(.*) => not found$", re.MULTILINE)


def loader_of(program: str = "/bin/sh") -> str:
    """Return the dynamic linker that a program of this system names."""
    text = subprocess.run(["readelf", "-l", program], capture_output=True, text=True, check=True).stdout
    found = re.search(r"program interpreter: (.*)]", text)
    assert found is not None
    return found[1]


class Workshop:
    """A root with this system's dynamic linker and nothing else, into which objects are linked."""

    def __init__(self, root: Path, scratch: Path) -> None:
        self.root = root
        self.loader = loader_of()
        self._scratch = scratch
        root.mkdir()
        add_path(root, self.loader)
        for name in ("etc", "usr/bin", "usr/lib"):
            (root / name).mkdir(parents=True, exist_ok=True)

    def library(
        self,
        path: str,
        needs: Iterable[str] = (),
        *,
        soname: str | None = None,
        rpath: str | None = None,
        runpath: str | None = None,
        options: Sequence[str] = (),
        bits: int = 64,
    ) -> Path:
        """Link a library; ``needs`` become its DT_NEEDED as they are."""
        words = ["-shared", *(["-soname", soname] if soname else [])]
        return self._link(path, words, needs, rpath, runpath, options, bits)

    def program(
        self,
        path: str,
        needs: Iterable[str] = (),
        *,
        rpath: str | None = None,
        runpath: str | None = None,
        options: Sequence[str] = (),
    ) -> Path:
        """Link a program that names the linker."""
        words = ["-pie", "-dynamic-linker", self.loader, "-e", "0"]
        return self._link(path, words, needs, rpath, runpath, options, 64)

    def assemble(self, source: Path, name: str) -> Path:
        """Assemble a source file into an object file of that name, and return its path."""
        place = self._scratch / name
        subprocess.run(["as", "-o", place, source], check=True)
        return place

    def link(self, path: str, target: str) -> None:
        """Make a symlink in the root."""
        place = self.root / path[1:]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)

    def cache(self, *directories: str, style: str = "new") -> None:
        """Let ldconfig write the root's cache."""
        (self.root / "etc/ld.so.conf").write_text("".join(f"{one}\n" for one in directories))
        subprocess.run(["ldconfig", "-r", self.root, "-X", "-c", style], check=True, capture_output=True)

    def listed(self, path: str) -> tuple[set[str], set[str]]:
        """Return what the root's own linker maps for a program, by name, and what it does not find."""

        def enter() -> None:
            os.chroot(self.root)
            os.chdir("/")

        run = subprocess.run(
            [self.loader, path],  # with --list the linker would stop at the first thing missing
            capture_output=True,
            text=True,
            env={"LD_TRACE_LOADED_OBJECTS": "1"},
            preexec_fn=enter,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        return set(LISTED.findall(run.stdout)) - {self.loader}, set(ABSENT.findall(run.stdout))

    def _link(
        self,
        path: str,
        words: Sequence[str],
        needs: Iterable[str],
        rpath: str | None,
        runpath: str | None,
        options: Sequence[str],
        bits: int,
    ) -> Path:
        place = self.root / path[1:]
        place.parent.mkdir(parents=True, exist_ok=True)
        emulation = ["-m", "elf_i386"] if bits == 32 else []
        if rpath is not None:
            words = [*words, "--disable-new-dtags", "-rpath", rpath]
        if runpath is not None:
            words = [*words, "--enable-new-dtags", "-rpath", runpath]
        stubs = [str(self._stub(name, number, bits)) for number, name in enumerate(needs)]
        linked = [
            *emulation,
            "--no-as-needed",
            *words,
            *options,
            "-o",
            str(place),
            str(self._empty(bits)),
            *stubs,
        ]
        subprocess.run(["ld", *linked], check=True, capture_output=True)
        return place

    def _empty(self, bits: int) -> Path:
        place = self._scratch / f"empty{bits}.o"
        if not place.exists():
            subprocess.run(["as", f"--{bits}", "-o", place, "/dev/null"], check=True)
        return place

    def _stub(self, name: str, number: int, bits: int) -> Path:
        """Return a library whose only purpose is its name."""
        place = self._scratch / f"stub{number}-{bits}.so"
        emulation = ["-m", "elf_i386"] if bits == 32 else []
        linked = [*emulation, "-shared", "-soname", name, "-o", str(place), str(self._empty(bits))]
        subprocess.run(["ld", *linked], check=True, capture_output=True)
        return place


def make_elf(
    *,
    bits: int = 64,
    little: bool = True,
    machine: int = 62,
    kind: int = 3,
    interpreter: str | None = None,
    entries: Iterable[tuple[int, int | str]] = (),
    notes: Iterable[tuple[bytes, int, bytes]] = (),
) -> bytes:
    """Return an ELF file with only what a linker reads; strings in ``entries`` become offsets."""
    order = "<" if little else ">"
    word = "Q" if bits == 64 else "I"
    header_size, segment_size = (64, 56) if bits == 64 else (52, 32)
    strings, dynamic = b"\0", []
    for tag, value in entries:
        if isinstance(value, str):
            dynamic.append((tag, len(strings)))
            strings += os.fsencode(value) + b"\0"
        else:
            dynamic.append((tag, value))
    parts = [b"" if interpreter is None else os.fsencode(interpreter) + b"\0", strings]
    parts.append(b"".join(_note(order, *note) for note in notes))
    start = header_size + 4 * segment_size
    offsets = []
    body = b""
    for part in parts:
        body += bytes(-(start + len(body)) % 16)
        offsets.append(start + len(body))
        body += part
    body += bytes(-(start + len(body)) % 16)
    dynamic += [(5, offsets[1]), (10, len(strings)), (0, 0)]
    table = b"".join(struct.pack(order + 2 * word, *pair) for pair in dynamic)
    end = start + len(body)
    total = end + len(table)
    segments = [
        (1, 0, total),
        (3 if interpreter else 0, offsets[0], len(parts[0])),
        (4 if parts[2] else 0, offsets[2], len(parts[2])),
        (2, end, len(table)),
    ]
    ident = b"\x7fELF" + bytes([bits // 32, 1 if little else 2, 1]) + bytes(9)
    header = struct.pack(
        f"{order}HHI3{word}IHHHHHH",
        kind,
        machine,
        1,
        0,
        header_size,
        0,
        0,
        header_size,
        segment_size,
        4,
        0,
        0,
        0,
    )
    return ident + header + b"".join(_segment(order, bits, *one) for one in segments) + body + table


def _segment(order: str, bits: int, kind: int, offset: int, size: int) -> bytes:
    if bits == 64:
        return struct.pack(order + "IIQQQQQQ", kind, 4, offset, offset, offset, size, size, 4)
    return struct.pack(order + "8I", kind, offset, offset, offset, size, size, 4, 4)


def _note(order: str, name: bytes, kind: int, text: bytes) -> bytes:
    head = struct.pack(order + "3I", len(name), len(text), kind)
    return head + name + bytes(-len(name) % 4) + text + bytes(-len(text) % 4)
