"""glibc's ports: what of its dynamic linker depends on the machine and cannot be read from a file.

Cache flags: glibc's sysdeps/generic/ldconfig.h and each port's dl-cache.h. Linkers: glibc's list of ABIs
(https://sourceware.org/glibc/wiki/ABIList). Platforms: what the kernel passes as AT_PLATFORM.
"""

from typing import NamedTuple

from partialroot.closure.elf import Abi, Elf

X86, MIPS, PPC, PPC64, S390, ARM, X86_64, AARCH64, RISCV, LOONGARCH = 3, 8, 20, 21, 22, 40, 62, 183, 243, 258

_LIBC6 = 3
_PLAIN = (1, _LIBC6)

# Bits of e_flags that tell ABIs of one machine apart: hard and soft float, ELF versions, NaN encodings.
_ABI_FLAGS = {MIPS: 0x420, PPC64: 0x3, ARM: 0x600, RISCV: 0x6, LOONGARCH: 0x7}
# Those that the linker itself compares when it looks at a candidate.
_COMPARED = {MIPS: 0x420, PPC64: 0x3, RISCV: 0x6, LOONGARCH: 0x7}

HWCAPS = "glibc-hwcaps"
"""What has the subdirectories for better processors, in a library directory (see hwcaps)."""

_CAPABILITIES = {X86: ("sse2",), X86_64: ("avx512_1", "x86_64")}


class Port(NamedTuple):
    """One ABI: its linker's usual path, the cache entries it takes (the first is its own), $PLATFORM."""

    interpreter: str
    cache_flags: tuple[int, ...]
    platform: str | None


_PORTS = {
    (X86_64, 64, 0): Port("/lib64/ld-linux-x86-64.so.2", (0x303,), "x86_64"),
    (X86_64, 32, 0): Port("/libx32/ld-linux-x32.so.2", (0x803,), "x86_64"),
    (X86, 32, 0): Port("/lib/ld-linux.so.2", (_LIBC6, 1), "i686"),
    (AARCH64, 64, 0): Port("/lib/ld-linux-aarch64.so.1", (0xA03,), "aarch64"),
    (ARM, 32, 0x400): Port("/lib/ld-linux-armhf.so.3", (0x903, _LIBC6), None),
    (ARM, 32, 0x200): Port("/lib/ld-linux.so.3", (0xB03, _LIBC6), None),
    (ARM, 32, 0): Port("/lib/ld-linux.so.3", (_LIBC6, 0xB03), None),
    (S390, 64, 0): Port("/lib/ld64.so.1", (0x403,), None),
    (S390, 32, 0): Port("/lib/ld.so.1", (_LIBC6, 1), None),
    (PPC64, 64, 2): Port("/lib64/ld64.so.2", (0x503,), None),
    (PPC64, 64, 1): Port("/lib64/ld64.so.1", (0x503,), None),
    (PPC64, 64, 0): Port("/lib64/ld64.so.1", (0x503,), None),
    (PPC, 32, 0): Port("/lib/ld.so.1", (_LIBC6, 1), None),
    (RISCV, 64, 4): Port("/lib/ld-linux-riscv64-lp64d.so.1", (0x1003,), None),
    (RISCV, 64, 0): Port("/lib/ld-linux-riscv64-lp64.so.1", (0xF03,), None),
    (LOONGARCH, 64, 3): Port("/lib64/ld-linux-loongarch-lp64d.so.1", (0x1203,), "loongarch64"),
    (LOONGARCH, 64, 1): Port("/lib64/ld-linux-loongarch-lp64s.so.1", (0x1103,), "loongarch64"),
    (MIPS, 32, 0): Port("/lib/ld.so.1", (_LIBC6, 1), None),
    (MIPS, 32, 0x400): Port("/lib/ld-linux-mipsn8.so.1", (0xC03,), None),
    (MIPS, 32, 0x20): Port("/lib32/ld.so.1", (0x603,), None),
    (MIPS, 32, 0x420): Port("/lib32/ld-linux-mipsn8.so.1", (0xD03,), None),
    (MIPS, 64, 0): Port("/lib64/ld.so.1", (0x703,), None),
    (MIPS, 64, 0x400): Port("/lib64/ld-linux-mipsn8.so.1", (0xE03,), None),
}
_OTHER = Port("/lib/ld.so.1", _PLAIN, None)


def port(elf: Elf) -> Port:
    """Return the port an object is for; of a machine unknown here, what most have in common."""
    variant = elf.flags & _ABI_FLAGS.get(elf.abi.machine, 0)
    return _PORTS.get((elf.abi.machine, elf.abi.bits, variant), _OTHER)


def links_with(elf: Elf) -> tuple[Abi, int]:
    """Return what must be equal in two objects, or the linker passes one of them over."""
    return elf.abi, elf.flags & _COMPARED.get(elf.abi.machine, 0)


def words(machine: int, platform: str | None) -> list[tuple[str, ...]]:
    """Return what the names of subdirectories are made of that linkers before glibc 2.37 look into.

    Of each tuple a name has one or none. Of x86_64 those for other processors are among them; of most
    machines only tls and the platform's.
    """
    platforms: tuple[str, ...] = (platform,) if platform else ()
    if machine == X86_64:
        platforms = ("haswell", "xeon_phi", "x86_64")
    return [("tls",), platforms, *((name,) for name in _CAPABILITIES.get(machine, ()))]
