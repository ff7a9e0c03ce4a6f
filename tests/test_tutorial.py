"""docs/tutorial.md, typed line by line: every command succeeds and prints what is written there."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from command import CHECKOUT, SECONDS
from needs import needs

TEXT = (CHECKOUT / "docs/tutorial.md").read_text()


class Typed(NamedTuple):
    """A command, and the lines it shall print."""

    command: str
    expected: list[str]


def typed() -> Iterator[Typed]:
    """Yield the commands of all blocks."""
    for block in re.findall(r"^```console\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE):
        for part in re.split(r"^# ", block, flags=re.MULTILINE)[1:]:
            command, *lines = part.splitlines()
            more = [line[2:] for line in lines if line.startswith("> ")]
            yield Typed("\n".join([command, *more]), [line for line in lines if not line.startswith("> ")])


def pattern(lines: list[str], zones: Path) -> re.Pattern[str]:
    """Return what output is like: the ellipsis stands for anything, a line of nothing else for any lines."""
    parts = []
    for line in lines:
        words = re.escape(line.replace("/zones", str(zones))).replace("…", ".*").replace(r"\ ", r"\s+")
        parts.append(r"(.*\n)*" if line == "…" else words + r"\s*\n")
    return re.compile("".join(parts))


@needs("root", "mount", "runc", "veth", "glibc", "python", "curl")
def test_the_tutorial(scratch: Path) -> None:
    zones, here = scratch / "zones", scratch / "here"
    zones.mkdir()
    here.mkdir()
    ours = shlex.join([sys.executable, "-m", "partialroot"])
    before = f'partialroot() {{ {ours} "$@"; }}; set -eo pipefail\n'
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT), "PARTIALROOT_STORE": str(scratch / "store")}

    def run(command: str) -> subprocess.CompletedProcess[str]:
        line = ["bash", "-c", before + command.replace("/zones", str(zones))]
        return subprocess.run(
            line, cwd=here, env=environment, capture_output=True, text=True, timeout=SECONDS
        )

    commands = list(typed())
    assert len(commands) > 15
    try:
        for command, expected in commands:
            done = run(command)
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
            assert pattern(expected, zones).fullmatch(done.stdout), f"{command}\n{done.stdout}"
    finally:
        run("partialroot halt --all; partialroot remove --all")
