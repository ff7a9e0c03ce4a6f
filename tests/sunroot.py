"""A root of illumos with its linkers and libc, into which objects are put by name and need."""

import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import sunelf
from sunelf import LAZY, Need

from partialroot.closure import Closure, Wanted, closure
from partialroot.nodes import Item, Reason
from partialroot.paths import RootPath
from partialroot.source.tree import Tree

INTERPRETERS = {32: "/usr/lib/ld.so.1", 64: "/usr/lib/amd64/ld.so.1"}
MACHINES = {32: 3, 64: 62}


def lazy(name: str) -> Need:
    """Return a need that is loaded when it is used."""
    return Need(name, LAZY)


class SunRoot:
    """``program`` and ``library`` put objects in, ``closed`` returns the closure of some of them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("lib/amd64", "usr/lib/amd64", "usr/bin", "etc", "var/ld/amd64"):
            (root / name).mkdir(parents=True)
        for link, target in (
            ("/bin", "./usr/bin"),
            ("/lib/64", "amd64"),
            ("/usr/lib/64", "amd64"),
            ("/var/ld/64", "amd64"),
            ("/usr/lib/ld.so.1", "../../lib/ld.so.1"),
            ("/usr/lib/amd64/ld.so.1", "../../../lib/amd64/ld.so.1"),
        ):
            self.link(link, target)
        for bits, place in ((32, "/lib"), (64, "/lib/amd64")):
            needs = [lazy("liblddbg.so.4")]
            self.library(f"{place}/ld.so.1", needs, bits=bits, soname=f"{place}/ld.so.1", runpath="$ORIGIN")
            self.library(f"{place}/libc.so.1", bits=bits, filters=[("DT_SUNW_FILTER", INTERPRETERS[bits])])

    def library(
        self,
        path: str,
        needs: Iterable[str | Need] = (),
        *,
        bits: int = 32,
        interpreter: str | None = None,
        soname: str | None = None,
        filters: Sequence[tuple[str, str]] = (),
        runpath: str | None = None,
        no_default: bool = False,
        now: bool = False,
        imports: Sequence[str] = (),
        entries: Sequence[tuple[int, int | str]] = (),
        capabilities: Sequence[tuple[int, int]] = (),
        bound: Sequence[tuple[str, str, bool]] = (),
    ) -> Path:
        """Put an object in; without an interpreter it is a library."""
        made = sunelf.make(
            sunelf.Object(
                bits=bits,
                interpreter=interpreter,
                soname=soname,
                needs=[Need(one) if isinstance(one, str) else one for one in needs],
                filters=filters,
                runpath=runpath,
                flags_1=0x800 * no_default | 0x1 * now,
                imports=imports,
                entries=entries,
                capabilities=capabilities,
                bound=bound,
                tail=path.encode(),
            )
        )
        return self.file(path, made, 0o755)

    def program(
        self,
        path: str,
        needs: Iterable[str | Need] = (),
        *,
        bits: int = 32,
        runpath: str | None = None,
        now: bool = False,
        imports: Sequence[str] = (),
        entries: Sequence[tuple[int, int | str]] = (),
        capabilities: Sequence[tuple[int, int]] = (),
        bound: Sequence[tuple[str, str, bool]] = (),
    ) -> Path:
        """Put a program in."""
        return self.library(
            path,
            needs,
            bits=bits,
            interpreter=INTERPRETERS[bits],
            runpath=runpath,
            now=now,
            imports=imports,
            entries=entries,
            capabilities=capabilities,
            bound=bound,
        )

    def file(self, path: str, data: bytes | str, mode: int = 0o644) -> Path:
        """Put any file in."""
        place = self.root / path[1:]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data.encode() if isinstance(data, str) else data)
        place.chmod(mode)
        return place

    def link(self, path: str, target: str) -> None:
        """Put a symlink in."""
        place = self.root / path[1:]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)

    def closed(
        self,
        *paths: str,
        excluded: Iterable[str] = (),
        lean: bool = False,
        notes: bool = True,
        nss: Iterable[str] = (),
        pam: Iterable[str] = (),
        nsswitch: str | None = None,
    ) -> Closure:
        """Return the closure of programs."""
        without = frozenset(excluded)
        return closure(
            Tree(self.root),
            [Wanted(RootPath(path), Reason("program", "p.toml:1")) for path in paths],
            excluded=lambda path: path in without,
            lean=lean,
            notes=notes,
            nss=[Item(one, "p.toml:2") for one in nss],
            pam=[Item(one, "p.toml:3") for one in pam],
            nsswitch=nsswitch,
        )


def config(
    directories: str | None = None,
    variables: Mapping[str, str] | None = None,
    *,
    bits: int = 32,
    flags: int = 0x8,
    marked: bool = True,
    version: int = 4,
) -> bytes:
    """Return an ld.config as crle writes it: identification, header, environment, strings."""
    start = 80 if bits == 32 else 88
    variables = variables or {}
    texts = start + 8 * (len(variables) + 1)
    strings, table = b"", b""
    for name, value in variables.items():
        table += struct.pack("<II", texts + len(strings), 1)
        strings += f"{name}={value}".encode() + b"\0"
    header = bytearray(start)
    struct.pack_into("<II", header, 0, version, flags)
    if directories is not None:
        struct.pack_into("<I", header, 36, texts + len(strings))
        strings += directories.encode() + b"\0"
    struct.pack_into("<I", header, 68 if bits == 32 else 72, start if variables else 0)
    mark = b"?RLC" + bytes([bits // 32, 1, MACHINES[bits]]) + bytes(9)
    return (mark if marked else b"") + bytes(header) + table + bytes(8) + strings
