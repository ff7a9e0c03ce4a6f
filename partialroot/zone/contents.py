"""All that a zone's processes see, its own root and the shared layer, to be read once in order.

The root is hostile and may be in use: it is walked as verify does, and a file that is not what it was when it
was listed is not handed out.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from partialroot.errors import ApplyError
from partialroot.model import Layer, Receipt, Record
from partialroot.nodes import FileType, Node
from partialroot.paths import RootPath
from partialroot.zone import fs, look
from partialroot.zone.dirs import Dirs
from partialroot.zone.verify import open_root

_CARRIED = frozenset({FileType.FILE, FileType.DIR, FileType.SYMLINK})
_AT_ONCE = 1 << 20


class Member(NamedTuple):
    """One path of a zone. ``twin`` is the member before it that is another name of the same file.

    ``mtime_ns`` is 0 for what has no source and is as we wrote it: when that was says nothing.
    """

    path: RootPath
    layer: Layer
    node: Node
    mtime_ns: int
    xattrs: tuple[tuple[str, bytes], ...]
    twin: RootPath | None = None


class Contents:
    """The members of a zone, sorted by path, for as long as the directories they are in are open.

    ``left_out`` says what is in the root that no archive holds, or that could not be looked at.
    """

    def __init__(
        self, tops: dict[Layer, Dirs], members: tuple[Member, ...], left_out: tuple[str, ...]
    ) -> None:
        self._tops = tops
        self.members = members
        self.left_out = left_out

    def read(self, member: Member) -> Iterator[bytes]:
        """Yield a regular file's content, as long as its node says; ApplyError if it changed meanwhile."""
        try:
            descriptor = look.open_file(
                self._tops[member.layer].fd(_above(member.path)), member.path.name, member.node
            )
        except OSError as error:
            raise _changed(member.path) from error
        try:
            yield from _blocks(descriptor, member)
        finally:
            os.close(descriptor)


@contextmanager
def contents(zonepath: Path, receipt: Receipt) -> Iterator[Contents]:
    """Yield what is in a zone; ZonepathError when it has no root, ApplyError when its image is gone."""
    with ExitStack() as stack:
        tops = {Layer.PRIVATE: stack.enter_context(Dirs(stack.enter_context(open_root(zonepath))))}
        left_out: list[str] = []
        found = [*_listed(tops[Layer.PRIVATE].top, Layer.PRIVATE, receipt, left_out)]
        if receipt.image:
            tops[Layer.SHARED] = stack.enter_context(Dirs(_open_image(Path(receipt.image), stack)))
            found += _listed(tops[Layer.SHARED].top, Layer.SHARED, receipt, left_out)
        found.sort(key=lambda member: member.path)
        yield Contents(tops, tuple(_with_twins(found)), tuple(left_out))


def _open_image(image: Path, stack: ExitStack) -> int:
    try:
        descriptor = fs.open_directory(image)
    except OSError as error:
        raise ApplyError(f"the zone's image cannot be read: {error.strerror}", path=str(image)) from error
    stack.callback(os.close, descriptor)
    return descriptor


def _listed(top: int, layer: Layer, receipt: Receipt, left_out: list[str]) -> Iterator[Member]:
    """Yield what is below a directory and of the layer; the shared one is what is mounted of the image."""
    records = {record.path: record for record in receipt.entries}
    mounts = frozenset(receipt.mounts)

    def is_shared(path: RootPath) -> bool:
        return path in mounts or not mounts.isdisjoint(path.ancestors)

    def enter(found: look.Found) -> bool:
        leads_there = any(mount.is_below(found.path) for mount in mounts)
        return is_shared(found.path) or leads_there if layer is Layer.SHARED else found.path not in mounts

    for found in look.walk(top, enter):
        if is_shared(found.path) is not (layer is Layer.SHARED):
            continue
        if found.node.type not in _CARRIED:
            left_out.append(f"{found.path} is left out: it is a {found.node.type}")
            continue
        if found.closed:
            left_out.append(f"what is in {found.path} is left out: {found.closed}")
        yield _member(found, layer, records.get(found.path))


def _member(found: look.Found, layer: Layer, record: Record | None) -> Member:
    try:
        xattrs = look.xattrs(found.parent, found.path.name)
    except OSError as error:
        raise _changed(found.path) from error
    node = found.node
    is_ours = record is not None and record.source is None
    is_as_made = is_ours and (node.type is not FileType.FILE or _when(node) == _when(record))
    return Member(found.path, layer, node, 0 if is_as_made else node.mtime_ns, xattrs)


def _when(what: Node | Record | None) -> tuple[int, int] | None:
    return what and (what.size, what.mtime_ns)


def _with_twins(members: list[Member]) -> Iterator[Member]:
    first: dict[tuple[Layer, int, int], RootPath] = {}
    for member in members:
        node = member.node
        if node.type is FileType.FILE and node.nlink > 1:
            same = first.setdefault((member.layer, node.dev, node.ino), member.path)
            yield member if same == member.path else member._replace(twin=same)
        else:
            yield member


def _blocks(descriptor: int, member: Member) -> Iterator[bytes]:
    left = member.node.size
    while block := os.read(descriptor, min(_AT_ONCE, left + 1)):
        left -= len(block)
        if left < 0:
            break
        yield block
    if left:
        raise _changed(member.path)


def _above(path: RootPath) -> str:
    return path.rpartition("/")[0]


def _changed(path: RootPath) -> ApplyError:
    return ApplyError("changed while it was read", path=path, hint="halt the zone, and try again")
