"""Random damage to what we read, and what may come of it: an answer, or one PartialRootError.

The executions of a target are numbered in chunks; a chunk depends on seed, target and number only, so what
was found with many processes is found again with one.
"""

import json
import random
import resource
import signal
import string
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

from partialroot.errors import PartialRootError
from partialroot.paths import safe_name

CHUNK = 2000
SECONDS = 2.0
"""Of a processor: one execution takes some 100 microseconds; one that takes this long hangs."""
PATIENCE = 120.0
"""Seconds of the clock, in which a machine may have other things to do: one that takes this long waits."""
BYTES = 512 << 20
"""What a process may need in all, its modules included."""

NUMBERS = (
    0,
    1,
    2,
    7,
    8,
    0x7F,
    0x80,
    0xFF,
    0x100,
    0x7FFF,
    0xFFFF,
    0x10000,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
)
HUGE = (1 << 32, 1 << 40, (1 << 62) + 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
PIECES = (
    *(
        b"\0",
        b"\n",
        b"\n\n",
        b"\r\n",
        b" ",
        b"\t",
        b"/",
        b"..",
        b"/../",
        b"//",
        b"\\",
        b"\\012",
        b"\\x",
        b'"',
    ),
    *(b"'", b"#", b"=", b":", b"[", b"]", b"[[", b"{", b"}", b"*", b"**", b"{a,b}", b"[!", b"%", b"-", b"-1"),
    *(
        b"0",
        b"99999999999999999999",
        b"1e999",
        b"NaN",
        b"null",
        b"true",
        b"\xff\xfe",
        b"\xc3\x28",
        b"\xed\xa0\x80",
    ),
    *("\u202e".encode(), b"\x1b[2J", b"@include ", b"$ORIGIN", b"${LIB}", b"A" * 300, b"[" * 200),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 1 << 31, 1 << 63, 1 << 64, 10**400, 0.5, 1e308, "", "/", "..", "/a/../b"),
    *("a\0b", "\n", "\u202e", "\udcff", "0" * 64, "/" + "a/" * 300, [], {}, [[]], [None], {"": None}),
)


@dataclass(frozen=True)
class Target:
    """Something that reads bytes: ``read`` may return anything, or raise PartialRootError.

    ``seeds`` are inputs that it understands; ``words`` are pieces worth inserting. ``is_json``: damage is
    also done to the values, so that more of it is still JSON.
    """

    name: str
    seeds: Sequence[bytes]
    read: Callable[[bytes], object]
    words: Sequence[bytes] = ()
    is_json: bool = False


class Defect(Exception):  # noqa: N818 -- what is found, not what went wrong
    """A target did what it must never do; ``data`` makes it do so again."""

    def __init__(self, target: str, what: str, data: bytes) -> None:
        super().__init__(target, what, data)
        self.target, self.what, self.data = target, what, data

    def __str__(self) -> str:
        return f"{self.target}: {self.what}\n  input: {self.data!r}"


class _Hang(BaseException):
    """Raised in the midst of an execution that takes too long; nobody catches it by chance."""


# --- doing it -----------------------------------------------------------------------------------------


def chunks(count: int) -> Iterator[tuple[int, int]]:
    """Yield the number and size of each chunk of ``count`` executions."""
    for number in range(-(-count // CHUNK)):
        yield number, min(CHUNK, count - number * CHUNK)


def fuzz(target: Target, seed: int, chunk: int, count: int = CHUNK) -> int:
    """Run one chunk; return how many of its inputs were refused. Raises Defect."""
    choice = random.Random(f"{seed} {target.name} {chunk}")
    return sum(not execute(target, damaged(target, choice)) for _ in range(count))


def execute(target: Target, data: bytes) -> bool:
    """Let a target read ``data``; return whether it took it. Raises Defect."""
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        target.read(data)
    except PartialRootError as error:
        if not safe_name(str(error)).isprintable():
            raise Defect(target.name, f"an error that no terminal can show: {error!a}", data) from error
        return False
    except _Hang:
        raise Defect(target.name, f"not done after {SECONDS} s of work, or {PATIENCE} s", data) from None
    except BaseException as error:
        raise Defect(target.name, f"{type(error).__name__}: {error!a}", data) from error
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
    return True


def limit() -> None:
    """Bound what this process may take from here on: seconds for each execution, and memory."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise _Hang

    for number in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(number, stop)
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))


# --- damage -------------------------------------------------------------------------------------------


def damaged(target: Target, choice: random.Random) -> bytes:
    """Return one of a target's seeds with some damage, or, seldom, bytes that never were one."""
    kind = choice.random()
    if kind < 0.02:
        return choice.randbytes(choice.randrange(64))
    data = choice.choice(target.seeds)
    if target.is_json and kind < 0.6:
        return json.dumps(_damaged_value(json.loads(data), choice)).encode()
    made = bytearray(data)
    for _ in range(choice.choice((1, 1, 1, 2, 3, 6))):
        choice.choice(_DAMAGES)(made, target, choice)
    return bytes(made)


def _flip(data: bytearray, target: Target, choice: random.Random) -> None:
    if data:
        data[choice.randrange(len(data))] ^= 1 << choice.randrange(8)


def _overwrite(data: bytearray, target: Target, choice: random.Random) -> None:
    if data:
        data[choice.randrange(len(data))] = choice.randrange(256)


def _number(data: bytearray, target: Target, choice: random.Random) -> None:
    """Write a number of 1, 2, 4 or 8 bytes, where such numbers lie."""
    size = choice.choice((1, 2, 4, 8))
    value = choice.choice(NUMBERS + HUGE) & ((1 << 8 * size) - 1)
    at = choice.randrange(len(data) // size + 1) * size
    data[at : at + size] = value.to_bytes(size, choice.choice(("little", "big")))


def _remove(data: bytearray, target: Target, choice: random.Random) -> None:
    at = choice.randrange(len(data) + 1)
    del data[at : at + choice.choice((1, 2, 8, 64))]


def _cut(data: bytearray, target: Target, choice: random.Random) -> None:
    del data[choice.randrange(len(data) + 1) :]


def _repeat(data: bytearray, target: Target, choice: random.Random) -> None:
    at = choice.randrange(len(data) + 1)
    piece = data[at : at + choice.choice((1, 4, 32, 200))]
    data[at:at] = piece * choice.choice((1, 1, 2, 50))


def _insert(data: bytearray, target: Target, choice: random.Random) -> None:
    at = choice.randrange(len(data) + 1)
    data[at:at] = choice.choice((*target.words, *PIECES))


def _replace(data: bytearray, target: Target, choice: random.Random) -> None:
    piece = choice.choice((*target.words, *PIECES))
    at = choice.randrange(len(data) + 1)
    data[at : at + len(piece)] = piece


def _lines(data: bytearray, target: Target, choice: random.Random) -> None:
    """Put a line where another is, from any of the seeds."""
    lines, others = data.split(b"\n"), choice.choice(target.seeds).split(b"\n")
    lines[choice.randrange(len(lines))] = bytearray(choice.choice(others))
    data[:] = b"\n".join(lines)


def _join(data: bytearray, target: Target, choice: random.Random) -> None:
    other = choice.choice(target.seeds)
    at = choice.randrange(len(data) + 1)
    data[at:] = other[choice.randrange(len(other) + 1) :]


_DAMAGES = (
    *(_flip, _flip, _overwrite, _number, _number, _remove, _cut, _repeat),
    *(_insert, _insert, _replace, _join, _lines, _lines, _lines),
)


def _damaged_value(value: Any, choice: random.Random) -> Any:
    """Return a JSON value with something in it replaced, added or left out."""
    if not isinstance(value, list | dict) or not value or choice.random() < 0.1:
        return _other(value, choice)
    made: Any = value.copy()
    key = choice.choice(list(made)) if isinstance(made, dict) else choice.randrange(len(made))
    fate = choice.random()
    if fate < 0.1:
        del made[key]
    elif fate < 0.2 and isinstance(made, dict):
        made[choice.choice(string.ascii_letters)] = choice.choice(VALUES)
    elif fate < 0.2:
        made.insert(key, choice.choice((*VALUES, *made)))
    else:
        made[key] = _damaged_value(made[key], choice)
    return made


def _other(value: Any, choice: random.Random) -> Any:
    if isinstance(value, str) and choice.random() < 0.5:
        at = choice.randrange(len(value) + 1)
        piece = choice.choice(PIECES).decode("utf-8", "surrogateescape")
        return value[:at] + piece + value[at + choice.randrange(3) :]
    if isinstance(value, int) and choice.random() < 0.5:
        return value + choice.choice((-1, 1, 1 << 12, 1 << 40, -value - 1))
    return choice.choice(VALUES)
