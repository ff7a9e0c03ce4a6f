"""The selection while it grows: canonical paths of the source, each with every reason it is there."""

from typing import TYPE_CHECKING

from partialroot.errors import Missing
from partialroot.nodes import FileType, Node, Reason
from partialroot.paths import RootPath
from partialroot.plan.policy import Excludes
from partialroot.source.tree import Resolved, Tree

if TYPE_CHECKING:
    from partialroot.source.packages import Packages

Verdict = tuple[str | None, bool]
"""Why a file is a secret, None if it is none, and whether it was edited."""

_INSTALLABLE = (FileType.FILE, FileType.DIR, FileType.SYMLINK)


class Draft:
    """What has been chosen from the source so far, and what was found missing or worth a warning.

    ``named`` holds the paths a profile wrote literally, ``by_package`` those a package brought and
    ``granted`` the secrets asked for: the rules on edited files and secrets tell them apart (P6).
    ``lenient`` holds what came in bulk: what such a file lacks is a warning, not an error. ``instead`` is
    where the content of a path comes from if not from itself: a copy of it as it was shipped. ``verdicts``
    are on files that were read ahead.
    """

    def __init__(self, tree: Tree, packages: "Packages", excludes: Excludes) -> None:
        self.tree = tree
        self.packages = packages
        self.excludes = excludes
        self.nodes: dict[RootPath, Node] = {}
        self.reasons: dict[RootPath, dict[Reason, None]] = {}
        self.named: set[RootPath] = set()
        self.by_package: set[RootPath] = set()
        self.missing: list[Missing] = []
        self.lenient: set[RootPath] = set()
        self.granted: set[RootPath] = set()
        self.instead: dict[RootPath, RootPath] = {}
        self.verdicts: dict[RootPath, Verdict] = {}
        self._excluded: dict[RootPath, bool] = {}
        self.warnings: list[str] = []

    def add(self, path: RootPath, node: Node, reason: Reason) -> None:
        """Choose a canonical path; a second reason is kept beside the first."""
        if node.type not in _INSTALLABLE:
            self.warnings.append(f"{path}: a {node.type} is not installed ({reason.origin})")
            return
        self.nodes.setdefault(path, node)
        self.reasons.setdefault(path, {})[reason] = None

    def add_resolved(self, path: RootPath, reason: Reason) -> Resolved:
        """Choose what ``path`` leads to, and the symlinks passed; its node is None if nothing is there."""
        found = self.tree.resolve(path)
        if found.node is not None:
            self.add(found.real, found.node, reason)
            self.add_links(found.links, found.real)
        return found

    def add_links(self, links: tuple[RootPath, ...], real: RootPath) -> None:
        """Choose the symlinks passed on the way to ``real``."""
        for link in links:
            node = self.tree.lstat(link)
            if node is not None:
                self.add(link, node, Reason("symlink", real))

    def add_below(self, top: RootPath, reason: Reason, reached: set[RootPath]) -> None:
        """Choose ``top`` and all below it that is not excluded, and put each path into ``reached``."""
        for path, node in self.tree.walk(top):
            if not self.is_excluded(path):
                self.add(path, node, reason)
                reached.add(path)

    def miss(self, name: str, needed_by: str, severity: str = "error") -> None:
        """Remember that ``name`` is not in the source."""
        self.missing.append(Missing(name, needed_by, severity, self.packages.supplier(name)))

    def text(self, path: RootPath) -> str:
        """Return the text of the source's file at ``path``; "" if there is none."""
        node = self.tree.resolve(path).node
        if node is None or node.type is not FileType.FILE:
            return ""
        return self.tree.read(path).decode("utf-8", "surrogateescape")

    def shipped(self, path: RootPath) -> RootPath:
        """Return where the source has a packaged file as it was shipped; else ``path`` itself."""
        return self.packages.pristine_copy(path) or path

    def drop(self, path: RootPath, warning: str) -> None:
        """Leave out what had been chosen, and say why."""
        del self.nodes[path], self.reasons[path]
        self.warnings.append(warning)

    def is_excluded(self, path: RootPath) -> bool:
        """Whether a profile leaves ``path`` out, or only a global zone may have it."""
        known = self._excluded.get(path)
        if known is None:
            known = self.excludes.why(path) is not None or self.packages.global_only(path)
            self._excluded[path] = known
        return known
