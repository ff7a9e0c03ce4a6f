"""A read-only view of a source root in which no symlink leads outside.

What was seen once is remembered: a tree is a snapshot for the length of one command, not a monitor.
Two rules keep foreign roots harmless: only canonical paths (every parent a real directory) are handed to
the system, and what is opened must be the inode that lstat(2) saw before.
"""

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from operator import attrgetter
from posixpath import normpath
from types import TracebackType
from typing import Any, NamedTuple

from partialroot import globs, observed
from partialroot.errors import SourceError
from partialroot.nodes import NOTHING, FileType, Node
from partialroot.paths import ROOT, RootPath
from partialroot.source.memory import Memory

MOST_LINKS = 40
"""As many symlinks Linux follows in one path (path_resolution(7)); the next one is a loop."""

OWN_DIRECTORY = ".partialroot"
"""Images beside the source files live in directories of this name; they are never part of the source."""

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_CHUNK = 1 << 18
_NOATIME: int = getattr(os, "O_NOATIME", 0)


class Resolved(NamedTuple):
    """Where a path leads inside the root.

    ``real`` is canonical, or as far as could be followed. ``node`` is None when nothing is there, at a
    loop, or behind a directory that may not be searched. ``links`` are the symlinks passed, in order.
    """

    real: RootPath
    node: Node | None
    links: tuple[RootPath, ...]


class Tree:
    """The files below ``root``, as a process that is chrooted into it would see them.

    ``hidden`` are canonical paths that searches leave out (the store), ``views`` the places on the host of
    files that something is mounted over, ``memory`` has what earlier runs read in files, ``ahead`` what this
    one did before it is asked for, by kind, device and inode. ``unreadable`` collects the paths that could
    not be looked at for want of permission: for the tree they do not exist.
    Raises SourceError when ``root`` is no directory.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        hidden: Iterable[RootPath] = (),
        views: Mapping[str, str] = NOTHING,
        memory: Memory | None = None,
    ) -> None:
        real = os.path.realpath(root)
        if not os.path.isdir(real):
            raise SourceError("the source is not a directory", path=str(root))
        if observed.current:
            observed.current.root(os.fspath(root), real)
        self.root = real
        self.hidden = frozenset(hidden)
        self.views = views
        self.memory = memory or Memory()
        self.ahead: dict[tuple[str, int, int], Any] = {}
        self.unreadable: set[RootPath] = set()
        self._prefix = "" if real == "/" else real
        self._nodes: dict[str, Node | None] = {}
        self._directories: dict[str, Resolved] = {}

    def host(self, path: str) -> str:
        """Return the path of the host for a canonical path of the root."""
        return self.views.get(path) or self._prefix + path

    def lstat(self, path: RootPath) -> Node | None:
        """Return what is at ``path``: its parents' symlinks are followed, its own is not."""
        known = self._nodes.get(path)  # which has canonical paths only
        if known is not None:
            return known
        here, above = self._at(path)
        if above.node is None or above.node.type is not FileType.DIR:
            return None
        return self._node(here)

    def place(self, path: RootPath) -> RootPath:
        """Return ``path`` with its parents' symlinks followed, whether anything is there or not."""
        return path if path in self._nodes else self._at(path)[0]

    def _at(self, path: RootPath) -> tuple[RootPath, Resolved]:
        """Return :meth:`place` and what the directory is that it is in."""
        cut = path.rindex("/")
        parent = path[:cut]
        above = self._directory(parent)
        return path if above.real == parent or cut == 0 else above.real / path[cut + 1 :], above

    def resolve(self, path: RootPath) -> Resolved:
        """Follow every symlink of ``path``, the last one included."""
        known = self._nodes.get(path)
        if known is not None and known.target is None:
            return Resolved(path, known, ())
        here, above = self._at(path)
        if above.node is None or above.node.type is not FileType.DIR:
            return Resolved(here, None, above.links)
        node = self._node(here)
        if node is not None and node.type is FileType.SYMLINK:
            return self._follow(above.real, path.name, above.links)
        return Resolved(here, node, above.links)

    def open(self, path: RootPath) -> int:
        """Return a descriptor for reading the regular file that ``path`` leads to; the caller closes it.

        Its atime is not changed where that is allowed. Raises SourceError when it is no regular file, may
        not be read, or was replaced since the tree looked at it.
        """
        return self.open_node(*self._found(path))

    def _found(self, path: RootPath) -> tuple[RootPath, Node]:
        real, node, _ = self.resolve(path)
        if node is None:
            raise SourceError("does not exist", path=path)
        return real, node

    def open_node(self, path: RootPath, node: Node) -> int:
        """Like :meth:`open`, for a canonical path and what lstat(2) said of it."""
        if node.type is not FileType.FILE:
            raise SourceError(f"is a {node.type}, not a regular file", path=path)
        try:
            descriptor = self._open_quietly(path)
        except PermissionError:
            self.unreadable.add(path)
            raise SourceError("may not be read", path=path, hint="run as root") from None
        except OSError as error:
            raise SourceError(f"cannot be read: {error.strerror}", path=path) from None
        now = os.fstat(descriptor)
        if (now.st_dev, now.st_ino) != (node.dev, node.ino):
            os.close(descriptor)
            raise SourceError("was replaced while it was read", path=path, hint="run the command again")
        return descriptor

    def opened(self, path: RootPath, node: Node) -> "_Opened":
        """Yield, as a context manager, what :meth:`open_node` returns; failing reads are SourceErrors."""
        return _Opened(self, path, node)

    def read(self, path: RootPath, limit: int = 1 << 20) -> bytes:
        """Return the content of the file that ``path`` leads to; SourceError above ``limit`` bytes."""
        real, node = self._found(path)
        with self.opened(real, node) as descriptor:
            data = os.read(descriptor, min(node.size, limit) + 1)
            if len(data) != node.size:  # it is larger, has grown, or is one whose size is told as 0
                data = b"".join(_rest(descriptor, data, limit))
        if len(data) > limit:
            raise SourceError(f"is larger than {limit} bytes", path=path)
        return data

    def recall(self, node: Node, kind: str) -> Any:
        """Return what was read in a file in an earlier run, or in this one ahead of need; None if nothing."""
        known = self.memory.get_of(node, kind)
        if known is None and self.ahead:
            known = self.ahead.get((kind, node.dev, node.ino))
            if known is not None:
                self.memory.put_of(node, kind, known)
        return known

    def names(self, path: RootPath) -> tuple[str, ...]:
        """Return the sorted names in the directory that ``path`` leads to; none when it is no directory."""
        real, node, _ = self.resolve(path)
        if node is None or node.type is not FileType.DIR:
            return ()
        return tuple(entry.name for entry in self._entries(real))

    def walk(self, path: RootPath) -> Iterator[tuple[RootPath, Node]]:
        """Yield ``path`` and everything below it with canonical paths, parents first, names in order.

        Symlinks below are not followed. What is hidden, and directories of our own, are left out; so is
        what vanishes meanwhile.
        """
        top = self.place(path)
        node = self.lstat(path)
        if node is None or self._is_hidden(top, path.name):
            return
        yield top, node
        if node.type is FileType.DIR:
            yield from self._walk_below(top)

    def glob(self, pattern: str) -> tuple[RootPath, ...]:
        """Return the existing paths that match, sorted and spelled as in ``pattern`` (see module globs)."""
        found: set[RootPath] = set()
        for text in globs.alternatives(pattern):
            found.update(self._matching(ROOT, [part for part in text.split("/") if part not in ("", ".")]))
        return tuple(sorted(found))

    def _matching(self, top: RootPath, parts: list[str]) -> Iterator[RootPath]:
        """Yield what is below ``top`` and matches the components; symlinked directories are entered."""
        if not parts:
            yield top
            return
        part, rest = parts[0], parts[1:]
        if part == "**":
            yield from self._matching_below(top, rest)
        elif globs.is_glob(part):
            match = globs.component(part).fullmatch
            for name in self.names(top):
                if match(name):
                    yield from self._matching_at(top / name, rest)
        elif part != "..":
            yield from self._matching_at(top / part, rest)

    def _matching_at(self, path: RootPath, rest: list[str]) -> Iterator[RootPath]:
        """Yield what matches at or below ``path``, if it exists and is not hidden."""
        if self.lstat(path) is not None and not self._is_hidden(self.place(path), path.name):
            yield from self._matching(path, rest)

    def _matching_below(self, top: RootPath, rest: list[str]) -> Iterator[RootPath]:
        """Yield what matches after ``**``: below ``top`` and all directories in it, symlinks not entered."""
        real, here, _ = self.resolve(top)
        if here is None or here.type is not FileType.DIR:
            return
        if rest:
            yield from self._matching(top, rest)
        for path, node in self._walk_below(real):
            spelled = RootPath(top.rstrip("/") + path[len(real.rstrip("/")) :])
            if not rest:
                yield spelled
            elif node.type is FileType.DIR:
                yield from self._matching(spelled, rest)

    def _is_hidden(self, path: RootPath, name: str) -> bool:
        return name == OWN_DIRECTORY or path in self.hidden

    def _walk_below(self, top: RootPath) -> Iterator[tuple[RootPath, Node]]:
        """Yield what is below the canonical directory ``top``, in the order of a depth-first walk."""
        waiting = [iter(self._entries(top))]
        above = [top.rstrip("/") + "/"]
        while waiting:
            for entry in waiting[-1]:
                path = RootPath(above[-1] + entry.name)
                node = self._node_of(entry, path)
                if node is None or self._is_hidden(path, entry.name):
                    continue
                yield path, node
                if node.type is FileType.DIR:
                    waiting.append(iter(self._entries(path)))
                    above.append(path + "/")
                    break
            else:
                waiting.pop()
                above.pop()

    def _entries(self, path: RootPath) -> list["os.DirEntry[str]"]:
        """Return the sorted entries of the canonical directory ``path``."""
        place = self._prefix + path
        before = observed.times(place) if observed.current else []
        found = self._scan(place, path)
        if observed.current:
            observed.current.names(place, (entry.name for entry in found), before)
        return found

    def _scan(self, place: str, path: RootPath) -> list["os.DirEntry[str]"]:
        try:
            with os.scandir(place) as entries:
                return sorted(entries, key=attrgetter("name"))
        except PermissionError:
            self.unreadable.add(path)
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            raise SourceError(f"cannot be listed: {error.strerror}", path=path) from None
        return []

    def _node_of(self, entry: "os.DirEntry[str]", path: RootPath) -> Node | None:
        """Return what a directory's entry is, None when it vanished or may not be looked at."""
        if path in self.views:
            return self._node(path)
        try:
            found = entry.stat(follow_symlinks=False)
            node = _node(found, entry.path)
        except OSError as error:
            self._note_absent(path, error)
            return None
        if observed.current:
            observed.current.node(entry.path, found, node.target)
        return node

    def _node(self, path: str) -> Node | None:
        """Return what is at a canonical path, asking the system once."""
        try:
            return self._nodes[path]
        except KeyError:
            pass
        place = self.host(path)
        node = found = None
        try:
            found = os.lstat(place)
            node = _node(found, place)
        except OSError as error:
            self._note_absent(RootPath(path), error)
        except ValueError:  # a NUL, or a surrogate that stands for no byte: no file has such a name
            pass
        self._nodes[path] = node
        if observed.current:
            observed.current.node(place, found, node and node.target)
        return node

    def _note_absent(self, path: RootPath, error: OSError) -> None:
        """Take an error of lstat(2) for absence, unless the file system itself failed."""
        from errno import ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR

        if isinstance(error, PermissionError):
            self.unreadable.add(path)
        elif error.errno not in (ENOENT, ENOTDIR, ENAMETOOLONG, ELOOP):
            raise SourceError(f"cannot be looked at: {error.strerror}", path=path) from None

    def _directory(self, path: str) -> Resolved:
        """Resolve ``path`` and remember it: called for the parents of everything."""
        found = self._directories.get(path)
        if found is None:
            found = self._directories[path] = self._follow(ROOT, path, ())
        return found

    def _follow(self, here: RootPath, rest: str, links: tuple[RootPath, ...]) -> Resolved:
        """Walk ``rest`` from the canonical directory ``here`` as the kernel does, having passed ``links``."""
        passed = list(links)
        node = self._node(here)
        todo = rest.split("/")[::-1]
        while todo:
            if node is None or node.type is not FileType.DIR:
                return Resolved(_unfollowed(here, todo), None, tuple(passed))
            name = todo.pop()
            if name in ("", "."):
                continue
            child = here.parent if name == ".." else here / name
            node = self._node(child)
            if node is None or node.target is None:
                here = child
                continue
            passed.append(child)
            if len(passed) > MOST_LINKS:
                return Resolved(_unfollowed(child, todo), None, tuple(passed))
            if node.target.startswith("/"):
                here = ROOT
            todo += node.target.split("/")[::-1]
            node = self._node(here)
        return Resolved(here, node, tuple(passed))

    def _open_quietly(self, path: RootPath) -> int:
        """Open without changing the atime; only the owner and CAP_FOWNER may (open(2))."""
        try:
            return os.open(self.host(path), _OPEN | _NOATIME)
        except PermissionError:
            return os.open(self.host(path), _OPEN)


class _Opened:
    """A file that is open for a while."""

    __slots__ = ("_descriptor", "_node", "_path", "_tree")

    def __init__(self, tree: Tree, path: RootPath, node: Node) -> None:
        self._tree, self._path, self._node = tree, path, node

    def __enter__(self) -> int:
        self._descriptor = self._tree.open_node(self._path, self._node)
        return self._descriptor

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)
        if isinstance(error, OSError):
            raise SourceError(f"cannot be read: {error.strerror}", path=self._path) from None


def _rest(descriptor: int, data: bytes, limit: int) -> Iterator[bytes]:
    """Yield what was read of a file, and the rest of it until there is more than ``limit``."""
    left = limit + 1
    while data:
        yield data
        left -= len(data)
        data = os.read(descriptor, min(left, _CHUNK)) if left > 0 else b""


def _unfollowed(here: RootPath, todo: list[str]) -> RootPath:
    """Return where a path would have led, had ``here`` been a directory; ``todo`` is last component first."""
    return RootPath(normpath("/".join([here, *reversed(todo)])).replace("//", "/"))


def _node(status: os.stat_result, place: str) -> Node:
    """Make a Node of what lstat(2) said of the host's path ``place``."""
    return Node.of(status, os.readlink(place) if stat.S_ISLNK(status.st_mode) else None)
