"""docs/mvi-lists.md is what scripts/mvi-lists makes of mvi's lists and the synthetic global zone."""

import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent


def test_the_page_is_what_the_script_prints() -> None:
    """The script itself fails on an entry that is neither found nor explained."""
    run = subprocess.run(
        [sys.executable, CHECKOUT / "scripts/mvi-lists"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    page = CHECKOUT / "docs/mvi-lists.md"
    assert run.stdout.splitlines() == page.read_text().splitlines(), f"scripts/mvi-lists >{page}"
