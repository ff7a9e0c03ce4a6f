"""Subdirectories of library directories for better processors, and which of them this processor takes.

A zone gets all of them, so that its content does not depend on the machine that makes it; but one is what
the linker chooses here. Facts: glibc's elf/dl-hwcaps.c and sysdeps/x86/cpu-features.c.
"""

import functools
import os
from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

from partialroot.closure.linker.ports import HWCAPS, X86, X86_64, words

_LEVEL_2 = frozenset(("cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3"))
_LEVEL_3 = _LEVEL_2 | frozenset(("avx", "avx2", "f16c", "fma", "abm", "movbe", "bmi1", "bmi2"))
_LEVELS = {
    "x86-64-v2": _LEVEL_2,
    "x86-64-v3": _LEVEL_3,
    "x86-64-v4": _LEVEL_3 | frozenset(("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")),
}
_HASWELL = frozenset(("avx2", "bmi1", "bmi2", "abm", "movbe", "popcnt", "fma"))
_AVX512_1 = frozenset(("avx512cd", "avx512bw", "avx512dq", "avx512vl"))
_XEON_PHI = frozenset(("avx512cd", "avx512er", "avx512pf"))


class Cpu(NamedTuple):
    """A processor: the flags Linux shows of it, and whether it is Intel's. No flags: it is not known."""

    flags: frozenset[str] = frozenset()
    intel: bool = False

    def takes(self, level: str) -> bool:
        """Whether it can run code for a glibc-hwcaps level; of what is not known the best is assumed."""
        return not self.flags or _LEVELS.get(level, frozenset()) <= self.flags

    @property
    def platform(self) -> str:
        """What $PLATFORM was on x86_64 before glibc 2.37."""
        if self.intel and self.flags >= _XEON_PHI:
            return "xeon_phi"
        return "haswell" if self.intel and self.flags >= _HASWELL else "x86_64"

    @property
    def legacy(self) -> frozenset[str]:
        """The names of x86_64's old subdirectories that it looks into, besides that of the platform."""
        new = self.intel and self.flags >= _AVX512_1 and not self.flags >= _XEON_PHI
        return frozenset({"x86_64", "avx512_1"} if new else {"x86_64"})


def parse_cpuinfo(text: str) -> Cpu:
    """Return the first processor in the text of /proc/cpuinfo."""
    values: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        values.setdefault(key.strip(), value.strip())
    return Cpu(frozenset(values.get("flags", "").split()), values.get("vendor_id") == "GenuineIntel")


@functools.cache
def this_cpu(machine: int) -> Cpu:
    """Return the processor this runs on, when it is one of the machine (e_machine); else an unknown one."""
    if machine not in (X86, X86_64) or os.uname().machine != "x86_64":
        return Cpu()
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            return parse_cpuinfo(file.read(4096))
    except OSError:
        return Cpu()


class Subdirectory(NamedTuple):
    """A subdirectory of a library directory; ``taken`` if this processor's linker looks into it."""

    name: str
    taken: bool

    @property
    def top(self) -> str:
        """Its first component."""
        return self.name.partition("/")[0]


def levels(names: tuple[str, ...], cpu: Cpu) -> Iterator[Subdirectory]:
    """Yield glibc-hwcaps subdirectories in the order of the linker, which is the order of ``names``."""
    for name in names:
        yield Subdirectory(f"{HWCAPS}/{name}", cpu.takes(name))


def legacy(machine: int, platform: str | None, cpu: Cpu) -> Iterator[Subdirectory]:
    """Yield the subdirectories linkers before glibc 2.37 look into: all combinations, the fullest first."""
    taken = {"tls", "sse2", platform, *(cpu.legacy | {cpu.platform} if machine == X86_64 else ())}
    choices = [(*each, "") for each in words(machine, platform)]
    names = {
        "/".join(filter(None, chosen)): taken.issuperset(filter(None, chosen)) for chosen in product(*choices)
    }
    return (Subdirectory(name, good) for name, good in names.items() if name)
