r"""System calls as strace and truss print them: their arguments, and the strings among these.

Both write strings as C does. What is not ASCII comes as ``\303`` or ``\xc3``: it is bytes, as paths are.
"""

import os
import re
from typing import NamedTuple

_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"(\.\.)?', re.DOTALL)
_ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|x([0-9a-fA-F]{1,2})|(.))", re.DOTALL)
_PLAIN = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"v": b"\v", b"f": b"\f", b"b": b"\b", b"a": b"\a"}
# A descriptor's path, strace -y: 3</etc/hosts>, AT_FDCWD</srv>; in it, < and > are escaped.
_DECODED = re.compile(r"(?:\d|AT_FDCWD)<(/[^<>]*)>")
_TOKEN = re.compile(
    r'"(?:[^"\\]|\\.)*"|(?<=[\dD])<[^<>]*>|/\*.*?\*/|[(\[{]|[)\]}]|,|[^"()\[\]{},</]+|.', re.DOTALL
)


class Call(NamedTuple):
    """One finished call. ``error`` is an error's name or "", ``value`` the rest of the result."""

    process: int
    name: str
    arguments: tuple[str, ...]
    error: str
    value: str


def split(text: str) -> tuple[tuple[str, ...], str] | None:
    """Return the arguments that ``text``, what follows ``name(``, begins with, and what follows their ``)``.

    None when there is no end of them.
    """
    arguments, depth, start = [], 0, 0
    for token in _TOKEN.finditer(text):
        kind = token[0]
        if kind in "([{":
            depth += 1
        elif kind in ")]}" and depth:
            depth -= 1
        elif kind in ")," and not depth:
            argument = text[start : token.start()].strip()
            start = token.end()
            if argument or kind == ",":
                arguments.append(argument)
            if kind == ")":
                return tuple(arguments), text[start:]
    return None


def string(argument: str) -> str | None:
    """Return the string that an argument is; None for a pointer, or a string that was cut off."""
    match = _STRING.match(argument)
    return None if match is None or match[2] else unescaped(match[1])


def decoded(argument: str) -> str | None:
    """Return the path that strace shows beside a descriptor."""
    match = _DECODED.match(argument) or _DECODED.search(argument)
    return unescaped(match[1]) if match else None


def unescaped(text: str) -> str:
    """Return a text without C's escapes."""
    if "\\" not in text and text.isascii():
        return text
    return os.fsdecode(_ESCAPE.sub(_character, text.encode("utf-8", "surrogateescape")))


def _character(match: "re.Match[bytes]") -> bytes:
    octal, digits, plain = match.groups()
    if plain is not None:
        return _PLAIN.get(plain, plain)
    return bytes([(int(octal, 8) if octal else int(digits, 16)) & 0xFF])
