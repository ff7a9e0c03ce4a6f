"""What a linker has built in, and which processor takes what: judged by what the linker says of itself."""

import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from needs import needs
from objects import loader_of

from partialroot.closure.elf import Abi, Elf
from partialroot.closure.linker.hwcaps import Cpu, legacy, levels, parse_cpuinfo, this_cpu
from partialroot.closure.linker.ports import ARM, MIPS, X86, X86_64, port
from partialroot.closure.linker.rtld import FALLBACK, Rtld, read_rtld

DEBIAN = b"\0/lib/x-gnu/\0/usr/lib/x-gnu/\0/lib/\0/usr/lib/\0/etc/ld.so.cache\0glibc-ld.so.cache1.1\0"
HASWELL = "avx2 bmi1 bmi2 abm movbe popcnt fma"


def elf(machine: int, bits: int, flags: int = 0) -> Elf:
    return Elf(Abi(bits, True, machine), flags, None, True, None, (), None, None, False, ())


@needs("glibc", "gcc")
def test_this_systems_linker_by_its_own_word() -> None:
    loader = loader_of()
    text = subprocess.run([loader, "--help"], capture_output=True, text=True, check=True).stdout
    version = subprocess.run([loader, "--version"], capture_output=True, text=True, check=True).stdout
    found = read_rtld(Path(loader).read_bytes(), Path(loader).resolve().name)
    assert found is not None
    assert list(found.directories) == re.findall(r"^  (/\S+) \(system search path\)", text, re.MULTILINE)
    assert f"{found.release[0]}.{found.release[1]}" in version
    section = text.partition("glibc-hwcaps directories")[2].partition("Legacy HWCAP")[0]
    said = re.findall(r"^  (\S+)( \(supported, searched\))?$", section, re.MULTILINE)
    cpu = this_cpu(X86_64)
    assert list(found.levels) == [name for name, _ in said]
    assert [one.taken for one in levels(found.levels, cpu)] == [bool(taken) for _, taken in said]


@pytest.mark.parametrize(
    ("data", "name", "expected"),
    [
        (
            DEBIAN + b"ld.so (Debian GLIBC 2.36-9) stable release version 2.36.\n\0power10:power9\0",
            "ld64.so.2",
            Rtld(
                ("/lib/x-gnu", "/usr/lib/x-gnu", "/lib", "/usr/lib"),
                "/etc/ld.so.cache",
                (2, 36),
                ("power10", "power9"),
            ),
        ),
        (
            b"\0/proc/self/\0/lib64/\0/usr/lib64/\0/opt/etc/ld.so.cache\0glibc-ld.so.cache1.1\0",
            "ld-2.31.so",
            Rtld(("/lib64", "/usr/lib64"), "/opt/etc/ld.so.cache", (2, 31), ()),
        ),
        (b"glibc-ld.so.cache1.1", "ld.so", FALLBACK._replace(release=(0, 0))),
        (b"musl libc (x86_64)", "ld-musl-x86_64.so.1", None),
    ],
)
def test_linkers_of_other_systems(data: bytes, name: str, expected: Rtld | None) -> None:
    assert read_rtld(data, name) == expected


@given(
    st.lists(st.sampled_from([b"\0/", b"lib", b"/\0", b"x86-64-v", b"\0", b"release version 2.", b"\xff"]))
)
def test_any_bytes_are_a_linker(words: list[bytes]) -> None:
    found = read_rtld(b"glibc-ld.so.cache" + b"".join(words), "ld.so")
    assert found is not None
    assert found.directories


def test_processors() -> None:
    intel = parse_cpuinfo(
        f"processor : 0\nvendor_id\t: GenuineIntel\nflags\t\t: {HASWELL}\n\nvendor_id : Other\n"
    )
    assert intel == Cpu(frozenset(HASWELL.split()), True)
    assert intel.platform == "haswell"
    assert Cpu(intel.flags, False).platform == "x86_64"
    assert not intel.takes("x86-64-v2")
    assert Cpu().takes("x86-64-v4")
    assert parse_cpuinfo("") == Cpu()


def test_subdirectories_of_older_releases() -> None:
    plain = Cpu(frozenset(["sse2"]), True)
    assert [one.name for one in legacy(X86_64, "x86_64", plain) if one.taken] == [
        "tls/x86_64/x86_64",
        "tls/x86_64",
        "tls",
        "x86_64/x86_64",
        "x86_64",
    ]
    new = Cpu(frozenset([*HASWELL.split(), "avx512cd", "avx512bw", "avx512dq", "avx512vl"]), True)
    taken = [one.name for one in legacy(X86_64, "x86_64", new) if one.taken]
    assert taken[0] == "tls/haswell/avx512_1/x86_64"
    assert "haswell" in taken
    assert "xeon_phi" in {one.name for one in legacy(X86_64, "x86_64", new)} - set(taken)
    assert [one.name for one in legacy(ARM, None, Cpu())] == ["tls"]
    assert [one.name for one in legacy(X86, "i686", Cpu())][:2] == ["tls/i686/sse2", "tls/i686"]


def test_ports() -> None:
    assert port(elf(X86_64, 64)).cache_flags[0] == 0x303
    assert port(elf(X86_64, 32)).interpreter == "/libx32/ld-linux-x32.so.2"
    assert port(elf(ARM, 32, 0x5000400)).cache_flags[0] == 0x903
    assert port(elf(ARM, 32, 0x5000200)).cache_flags[0] == 0xB03
    assert port(elf(MIPS, 32, 0x70001005)).cache_flags[0] == 3
    assert port(elf(MIPS, 32, 0x70001405)).cache_flags[0] == 0xC03
    assert port(elf(999, 64)).cache_flags == (1, 3)
