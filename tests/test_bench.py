"""``scripts/bench`` says what it measured, in the form that scripts read."""

import json
import subprocess
import sys

from command import CHECKOUT
from needs import needs


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the bench to its end."""
    command = [sys.executable, str(CHECKOUT / "scripts/bench"), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=900)


@needs("root", "mount", "ext4", "node", "glibc")
def test_one_row_as_json() -> None:
    done = bench("private-bytes", "--json")
    assert done.returncode == 0, done.stderr
    assert "journalled ext4" in done.stderr
    row = json.loads(done.stdout)["private-bytes"]
    assert row.keys() == {"value", "unit", "target", "ok"}
    assert 0 < row["value"] <= 256, "the private files of a second zone, in KiB"
    assert (row["unit"], row["target"], row["ok"]) == ("KiB", "<= 256", True)


def test_unknown_rows_are_refused() -> None:
    done = bench("archive-readi")
    assert done.returncode == 2
    assert "no such row: archive-readi" in done.stderr
