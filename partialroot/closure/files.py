"""The source's files as the zone will see them: what is excluded is not there."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from partialroot.closure import openers
from partialroot.closure.elf import MAGIC, Elf, mentions, read_elf, read_head
from partialroot.errors import SourceError
from partialroot.nodes import FileType, Node
from partialroot.paths import ROOT, RootPath
from partialroot.source import memory
from partialroot.source.tree import Tree


class Found(NamedTuple):
    """Something that exists, by the ``name`` it was asked for, which may have ``..`` in it.

    ``links`` are the symlinks passed on the way, ``crossed`` the directories that are only passed through.
    """

    name: str
    real: RootPath
    node: Node
    links: tuple[RootPath, ...]
    crossed: tuple[RootPath, ...] = ()


class Content(NamedTuple):
    """What is in a regular file: an ELF object, or of a script as many bytes as the kernel looks at."""

    elf: Elf | None
    head: bytes

    @property
    def packed(self) -> tuple[object, ...]:
        """The same as what can be remembered."""
        return None if self.elf is None else self.elf.packed, self.head

    @classmethod
    def unpacked(cls, fields: tuple[Any, ...]) -> "Content":
        """Return what was packed."""
        elf, head = fields
        return cls(None if elf is None else Elf.unpacked(elf), head)


NOTHING = Content(None, b"")
KIND = memory.kind("content of the closure", Content._fields, Elf._fields, sorted(openers.ALL))
_UNMARKED = memory.kind("content as of illumos", Elf._fields, sorted(openers.ALL))

_Answer = TypeVar("_Answer")


class Files:
    """Finds and reads files, each once.

    ``texts`` are files the zone gets whatever the source has there, ``taken_from`` says where it gets the
    content of a file from. ``troubles`` collects what could not be read or is damaged, and why; ``shut`` the
    names that led to something excluded.
    """

    def __init__(
        self,
        tree: Tree,
        excluded: Callable[[RootPath], bool],
        texts: Mapping[RootPath, bytes],
        taken_from: Callable[[RootPath], RootPath] = lambda path: path,
    ) -> None:
        self.tree = tree
        self.texts = texts
        self._taken_from = taken_from
        self.troubles: dict[RootPath, str] = {}
        self.shut: set[str] = set()
        self._excluded = excluded
        self._found: dict[str, Found | None] = {}
        self._contents: dict[RootPath, Content] = {}
        self._unmarked: dict[RootPath, Elf] = {}
        self._mentions: dict[tuple[RootPath, tuple[bytes, ...]], bool] = {}

    def find(self, name: str) -> Found | None:
        """Return what is at an absolute path; None when nothing is, or when the zone does not want it."""
        try:
            return self._found[name]
        except KeyError:
            found = self._found[name] = self._look(name)
            return found

    def file(self, name: str) -> Found | None:
        """Like :meth:`find`, for regular files only."""
        found = self.find(name)
        return found if found is not None and found.node.type is FileType.FILE else None

    def content(self, found: Found) -> Content:
        """Return what is in a regular file; nothing when it cannot be read."""
        try:
            return self._contents[found.real]
        except KeyError:
            content = self._contents[found.real] = self._content(found)
            return content

    def as_illumos(self, found: Found, elf: Elf) -> Elf:
        """Return an object as illumos' linker reads it; as it is where it cannot be read so."""
        if not elf.illumos and found.real not in self._unmarked:
            self._unmarked[found.real] = self._read_as_illumos(found) or elf
        return self._unmarked.get(found.real, elf)

    def _read_as_illumos(self, found: Found) -> Elf | None:
        known = self.tree.memory.get_of(found.node, _UNMARKED)
        if known is not None:
            return Elf.unpacked(known)
        elf = self._with_opened(found, lambda descriptor: read_elf(descriptor, illumos=True))
        if elf is not None:
            self.tree.memory.put_of(found.node, _UNMARKED, elf.packed)
        return elf

    def mentions(self, found: Found, elf: Elf, symbols: tuple[bytes, ...]) -> bool:
        """Whether an object defines or uses one of the symbols."""
        key = (found.real, symbols)
        if key not in self._mentions:
            self._mentions[key] = self._look_for(found, elf, symbols)
        return self._mentions[key]

    def _look_for(self, found: Found, elf: Elf, symbols: tuple[bytes, ...]) -> bool:
        kind = memory.kind("mentions", symbols)
        answer: bool | None = self.tree.memory.get_of(found.node, kind)
        if answer is None:
            answer = self._with_opened(found, lambda descriptor: mentions(descriptor, elf, symbols))
            if answer is not None:
                self.tree.memory.put_of(found.node, kind, answer)
        return bool(answer)

    def _with_opened(self, found: Found, read: Callable[[int], _Answer]) -> _Answer | None:
        """Return what is read from a file; None, and a trouble, when it cannot be or is damaged."""
        try:
            with self.tree.opened(found.real, found.node) as descriptor:
                return read(descriptor)
        except SourceError as error:
            self.troubles[found.real] = error.message
            return None

    def text(self, name: str) -> str | None:
        """Return a whole text file, the zone's own or the source's; None when there is none or it is huge."""
        data = self.texts.get(RootPath(name))
        found = self.file(name)
        if data is None and found is not None:
            try:
                data = self.tree.read(self._taken_from(found.real))
            except SourceError as error:
                self.troubles[found.real] = error.message
        return None if data is None else data.decode("utf-8", "surrogateescape")

    def data(self, found: Found, limit: int = 1 << 23) -> bytes:
        """Return all of a file; nothing when it cannot be read or has more than ``limit`` bytes."""
        try:
            return self.tree.read(found.real, limit)
        except SourceError as error:
            self.troubles[found.real] = error.message
            return b""

    def _content(self, found: Found) -> Content:
        """Return what was read in a file before, else read it: its beginning, and what that leads to."""
        known = self.tree.recall(found.node, KIND)
        if known is not None:
            return Content.unpacked(known)
        content = self._with_opened(found, _read)
        if content is not None:
            self.tree.memory.put_of(found.node, KIND, content.packed)
        return content or NOTHING

    def _look(self, name: str) -> Found | None:
        if not name.startswith("/"):
            return None
        found = self._climb(name) if "/.." in name else self._walk(name)
        if found is not None and any(map(self._excluded, (found.real, *found.links))):
            self.shut.add(name)
            return None
        return found

    def _walk(self, name: str) -> Found | None:
        path = RootPath.parse(name) if "//" in name or "/." in name else RootPath(name)
        real, node, links = self.tree.resolve(path)
        return None if node is None else Found(name, real, node, links)

    def _climb(self, name: str) -> Found | None:
        """Walk as the kernel does: ``..`` leads out of the directory a symlink led to."""
        here, links, crossed = ROOT, list[RootPath](), list[RootPath]()
        for part in name.split("/"):
            if part == "..":
                crossed.append(here)
                here = here.parent
            elif part not in ("", "."):
                found = self.tree.resolve(here / part)
                here = found.real
                links += found.links
                if found.node is None:
                    return None
        node = self.tree.resolve(here).node
        return None if node is None else Found(name, here, node, tuple(links), tuple(crossed))


def _read(descriptor: int) -> Content:
    return read_content(descriptor, read_head(descriptor))


def read_content(descriptor: int, head: bytes) -> Content:
    """Return what is in an open file that begins with ``head``, which has all that the kernel looks at."""
    if head.startswith(MAGIC):
        return Content(read_elf(descriptor, head), b"")
    if not head.startswith(b"#!"):
        return NOTHING
    from partialroot.closure.scripts import MOST  # one program is mostly no script

    return Content(None, head[:MOST])
