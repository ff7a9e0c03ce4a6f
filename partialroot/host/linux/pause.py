"""The pause process: a static program of a few hundred bytes that waits to be told to stop.

It is the first process of a zone that has nothing in it. A first process gets no signal it did not ask
for, so the program blocks SIGTERM and SIGINT and waits for them to be pending; then it exits with 0.
It ignores SIGCHLD: the kernel then reaps the orphans that such a process would have to wait for.

The program is kept as its assembly source (GNU as; system call numbers are the kernel's), each line beside
its machine code, so that no compiler is needed here; a test lets the assembler judge every line.
"""

import struct
from typing import NamedTuple

from partialroot.errors import SourceError


class Machine(NamedTuple):
    """A processor: its number in an ELF header, and the program in its language."""

    number: int
    program: tuple[tuple[str, str], ...]


# struct kernel_sigaction {SIG_IGN, flags 0, restorer 0, mask 0} and the set of SIGINT (2) and SIGTERM (15).
DATA = (
    ("stops: .quad 0x4002", "02400000 00000000"),
    ("ignore: .quad 1, 0, 0, 0", "01000000 00000000" + "00000000 00000000" * 3),
)

MACHINES = {
    "x86_64": Machine(
        62,
        (
            ("mov $13, %eax", "b8 0d000000"),  # rt_sigaction(
            ("mov $17, %edi", "bf 11000000"),  # SIGCHLD,
            ("lea ignore(%rip), %rsi", "488d35 3f000000"),  # &ignore,
            ("xor %edx, %edx", "31d2"),  # NULL,
            ("mov $8, %r10d", "41ba 08000000"),  # size of a signal set)
            ("syscall", "0f05"),
            ("mov $14, %eax", "b8 0e000000"),  # rt_sigprocmask(
            ("xor %edi, %edi", "31ff"),  # SIG_BLOCK,
            ("lea stops(%rip), %rsi", "488d35 1f000000"),  # &stops, NULL, 8)
            ("syscall", "0f05"),
            ("wait: mov $128, %eax", "b8 80000000"),  # rt_sigtimedwait(
            ("lea stops(%rip), %rdi", "488d3d 11000000"),  # &stops,
            ("xor %esi, %esi", "31f6"),  # NULL, no time limit: NULL, 8)
            ("syscall", "0f05"),
            ("test %eax, %eax", "85c0"),
            ("js wait", "78ec"),  # again after an interruption (EINTR)
            ("mov $231, %eax", "b8 e7000000"),  # exit_group(
            ("xor %edi, %edi", "31ff"),  # 0)
            ("syscall", "0f05"),
            *DATA,
        ),
    ),
    "aarch64": Machine(
        183,
        (
            ("mov x8, #134", "c81080d2"),  # rt_sigaction(
            ("mov x0, #17", "200280d2"),  # SIGCHLD,
            ("adr x1, ignore", "41020010"),  # &ignore,
            ("mov x2, #0", "020080d2"),  # NULL,
            ("mov x3, #8", "030180d2"),  # size of a signal set)
            ("svc #0", "010000d4"),
            ("mov x8, #135", "e81080d2"),  # rt_sigprocmask(
            ("mov x0, #0", "000080d2"),  # SIG_BLOCK,
            ("adr x1, stops", "41010010"),  # &stops, NULL, 8)
            ("svc #0", "010000d4"),
            ("wait: mov x8, #137", "281180d2"),  # rt_sigtimedwait(
            ("adr x0, stops", "e0000010"),  # &stops,
            ("mov x1, #0", "010080d2"),  # NULL, no time limit: NULL, 8)
            ("svc #0", "010000d4"),
            ("tbnz w0, #31, wait", "80ffff37"),  # again after an interruption (EINTR)
            ("mov x8, #94", "c80b80d2"),  # exit_group(
            ("mov x0, #0", "000080d2"),  # 0)
            ("svc #0", "010000d4"),
            *DATA,
        ),
    ),
}

# Where the file is mapped, and to what it is aligned: the largest page either machine knows.
BASE, ALIGNMENT = 0x400000, 0x10000
HEADERS = 64 + 2 * 56


def pause_program(machine: str) -> bytes:
    """Return the executable file for a machine, named as uname(2) names it.

    Raises SourceError for a machine that the program was not written for.
    """
    if machine not in MACHINES:
        raise SourceError(
            f"there is no built-in pause process for {machine}",
            hint=f"start a command of your own instead; there is one for {' and '.join(sorted(MACHINES))}",
        )
    number, program = MACHINES[machine]
    code = b"".join(bytes.fromhex(code) for _, code in program)
    return _headers(number, HEADERS + len(code)) + code


def _headers(machine: int, size: int) -> bytes:
    """The ELF header and two program headers: the whole file, mapped executable, and a stack that is not."""
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")  # 64 bits, little-endian, version 1
    executable, program_headers = 2, 64
    elf = struct.pack(
        "<16sHHIQQQIHHHHHH",
        *(ident, executable, machine, 1, BASE + HEADERS, program_headers, 0),
        *(0, 64, 56, 2, 0, 0, 0),
    )
    load, stack, read, write, execute = 1, 0x6474E551, 4, 2, 1
    segment = struct.pack("<IIQQQQQQ", load, read | execute, 0, BASE, BASE, size, size, ALIGNMENT)
    no_stack = struct.pack("<IIQQQQQQ", stack, read | write, 0, 0, 0, 0, 0, 16)
    return elf + segment + no_stack
