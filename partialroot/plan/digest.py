"""The name of an image: what it holds, never where or when it was made (P10)."""

import os
from base64 import b64encode
from collections.abc import Iterable
from hashlib import sha256

from partialroot.model import Action, Entry, Layer
from partialroot.nodes import Content, FileType
from partialroot.paths import RootPath


def digest(actions: Iterable[Action]) -> str:
    """Return the SHA-256 over the shared entries: path, type, mode, owner, size, target, xattrs, content."""
    total = sha256()
    for action in actions:
        if action.entry.layer is Layer.SHARED:
            total.update(_line(action.entry, action.content))
    return total.hexdigest()


def golden_key(private: Iterable[Action], tops: Iterable[RootPath], platform: str) -> str:
    """Return the SHA-256 over the entries of a golden layer, with their times: a copy of it has those, too.

    ``tops`` are the image's mount points in it. Python on illumos sees no ACLs, which are copied all the
    same: its ctime tells that a file got another.
    """
    total = sha256(" ".join(tops).encode())
    for action in private:
        entry = action.entry
        seen = entry.node.ctime_ns if entry.node and platform == "illumos" else ""
        total.update(_line(entry, action.content) + f"{entry.mtime_ns} {action.twin or ''} {seen}\n".encode())
    return total.hexdigest()


def _line(entry: Entry, content: Content | None) -> bytes:
    """One entry as NUL-separated fields: a NUL is the one byte no path has."""
    size = entry.size if entry.type is FileType.FILE else 0
    mode = f"{entry.type} {entry.mode:04o} {entry.uid} {entry.gid} {size}"
    text = f"{entry.path}\0{mode}\0{entry.target or ''}\0{content.sha256 if content else ''}\0"
    xattrs = b" ".join(map(_xattr, content.xattrs)) if content and content.xattrs else b""
    return os.fsencode(text) + xattrs + b"\n"


def _xattr(named: tuple[str, bytes]) -> bytes:
    name, value = named
    return os.fsencode(name) + b"=" + b64encode(value)
