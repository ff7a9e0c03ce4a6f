"""What was made is measured: compared with what was planned, and recorded as it really is."""

import os
import stat

from partialroot.errors import ApplyError
from partialroot.model import Action, Entry, Identity, Layer, Method, Record, Supplier
from partialroot.nodes import FileType, Node, Reason

LOST = ": could not be kept here: its "


def lost_sentence(path: str, xattr: str) -> str:
    """Return the warning for an xattr that could not be kept."""
    return f"{path}{LOST}{xattr}"


def check_unchanged(found: os.stat_result, entry: Entry) -> None:
    """Raise ApplyError if what we have is not the inode the plan was made from, or has changed since."""
    node = entry.node
    if node is None or (
        found.st_ino == node.ino
        and found.st_dev == node.dev
        and found.st_size == node.size
        and found.st_mtime_ns == node.mtime_ns
        and stat.S_IMODE(found.st_mode) == node.mode
        and found.st_uid == node.uid
        and found.st_gid == node.gid
    ):
        return
    raise ApplyError("changed in the source while it was read", path=entry.source, hint="try again")


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


def link_record(action: Action) -> Record:
    """Return the record of a link, which was found to be the inode that the entry was made from."""
    entry, node, content = action.entry, action.entry.node, action.content
    assert node is not None and content is not None
    return Record(
        entry.path,
        FileType.FILE,
        node.mode,
        node.uid,
        node.gid,
        node.size,
        node.mtime_ns,
        None,
        content.sha256,
        content.xattrs,
        Method.LINK,
        entry.source,
        identity_of(node),
        *_told(action),
    )


def _told(action: Action) -> tuple[tuple[Reason, ...], Supplier | None] | tuple[()]:
    """Return what a record says of why it is there; a manifest is for many."""
    return (action.entry.reasons, action.supplier) if action.entry.layer is Layer.PRIVATE else ()


def record(action: Action, found: os.stat_result, xattrs: tuple[tuple[str, bytes], ...]) -> Record:
    """Return the record of a new inode, as it was found."""
    entry = action.entry
    return Record(
        entry.path,
        FileType.of(found.st_mode),
        stat.S_IMODE(found.st_mode),
        found.st_uid,
        found.st_gid,
        found.st_size,
        found.st_mtime_ns,
        entry.target,
        action.content.sha256 if action.content is not None and entry.type is FileType.FILE else None,
        xattrs,
        action.method,
        entry.source,
        identity_of(entry.node),
        *_told(action),
    )


def identity_of(node: Node | None) -> Identity | None:
    """Return which source file ``node`` is; None for directories, symlinks, and what we make ourselves."""
    if node is None or node.type is not FileType.FILE:
        return None
    return Identity(node.dev, node.ino, node.size, node.mtime_ns, node.mode)
