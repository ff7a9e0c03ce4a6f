"""Plays init, and what it starts, in a zone whose programs are those of illumos: Linux cannot run them.

It is run as a program: ``standin.py ROOT INIT``. Everything is looked up inside the zone. A program is
played by a process of its name that only waits; a script by what it execs.
"""

import os
import shlex
import signal
import sys
from pathlib import Path

MOST = 10


def main(root: str, init: str) -> None:
    """Be init: start what /etc/inittab says, and again when it ends."""
    os.chroot(root)
    os.chdir("/")
    become(init)
    lines = Path("/etc/inittab").read_text().splitlines()
    (command,) = (line.split(":", 3)[3] for line in lines if line.startswith("smf:"))
    child = os.fork()
    if child == 0:
        execute(shlex.split(command))
    os.waitpid(child, 0)
    sys.exit(f"init: {command} ended")


def execute(words: list[str], depth: int = 0) -> None:
    """Become a program; exit with what is wrong with it."""
    program = words[0]
    if not os.access(program, os.X_OK) or depth > MOST:
        sys.exit(f"{program}: cannot execute")
    data = Path(program).read_bytes()
    if data.startswith(b"#!"):
        lines = data.decode().splitlines()
        interpreter = lines[0][2:].split()[0]
        if not os.access(interpreter, os.X_OK):
            sys.exit(f"{program}: {interpreter}: cannot execute")
        commands = [shlex.split(line) for line in lines if line.startswith("exec ")]
        for redirection in (word for line in commands[:-1] for word in line if word.startswith(("<", ">"))):
            with open(redirection.lstrip("<>"), "rb"):
                pass
        execute(commands[-1][1:], depth + 1)
    become(program)
    for word in words[1:]:
        if word.startswith("/") and not os.path.exists(word):
            sys.exit(f"{program}: {word}: no such file")
    signal.pause()


def become(program: str) -> None:
    """Have the name of a program."""
    Path("/proc/self/comm").write_text(os.path.basename(program))


if __name__ == "__main__":
    main(*sys.argv[1:])
