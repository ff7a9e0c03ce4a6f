"""Entries of the new root: from what the source has, and of what we make."""

from partialroot.model import Entry
from partialroot.nodes import FileType, Node, Reason
from partialroot.paths import RootPath
from partialroot.plan.policy import layer_of


def entry_of(path: RootPath, node: Node, reasons: tuple[Reason, ...], tops: tuple[RootPath, ...]) -> Entry:
    """Return the entry of what the source has at ``path``."""
    is_file = node.type is FileType.FILE
    return Entry(
        path,
        node.type,
        node.mode,
        node.uid,
        node.gid,
        layer_of(path, tops),
        reasons,
        node.size if is_file else 0,
        node.mtime_ns,
        node.target,
        path if is_file else None,
        node,
    )


def with_content_of(entry: Entry, source: RootPath, node: Node) -> Entry:
    """Return the entry of a regular file with the content of another file of the source."""
    return entry._replace(source=source, node=node, size=node.size, mtime_ns=node.mtime_ns)


def directory(path: RootPath, reason: Reason, tops: tuple[RootPath, ...]) -> Entry:
    """Return the entry of a directory of root's that we make."""
    return Entry(path, FileType.DIR, 0o755, 0, 0, layer_of(path, tops), (reason,))


def written(path: RootPath, mode: int, text: str, reason: Reason, tops: tuple[RootPath, ...]) -> Entry:
    """Return the entry of a file of root's that we write."""
    data = text.encode("utf-8", "surrogateescape")
    layer = layer_of(path, tops)
    return Entry(path, FileType.FILE, mode, 0, 0, layer, (reason,), size=len(data), text=data)
