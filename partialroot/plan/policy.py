"""Where entries live and which of them a zone may have at all: the rules that are policy, not mechanism."""

import re
from collections.abc import Callable, Iterable
from functools import cache
from itertools import takewhile

from partialroot.globs import alternatives, is_glob, matcher
from partialroot.model import Layer
from partialroot.nodes import FileType, Item, Node
from partialroot.paths import ROOT, RootPath
from partialroot.source.tree import Tree

PRIVATE_HOME = RootPath("/var/partialroot/private")

_TOPS = {
    "linux": ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32", "/libx32"),
    "illumos": ("/usr", "/lib", "/sbin"),
}


def all_tops(platform: str) -> tuple[RootPath, ...]:
    """Return the top directories that a zone of the platform may share."""
    return tuple(map(RootPath, _TOPS[platform]))


def shared_tops(platform: str, lstat: Callable[[RootPath], Node | None]) -> tuple[RootPath, ...]:
    """Return the top directories a zone only reads: those of the platform that are real directories.

    On a merged-/usr Linux that is /usr alone; /bin and the like are symlinks, and private.
    """
    return tuple(
        top for top in all_tops(platform) if (node := lstat(top)) is not None and node.type is FileType.DIR
    )


def layer_of(path: RootPath, tops: tuple[RootPath, ...]) -> Layer:
    """Return the layer that holds ``path``."""
    return Layer.SHARED if path.startswith(_inside(tops)) or path in tops else Layer.PRIVATE


@cache
def _inside(tops: tuple[RootPath, ...]) -> tuple[str, ...]:
    """Return how the paths below some directories begin."""
    return tuple(f"{top}/" for top in tops)


def private_home(path: RootPath) -> RootPath:
    """Return where a path that is private, though below a shared top, really lives."""
    return PRIVATE_HOME / path.relative


def is_editable(path: RootPath, by_package: bool) -> bool:
    """Whether an administrator is expected to change this file, so that it must be pristine (P6)."""
    return path.is_below("/etc") or by_package


class Excludes:
    """The paths a profile leaves out: each item a path with all below it, or a glob of such paths.

    Symlinked parents make no difference: where /bin is a symlink, ``/bin/x`` leaves out ``/usr/bin/x``. What
    is ``named`` literally stays, with all below it that no item reaches by itself: composing has seen to it
    that a profile names only what those it uses exclude, never what itself or a sibling does.
    """

    def __init__(self, tree: Tree, items: Iterable[Item], named: Iterable[RootPath] = ()) -> None:
        self._tree = tree
        self._globs: list[tuple[re.Pattern[str], Item]] = []
        self._paths: dict[RootPath, Item] = {}
        for item in items:
            if is_glob(item.text):
                self._globs += [(matcher(self._real_glob(one)), item) for one in alternatives(item.text)]
            else:
                self._paths[self._real(RootPath.parse(item.text))] = item
        # One search tells of most paths that no glob leaves them out; of no globs: nothing, "(?!)".
        self._any_glob = re.compile("|".join(one.pattern for one, _ in self._globs) or "(?!)", re.DOTALL)
        self._known: dict[RootPath, Item | None] = {ROOT: None}
        self._known |= dict.fromkeys(map(self._real, named))

    def why(self, path: RootPath) -> Item | None:
        """Return the item that excludes ``path``, or None."""
        if not self._globs and not self._paths:
            return None
        real = self._real(path)
        return self._known[real] if real in self._known else self._above(real.parent) or self._own(real)

    def _above(self, directory: RootPath) -> Item | None:
        if directory not in self._known:
            self._known[directory] = self._above(directory.parent) or self._own(directory)
        return self._known[directory]

    def _own(self, path: RootPath) -> Item | None:
        if path in self._paths:
            return self._paths[path]
        if not self._any_glob.fullmatch(path):
            return None
        return next(item for pattern, item in self._globs if pattern.fullmatch(path))

    def _real(self, path: RootPath) -> RootPath:
        """Return a path with its parents' symlinks followed, but not its own."""
        return self._tree.place(path)

    def _real_glob(self, pattern: str) -> str:
        """Return a pattern with symlinks followed in the directories before its first glob."""
        parts = RootPath.parse(pattern).parts
        plain = list(takewhile(lambda part: not is_glob(part), parts[:-1]))
        start = self._tree.resolve(RootPath("/" + "/".join(plain))).real
        return start / "/".join(parts[len(plain) :])
