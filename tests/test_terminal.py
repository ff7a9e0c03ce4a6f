"""On a terminal: tables and trees are drawn, and NO_COLOR is honoured (https://no-color.org)."""

import io
import os
import pty
import re
import subprocess
import sys

import pytest
from bootable import PATIENCE
from command import CHECKOUT

from partialroot.cli import show

COLOUR = re.compile(rb"\x1b\[[0-9;]*(3[0-7]|4[0-7]|9[0-7]|38|48)[0-9;]*m")


def shown(*words: str, **more: str) -> bytes:
    """Return what a verb shows on a terminal."""
    environment = {
        name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")
    }
    environment |= {"PYTHONPATH": str(CHECKOUT), "TERM": "xterm-256color", "COLUMNS": "100", **more}
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "partialroot", *words]
    process = subprocess.Popen(command, stdout=theirs, stderr=theirs, stdin=theirs, env=environment)
    os.close(theirs)
    said = b""
    try:
        while block := os.read(ours, 1 << 16):
            said += block
    except OSError:  # EIO: nobody has the other end any more
        pass
    finally:
        os.close(ours)
    assert process.wait(PATIENCE) in (0, 2)
    return said


class Pipe(io.StringIO):
    """Counts how often it is asked whether it is a terminal."""

    asked = 0

    def isatty(self) -> bool:
        self.asked += 1
        return False


def test_whether_it_is_a_terminal_is_asked_once() -> None:
    out = Pipe()
    show.tree([show.Branch("one", [show.Branch("two")]), show.Branch("three")], out)
    assert out.getvalue() == "one\n  two\nthree\n"
    assert out.asked == 1


@pytest.mark.parametrize("words", [("profiles", "list"), ("plan", "blank"), ("populate", "/no", "no-such")])
def test_no_color(words: tuple[str, ...]) -> None:
    said = shown(*words, NO_COLOR="1")
    assert said
    assert not COLOUR.search(said)


def test_tables_are_drawn() -> None:
    assert b"SUMMARY" in shown("profiles", "list")
