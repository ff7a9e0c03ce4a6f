r"""``#!`` lines as Linux and illumos read them, and the program that env is told to run.

Facts: Linux, fs/binfmt_script.c (256 bytes, one argument); GNU coreutils, env(1) and its split-string (-S);
illumos, exec/intp/intp.c (1024 bytes, the second word is the argument, further ones are dropped).
"""

import os
import re
from collections.abc import Iterator
from typing import NamedTuple

LINE = 256
"""As many bytes of a file the kernel looks at (BINPRM_BUF_SIZE, since Linux 5.1)."""

MOST = 1024
"""The same of illumos (INTPSZ)."""

DEEPEST = 5
"""As many scripts both kernels go through, each the interpreter of the one before, until ELOOP."""

_BLANKS = b" \t"
_SPLIT = r"(?s:(?:-[i0v]*S|--split-string=)(.*))"


class Shebang(NamedTuple):
    """What a script is run by: the interpreter's path, and the one argument it gets before the script's."""

    interpreter: str
    argument: str | None

    @property
    def program(self) -> str | None:
        """The name or path of the program that env, if that is the interpreter, will run."""
        if self.argument is None or self.interpreter.rpartition("/")[2] != "env":
            return None
        return _program(self.argument)


def shebang(head: bytes) -> Shebang | None:
    """Return what runs the script that begins with ``head``; None when the kernel would not run it."""
    if not head.startswith(b"#!"):
        return None
    line = _line(head[:LINE])
    name = re.split(rb"[ \t]", line, maxsplit=1)[0]
    argument = line[len(name) :].lstrip(_BLANKS)
    return Shebang(os.fsdecode(name), os.fsdecode(argument) if argument else None) if name else None


def shebang_of_illumos(head: bytes) -> Shebang | None:
    """Return what runs a script on illumos; None when its kernel does not: the line must end with a newline.

    A carriage return is a part of the last word.
    """
    line, newline, _ = head[2:MOST].partition(b"\n")
    words = re.split(rb"[ \t]+", line.strip(_BLANKS))
    if not (head.startswith(b"#!") and newline and words[0]):
        return None
    return Shebang(os.fsdecode(words[0]), os.fsdecode(words[1]) if len(words) > 1 else None)


def _line(head: bytes) -> bytes:
    """Return what follows ``#!``, without the blanks that the kernel takes off; empty for what it refuses."""
    line, newline, _ = head[2:].partition(b"\n")
    if not newline and len(head) == LINE:
        if not re.search(rb"[ \t\0]", line.lstrip(_BLANKS)):
            return b""  # the interpreter's path may be cut off
        line = line[:-1]
    if newline or len(head) == LINE:
        line = line.rstrip(_BLANKS)
    return line.lstrip(_BLANKS).partition(b"\0")[0]


def _program(argument: str) -> str | None:
    """Return what env runs when it is given one argument and a script."""
    import shlex

    split = re.match(_SPLIT, argument)
    if split is None:
        return None if argument.startswith("-") or "=" in argument else argument
    try:
        words = shlex.split(split[1], comments=True)
    except ValueError:  # a quotation that does not end
        return None
    program = next(_operands(words), None)
    return None if program is None or "${" in program else program


def _operands(words: list[str]) -> Iterator[str]:
    """Yield what is left of env's arguments after its options and assignments."""
    rest = iter(words)
    for word in rest:
        if word in ("-u", "-C", "--unset", "--chdir"):
            next(rest, None)
        elif not word.startswith("-") and "=" not in word:
            yield word
