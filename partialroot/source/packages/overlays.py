"""Tribblix' overlays: packages in groups that require one another.

``/var/sadm/overlays`` has of each overlay a file NAME.ovl of lines KEY=value, of which REQUIRES may occur
several times, and NAME.pkgs with a package on each line.
"""

from partialroot.paths import RootPath
from partialroot.source.packages.zone_marks import lines
from partialroot.source.tree import Tree

OVERLAYS = RootPath("/var/sadm/overlays")
BASE = "base"
"""Tribblix' brands install this overlay into every zone they make from overlays."""

_LIMIT = 1 << 20


def required(text: str) -> tuple[str, ...]:
    """Return the overlays that the text of a NAME.ovl requires."""
    pairs = (line.partition("=") for line in lines(text))
    return tuple(value.strip() for key, _, value in pairs if key.strip() == "REQUIRES" and value.strip())


class Overlays:
    """The overlays a source knows, whether all their packages are installed or not."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def packages(self, name: str) -> tuple[str, ...] | None:
        """Return the packages of an overlay, of those it requires and of ``base``; None if it is unknown.

        Tribblix leaves out a required overlay that is unknown; here it is one more package that no source
        has, ``overlay NAME``.
        """
        if not self._known(name):
            return None
        known, unknown = set[str](), set[str]()
        todo = [name, BASE] if self._known(BASE) else [name]
        while todo:
            one = todo.pop()
            if not self._known(one):
                unknown.add(f"overlay {one}")
            elif one not in known:
                known.add(one)
                todo += required(self._text(f"{one}.ovl"))
        packages = {package for one in known for package in lines(self._text(f"{one}.pkgs"))}
        return tuple(sorted(packages | unknown))

    def _known(self, name: str) -> bool:
        return "/" not in name and self._tree.resolve(OVERLAYS / f"{name}.ovl").node is not None

    def _text(self, name: str) -> str:
        """Return the text of a file; an overlay of overlays has no packages of its own."""
        path = OVERLAYS / name
        if self._tree.resolve(path).node is None:
            return ""
        return self._tree.read(path, _LIMIT).decode("utf-8", "surrogateescape")
