"""From needed files to few lines: packages, whole directories, globs, and what is left by name.

In this order, each for what the ones before leave: an application's own directory; a package of which most
was used; a directory of which a third was used; files of one kind in a directory, as a glob where a third of
them was used; else by name, those of one directory and kind in one line. What is below /etc is always named:
it is copied as it is on this system.
"""

import re
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from partialroot.globs import is_glob
from partialroot.learn.needs import Need
from partialroot.nodes import FileType
from partialroot.paths import RootPath
from partialroot.profiles.items import PLACEHOLDER
from partialroot.source.packages import Packages
from partialroot.source.tree import Tree

FEWEST = 3
"""As many files must have been used for more than these to be taken."""

SHARE = 3
"""A directory or kind of files is taken whole where one in so many was used."""

LARGEST_APPLICATION = 20000
"""Files in a directory that is taken for an application's own."""

# Directories of everybody: hier(7), and where languages keep the modules of all packages.
_OF_ALL = frozenset({"/", "/etc", "/home", "/root", "/srv", "/opt", "/usr/local", "/usr/lib/locale"})
_PARENTS_OF_ALL = frozenset({"/", "/usr", "/usr/local", "/var", "/home", "/usr/lib/python3"})
_NAMES_OF_ALL = frozenset({"dist-packages", "site-packages", "lib-dynload", "node_modules", "nodejs"})

_UNUSED = (
    "/usr/share/doc/",
    "/usr/share/man/",
    "/usr/share/info/",
    "/usr/share/lintian/",
    "/usr/share/locale/",
)
DOCUMENTATION = "/usr/share/{doc,man,info,lintian}"
_REPOSITORIES = (".git", ".hg", ".svn")
_LIBRARIES = frozenset({"/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/local/lib"})
_LIBRARY = re.compile(r"\.so(?:\.|$)")
_WIDEST = 100
# What means nothing else in a glob with braces, nor in a profile.
_PLAIN = re.compile(r"[A-Za-z0-9_.+=:%~^#-]+")


class Line(NamedTuple):
    """A wish for a list of a profile, and why it is there."""

    key: str
    text: str
    why: str


def literal(path: str) -> str:
    """Return a path as a list of a profile has it: what would be a glob or a parameter is put in brackets."""
    if is_glob(path):
        path = re.sub(r"[*?{\[]", r"[\g<0>]", path)
    return path.replace("@", "[@]") if PLACEHOLDER.search(path) else path


def nameable(path: str) -> bool:
    """Whether a profile can say a path: it is text that can be printed."""
    return path.isprintable()


def used_by(needs: Iterable[Need]) -> str:
    """Say who asked for something, and how often where that was one program."""
    programs: Counter[str] = Counter()
    for need in needs:
        programs.update(need.programs)
    names = sorted({program.rpartition("/")[2] for program in programs if program})
    if not names:
        return "started"
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"by {shown}"


def propose(
    needs: Iterable[Need], tree: Tree, packages: Packages, own: Iterable[RootPath] = ()
) -> tuple[Line, ...]:
    """Return the lines that bring every file needed; ``own`` are the application's own directories."""
    return tuple(_Proposer(needs, tree, packages, own).lines())


class _Proposer:
    def __init__(
        self, needs: Iterable[Need], tree: Tree, packages: Packages, own: Iterable[RootPath]
    ) -> None:
        self._tree = tree
        self._packages = packages
        self._own = tuple(own)
        self._left: dict[RootPath, Need] = {}
        for need in needs:
            place = tree.place(need.path)
            known = self._left.get(place)
            self._left[place] = need if known is None else known.with_those_of(need)
        self._used = sorted(self._left)

    def lines(self) -> Iterator[Line]:
        """Yield the lines; each takes from what is left what it brings."""
        named = {path: need for path, need in self._left.items() if path.is_below("/etc")}
        self._take(named)
        yield from self._applications()
        yield from self._whole_packages()
        yield from self._directories()
        yield from self._kinds()
        yield from (Line("files", literal(path), counted(need)) for path, need in named.items())

    def _take(self, paths: Iterable[RootPath]) -> list[Need]:
        return [self._left.pop(path) for path in list(paths)]

    def _below(self, top: RootPath) -> list[RootPath]:
        """Return what is left below a directory; "0" comes after "/", and nothing between the two."""
        start, end = (bisect_left(self._used, top.rstrip("/") + mark) for mark in "/0")
        return [path for path in self._used[start:end] if path in self._left]

    # --- applications -------------------------------------------------------------------------------

    def _applications(self) -> Iterator[Line]:
        for top in self._own:
            below = self._below(top)
            if not below or _of_all(top) or self._packages.owner(top) is not None:
                continue
            if self._count(top, LARGEST_APPLICATION) is None:
                continue
            used = used_by(self._take(below))
            yield Line("files", literal(top), f"the application's own directory, used {used}")
            yield from self._repositories(top)

    def _repositories(self, top: RootPath) -> Iterator[Line]:
        for name in _REPOSITORIES:
            if self._tree.lstat(top / name) is not None:
                yield Line("exclude", literal(top / name), "not read by any program")

    # --- packages -----------------------------------------------------------------------------------

    def _whole_packages(self) -> Iterator[Line]:
        if not self._left:  # else the whole package database would be read for nothing
            return
        owners: defaultdict[str, list[RootPath]] = defaultdict(list)
        for path, owner in self._packages.owners(tuple(self._left)).items():
            owners[owner].append(path)
        whole = False
        for package, paths in sorted(owners.items()):
            shipped = self._shipped(package)
            if self._is_whole(paths, shipped):
                why = f"{len(paths)} of its {len(shipped)} files, {used_by(self._take(paths))}"
                yield Line("packages", package, why)
                whole = True
        if whole:
            yield Line("exclude", DOCUMENTATION, "no program reads it")

    def _shipped(self, package: str) -> frozenset[RootPath]:
        """Return a package's files, its documentation aside."""
        files = (path for path in self._packages.files(package) or () if not path.startswith(_UNUSED))
        nodes = ((path, self._tree.lstat(path)) for path in files)
        return frozenset(path for path, node in nodes if node is not None and node.type is FileType.FILE)

    def _is_whole(self, paths: Sequence[RootPath], shipped: frozenset[RootPath]) -> bool:
        """Whether half of a package was used, and nothing that lies beside its files is another's."""
        if len(paths) < FEWEST or 2 * len(paths) < len(shipped):
            return False
        tops = {path.parent for path in paths if not _of_all(path.parent)}
        beside = {path for top in tops for path in self._below(top)}
        return bool(tops) and beside <= shipped

    # --- directories --------------------------------------------------------------------------------

    def _directories(self) -> Iterator[Line]:
        counts = Counter(above for path in self._used for above in path.ancestors)
        for top in sorted(counts, key=len):
            below = self._below(top)
            if len(below) < FEWEST or _of_all(top):
                continue
            total = self._count(top, SHARE * counts[top])
            if total is not None:
                why = f"{counts[top]} of {total} files, {used_by(self._take(below))}"
                yield Line("files", literal(self._fork(top, below)), why)

    def _count(self, top: RootPath, most: int) -> int | None:
        """Return how many files there are below a directory; None for more than ``most``."""
        files = (node for _, node in self._tree.walk(top) if node.type is FileType.FILE)
        count = sum(1 for _ in islice(files, most + 1))
        return count if count <= most else None

    def _fork(self, top: RootPath, below: Sequence[RootPath]) -> RootPath:
        """Return the deepest directory that holds all that was used below ``top``."""
        while not any(path.parent == top for path in below):
            names = {path.parts[len(top.parts)] for path in below}
            if len(names) > 1:
                break
            top = top / names.pop()
        return top

    # --- the rest -----------------------------------------------------------------------------------

    def _kinds(self) -> Iterator[Line]:
        kinds: defaultdict[tuple[RootPath, str], list[RootPath]] = defaultdict(list)
        for path in sorted(self._left):
            kinds[path.parent, _kind(path.name)].append(path)
        for (directory, kind), paths in kinds.items():
            yield from self._kind(directory, kind, paths)

    def _kind(self, directory: RootPath, kind: str, paths: Sequence[RootPath]) -> Iterator[Line]:
        alike = sum(1 for name in self._tree.names(directory) if _kind(name) == kind)
        is_many = len(paths) > FEWEST and kind and not _of_all(directory)
        if is_many and SHARE * len(paths) >= alike:
            why = f"{len(paths)} of {alike} files, {used_by(self._take(paths))}"
            yield Line("files", f"{literal(directory)}/*{kind}", why)
            return
        for names in _short([path.name.removesuffix(kind) for path in paths], len(directory)):
            needs = self._take(directory / f"{name}{kind}" for name in names)
            if len(names) > 1:
                text = f"{literal(directory)}/{{{','.join(names)}}}{kind}"
            else:
                text = literal(directory / f"{names[0]}{kind}")
            yield Line("files", text, counted(*needs))


def _of_all(path: RootPath) -> bool:
    """Whether a directory is for the files of everybody, so that a part of it says nothing of the rest."""
    shared = path in _OF_ALL or path.parent in _PARENTS_OF_ALL or path.name in _NAMES_OF_ALL
    return shared or _has_libraries(path) or path.is_below("/etc")


def is_library(path: RootPath) -> bool:
    """Whether a path is a shared library where linkers look for them, not a module somewhere else."""
    return _LIBRARY.search(path.name) is not None and _has_libraries(path.parent)


def _has_libraries(path: RootPath) -> bool:
    if path in _LIBRARIES:
        return True
    is_of_machine = path.name.count("-") >= 2 or path.name in ("64", "amd64", "32")  # x86_64-linux-gnu
    return path.parent in _LIBRARIES and is_of_machine


def _kind(name: str) -> str:
    """Return how a file's name ends: ``.py``, ``.cpython-311.pyc``, ``.so``; "" where that says nothing."""
    stem, dot, end = name.partition(".")
    return f".{end}" if dot and stem and _PLAIN.fullmatch(end) else ""


def _short(names: Iterable[str], used: int) -> Iterator[list[str]]:
    """Yield the names in groups that make lines of readable width; what braces cannot hold stays alone."""
    group: list[str] = []
    for name in names:
        plain = _PLAIN.fullmatch(name) is not None
        if group and (not plain or used + sum(map(len, group)) + len(group) + len(name) > _WIDEST):
            yield group
            group = []
        if plain:
            group.append(name)
        else:
            yield [name]
    if group:
        yield group


def counted(*needs: Need) -> str:
    """Say how often something was asked for, and by whom."""
    times = sum(need.programs.total() for need in needs)
    return f"{'once' if times == 1 else f'{times} times'}, {used_by(needs)}"


def grouped(lines: Iterable[Line]) -> Mapping[str, list[Line]]:
    """Return lines by key, each text once."""
    by_key: defaultdict[str, dict[str, Line]] = defaultdict(dict)
    for line in lines:
        by_key[line.key].setdefault(line.text, line)
    return {key: list(each.values()) for key, each in by_key.items()}
