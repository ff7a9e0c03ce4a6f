"""Reads sources that many zones copy once."""

import os

from partialroot.model import Entry
from partialroot.nodes import Node
from partialroot.zone import fs
from partialroot.zone.measured import check_unchanged

LARGEST = 1 << 20
"""Files up to this size are kept; so many bytes of them in all."""
MOST = 1 << 25


class Originals:
    """The content of small files that the zones of one batch copy from the source."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Node | None, bytes]] = {}
        self._left = MOST

    def content(self, path: str, entry: Entry) -> bytes | None:
        """Return the content of the host's file ``path``; None where it is not kept: large, or with holes.

        Raises OSError, and ApplyError where it is not the file any more that the plan was made from.
        """
        known = self._known.get(path)
        if known is not None and known[0] == entry.node:
            return known[1]
        if not 0 < entry.size <= min(LARGEST, self._left):
            return None
        data = _read(path, entry)
        if data is not None:
            self._known[path] = (entry.node, data)
            self._left -= len(data)
        return data


def _read(path: str, entry: Entry) -> bytes | None:
    fd = os.open(path, fs.SOURCE)
    try:
        found = os.fstat(fd)
        check_unchanged(found, entry)
        if found.st_blocks * 512 < found.st_size:  # fs.copy keeps holes
            return None
        data = os.pread(fd, entry.size + 1, 0)
        check_unchanged(os.fstat(fd), entry)
    finally:
        os.close(fd)
    return data if len(data) == entry.size else None
