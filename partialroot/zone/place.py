"""Where the store is: every verb asks that first, most before anything else is imported."""

import os
from collections.abc import Mapping
from pathlib import Path

ROOT_STORE = Path("/var/lib/partialroot")


def store_path(option: str | None, environment: Mapping[str, str] = os.environ) -> Path:
    """Return where the store is: ``--store``, else PARTIALROOT_STORE, else the default of root or a user."""
    chosen = option or environment.get("PARTIALROOT_STORE")
    if chosen:
        return Path(os.path.abspath(chosen))
    if os.geteuid() == 0:
        return ROOT_STORE
    home = environment.get("XDG_DATA_HOME") or os.path.join(
        environment.get("HOME") or os.path.expanduser("~"), ".local/share"
    )
    return Path(os.path.abspath(home)) / "partialroot"
