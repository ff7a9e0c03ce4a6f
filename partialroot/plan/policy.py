"""Where entries live and which of them a zone may have at all: the rules that are policy, not mechanism."""

from collections.abc import Callable, Iterable

from partialroot.globs import is_glob, matcher
from partialroot.model import FileType, Item, Layer, Node
from partialroot.paths import RootPath

PRIVATE_HOME = RootPath("/var/partialroot/private")

_TOPS = {
    "linux": ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32", "/libx32"),
    "illumos": ("/usr", "/lib", "/sbin"),
}


def shared_tops(platform: str, lstat: Callable[[RootPath], Node | None]) -> tuple[RootPath, ...]:
    """Return the top directories a zone only reads: those of the platform that are real directories.

    On a merged-/usr Linux that is /usr alone; /bin and the like are symlinks, and private.
    """
    tops = (RootPath(top) for top in _TOPS[platform])
    return tuple(top for top in tops if (node := lstat(top)) is not None and node.type is FileType.DIR)


def layer_of(path: RootPath, tops: Iterable[RootPath]) -> Layer:
    """Return the layer that holds ``path``."""
    return Layer.SHARED if any(path.is_below(top) for top in tops) else Layer.PRIVATE


def private_home(path: RootPath) -> RootPath:
    """Return where a path that is private, though below a shared top, really lives."""
    return PRIVATE_HOME / path.relative


def is_editable(path: RootPath, by_package: bool) -> bool:
    """Whether an administrator is expected to change this file, so that it must be pristine (P6)."""
    return path.is_below("/etc") or by_package


class Excludes:
    """The paths a profile leaves out: each item a path with all below it, or a glob of such paths."""

    def __init__(self, items: Iterable[Item]) -> None:
        items = tuple(items)
        self._globs = tuple((matcher(item.text), item) for item in items if is_glob(item.text))
        self._paths = {RootPath.parse(item.text): item for item in items if not is_glob(item.text)}
        self._directories: dict[RootPath, Item | None] = {RootPath("/"): None}

    def why(self, path: RootPath) -> Item | None:
        """Return the item that excludes ``path``, or None."""
        if not self._globs and not self._paths:
            return None
        return self._above(path.parent) or self._own(path)

    def _above(self, directory: RootPath) -> Item | None:
        if directory not in self._directories:
            self._directories[directory] = self._above(directory.parent) or self._own(directory)
        return self._directories[directory]

    def _own(self, path: RootPath) -> Item | None:
        if path in self._paths:
            return self._paths[path]
        return next((item for pattern, item in self._globs if pattern.fullmatch(path)), None)
