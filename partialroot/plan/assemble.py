"""From what was chosen and what is made to the entries of the new root, each in its layer."""

from collections.abc import Iterable

from partialroot.errors import ConflictError
from partialroot.model import Entry, Layer
from partialroot.nodes import FileType, Item, Node, Reason
from partialroot.paths import ROOT, RootPath
from partialroot.plan.draft import Draft
from partialroot.plan.entries import entry_of, with_content_of
from partialroot.plan.made import Made, canonical
from partialroot.plan.policy import layer_of, private_home


def assemble(
    draft: Draft,
    made: Iterable[Made],
    tops: tuple[RootPath, ...],
    private: Iterable[Item],
    always: Iterable[RootPath] = (),
) -> tuple[Entry, ...]:
    """Return the entries sorted by path, so that parents come before children; ``/`` itself is not one.

    ``always`` are directories that are there even if nothing is in them. Raises ConflictError when a path
    would have to be a directory and something else.
    """
    assembly = _Assembly(draft, tops)
    for path, node in draft.nodes.items():
        assembly.choose(path, node)
    for one in made:
        assembly.make(one)
    firsts: dict[str, RootPath] = {}
    for path in assembly.entries:
        firsts.setdefault(path.rpartition("/")[0], path)
    for path in firsts.values():  # what else is in their directories has the same parents
        assembly.add_parents(path)
    for item in private:
        assembly.make_private(canonical(draft, RootPath.parse(item.text)), Reason("private", item.where))
    for path in always:
        assembly.add_directory(path, Reason("mount point", "platform.xml"))
    assembly.entries.pop(ROOT, None)
    return tuple(assembly.entries[path] for path in sorted(assembly.entries, key=str))


class _Assembly:
    def __init__(self, draft: Draft, tops: tuple[RootPath, ...]) -> None:
        self.entries: dict[RootPath, Entry] = {}
        self._draft = draft
        self._tops = tops

    def choose(self, path: RootPath, node: Node) -> None:
        """Take what was chosen from the source: its mode and owner, and its content or a shipped one."""
        entry = entry_of(path, node, tuple(self._draft.reasons[path]), self._tops)
        shipped = self._draft.instead.get(path)
        content = self._draft.tree.lstat(shipped) if shipped is not None else None
        if shipped is not None and content is not None:
            entry = with_content_of(entry, shipped, content)
        self.entries[path] = entry

    def make(self, one: Made) -> None:
        """Take what we write ourselves; it wins over what was chosen."""
        self.entries[one.path] = Entry(
            path=one.path,
            type=one.type,
            mode=one.mode,
            uid=one.uid,
            gid=one.gid,
            layer=layer_of(one.path, self._tops),
            reasons=(one.reason,),
            size=len(one.text or b""),
            text=one.text,
        )

    def add_parents(self, path: RootPath) -> None:
        """Make every directory above an entry one too: the source's, or root's 0755."""
        below = path
        for parent in path.ancestors:
            known = self.entries.get(parent)
            if known is not None and known.type is FileType.DIR:
                return
            if known is not None:
                raise self._both(known, below)
            self.add_directory(parent, Reason("parent", below))
            below = parent

    def add_directory(self, path: RootPath, reason: Reason) -> None:
        """Take a directory that something needs: the source's, else root's 0755."""
        if path in self.entries:
            return
        node = self._draft.tree.lstat(path)
        if node is not None and node.type is FileType.DIR:
            self._draft.add(path, node, reason)
            self.choose(path, node)
        else:
            self.make(Made(path, 0o755, 0, 0, None, reason))

    def _both(self, entry: Entry, below: RootPath) -> ConflictError:
        return ConflictError(
            f"it cannot be both a {entry.type} and the directory of {below.name}",
            path=entry.path,
            hint=f"asked for by {entry.reasons[0].origin} and {self.entries[below].reasons[0].origin}",
        )

    def make_private(self, path: RootPath, reason: Reason) -> None:
        """Let the zone write ``path``: below a shared top it becomes a symlink to its private home."""
        if path not in self.entries:
            node = self._draft.tree.lstat(path)
            if node is None:
                self.make(Made(path, 0o755, 0, 0, None, reason))
            else:
                self._draft.add(path, node, reason)
                self.choose(path, node)
            self.add_parents(path)
        if layer_of(path, self._tops) is Layer.SHARED:
            self._move_home(path, reason)

    def _move_home(self, path: RootPath, reason: Reason) -> None:
        home = private_home(path)
        for old in [old for old in self.entries if old.is_below(path)]:
            moved = RootPath(home + old[len(path) :])
            self.entries[moved] = self.entries.pop(old)._replace(path=moved, layer=Layer.PRIVATE)
        self.entries[path] = Entry(path, FileType.SYMLINK, 0o777, 0, 0, Layer.SHARED, (reason,), target=home)
        self.add_parents(home)
