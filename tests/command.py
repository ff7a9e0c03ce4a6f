"""The real command line as a process of its own, for tests."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

CHECKOUT = Path(__file__).resolve().parent.parent
SECONDS = 600  # for a command, on a machine that has other things to do


class Done(NamedTuple):
    """What a command left: its exit code, and what it printed where."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The JSON object on stdout."""
        document: dict[str, Any] = json.loads(self.out)
        return document


def partialroot(*words: str | Path, code: int | None = 0, before: tuple[str | Path, ...] = ()) -> Done:
    """Run ``partialroot WORDS``, behind other commands; fails unless it exits with ``code`` (None: any)."""
    line = [*map(str, before), sys.executable, "-m", "partialroot", *map(str, words)]
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(line, capture_output=True, text=True, timeout=SECONDS, env=environment)
    assert "Traceback" not in done.stderr, done.stderr
    assert code is None or done.returncode == code, f"exit {done.returncode}\n{done.stdout}{done.stderr}"
    return Done(done.returncode, done.stdout, done.stderr)
