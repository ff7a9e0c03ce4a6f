"""Where the store is: every verb asks that first, most before anything else is imported."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # few paths are made where nothing is to be done, and pathlib takes a while to import
    from pathlib import Path

ROOT_STORE = "/var/lib/partialroot"


def store_path(option: str | None, environment: Mapping[str, str] = os.environ) -> "Path":
    """Return :func:`store_place` as a path."""
    from pathlib import Path

    return Path(store_place(option, environment))


def store_place(option: str | None, environment: Mapping[str, str] = os.environ) -> str:
    """Return where the store is: ``--store``, else PARTIALROOT_STORE, else the default of root or a user."""
    chosen = option or environment.get("PARTIALROOT_STORE")
    if chosen:
        return os.path.abspath(chosen)
    if os.geteuid() == 0:
        return ROOT_STORE
    home = environment.get("XDG_DATA_HOME") or os.path.join(
        environment.get("HOME") or os.path.expanduser("~"), ".local/share"
    )
    return os.path.join(os.path.abspath(home), "partialroot")
