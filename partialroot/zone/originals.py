"""What saves work where many zones are made: sources are read once, what is right already is left alone."""

import os
from collections.abc import Callable

from partialroot.model import Action, Entry, Node
from partialroot.zone import fs

LARGEST = 1 << 20
"""Files up to this size are kept; so many bytes of them in all."""
MOST = 1 << 25

Check = Callable[[os.stat_result, Entry], None]
"""Raises ApplyError where a source file is not the one any more that the plan was made from."""


class Originals:
    """The content of small files that the zones of one batch copy from the source."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Node | None, bytes]] = {}
        self._left = MOST

    def content(self, path: str, entry: Entry, check: Check) -> bytes | None:
        """Return the content of the host's file ``path``; None where it is not kept: large, or with holes.

        It is checked when it is read. Raises OSError, and what ``check`` does.
        """
        known = self._known.get(path)
        if known is not None and known[0] == entry.node:
            return known[1]
        if not 0 < entry.size <= min(LARGEST, self._left):
            return None
        data = _read(path, entry, check)
        if data is not None:
            self._known[path] = (entry.node, data)
            self._left -= len(data)
        return data


def _read(path: str, entry: Entry, check: Check) -> bytes | None:
    fd = os.open(path, fs.SOURCE)
    try:
        found = os.fstat(fd)
        check(found, entry)
        if found.st_blocks * 512 < found.st_size:  # fs.copy keeps holes
            return None
        data = os.pread(fd, entry.size + 1, 0)
        check(os.fstat(fd), entry)
    finally:
        os.close(fd)
    return data if len(data) == entry.size else None


def is_as_wanted(action: Action, found: os.stat_result) -> bool:
    """Whether a new inode has all that it shall have: most have it from the beginning."""
    entry, content = action.entry, action.content
    return (
        found.st_mode & 0o7777 == entry.mode
        and found.st_uid == entry.uid
        and found.st_gid == entry.gid
        and entry.mtime_ns in (0, found.st_mtime_ns)
        and not (content and content.xattrs)
    )
