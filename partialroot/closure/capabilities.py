"""What an object of illumos demands of the machine or the process (PT_SUNWCAP: sys/elf.h, CA_SUNW_*)."""

from collections.abc import Iterable
from itertools import takewhile

SEGMENT = 0x6FFFFFFD

_HARDWARE_1, _SOFTWARE_1, _OF_THE_MACHINE = 1, 2, (3, 4, 5, 7)  # further processor flags, platform, machine
_ADDRESS_32 = 0x4
# Of the first word of hardware capabilities what every x86-64 has (sys/auxv_386.h): FPU to CMOV, MMX, FXSR,
# SSE, SSE2 and PAUSE. illumos runs on nothing less.
_ALWAYS = {3: 0x3C7F, 62: 0x3C7F}


def demands(entries: Iterable[tuple[int, int]], machine: int) -> tuple[bool, bool]:
    """Return whether it demands what not every machine has, and whether a process with 32-bit addresses.

    The first group of capabilities, up to a null, is the object's; others are of single symbols.
    """
    own = dict(takewhile(lambda entry: entry[0] != 0, entries))
    extra = own.get(_HARDWARE_1, 0) & ~_ALWAYS.get(machine, 0)
    special = bool(extra) or any(own.get(tag) for tag in _OF_THE_MACHINE)
    return special, bool(own.get(_SOFTWARE_1, 0) & _ADDRESS_32)
