"""The regular files that are in a zone's own root now, the tenant's among them.

The root is hostile and may be in use: it is walked as verify does, and a file that changes while it is read
has no checksum.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from partialroot.model import Receipt
from partialroot.nodes import FileType
from partialroot.paths import RootPath
from partialroot.zone import look
from partialroot.zone.hashing import CHANGED
from partialroot.zone.verify import open_root


class Inventory(NamedTuple):
    """The SHA-256 of each file by path, "" where ``unread`` says why there is none.

    ``closed`` are the directories that could not be looked into, and why. ``is_there`` is false for a root
    in which nothing of ours is, as that of a zone whose dataset is not mounted.
    """

    sums: Mapping[RootPath, str]
    unread: Mapping[RootPath, str]
    closed: Mapping[RootPath, str]
    is_there: bool


def private_files(zonepath: Path, receipt: Receipt) -> Inventory:
    """Return what is in the root of a zone; ZonepathError when there is none.

    What lies below the mount points of the shared layer is not looked at: the image is there, or nothing.
    """
    sums: dict[RootPath, str] = {}
    unread: dict[RootPath, str] = {}
    closed: dict[RootPath, str] = {}
    ours = {record.path for record in receipt.entries}
    is_there = not ours
    with open_root(zonepath) as root:
        for found in look.walk(root, lambda found: found.path not in receipt.mounts):
            is_there = is_there or found.path in ours
            if found.node.type is FileType.FILE:
                sums[found.path], why = _sum(found)
                if why:
                    unread[found.path] = why
            elif found.closed and found.path not in receipt.mounts:
                closed[found.path] = found.closed
    return Inventory(sums, unread, closed, is_there)


def _sum(found: look.Found) -> tuple[str, str]:
    """Return a file's SHA-256, and why there is none."""
    try:
        descriptor = look.open_file(found.parent, found.path.name, found.node)
    except OSError as error:
        return "", error.strerror or str(error)
    try:
        total = look.sha256(descriptor, found.node.size)
        return total, "" if total else CHANGED
    except OSError as error:
        return "", error.strerror or str(error)
    finally:
        os.close(descriptor)
