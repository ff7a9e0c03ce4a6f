"""What ``zoneadm -z ZONE list -p`` prints (zones facts 8)."""

import re
from pathlib import Path
from typing import NamedTuple

from partialroot.errors import PartialRootError

_FIELDS = 7


class ListedZone(NamedTuple):
    """One zone; ``ip_type`` is ``excl`` or ``shared``."""

    name: str
    state: str
    zonepath: Path
    brand: str
    ip_type: str


def parse(line: str) -> ListedZone:
    r"""Return the zone of one line; a ``:`` in the path is written ``\:``. Raises PartialRootError."""
    fields = [re.sub(r"\\(.)", r"\1", field) for field in re.split(r"(?<!\\):", line.rstrip("\n"))]
    if len(fields) < _FIELDS:
        raise PartialRootError(f"zoneadm list -p printed what cannot be read: {line[:200]!r}")
    _, name, state, path, _, brand, ip_type = fields[:_FIELDS]
    return ListedZone(name, state, Path(path), brand, ip_type)
