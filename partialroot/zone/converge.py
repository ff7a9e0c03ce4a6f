"""Decides how an existing root becomes what a new plan says, without touching it.

What the tenant edited is kept, and the new one put beside as ``NAME.new``. What is as we wrote it is
replaced or removed; a directory goes only when nothing but ours was in it. The root is hostile: it is read
by descriptors, component by component, and no process of the zone lives while it is changed.
"""

import errno
import os

from partialroot.errors import ConflictError
from partialroot.model import Action, Entry, Method, Plan, Receipt, Record
from partialroot.nodes import FileType, Node
from partialroot.paths import ROOT, RootPath
from partialroot.zone import fs, look
from partialroot.zone.dirs import Dirs
from partialroot.zone.journal import Stamp, Step, Touched
from partialroot.zone.layer import private_actions
from partialroot.zone.measured import identity_of, lost_sentence

LEAF_TYPES = (FileType.FILE, FileType.SYMLINK)


class Decision:
    """What is to be done in the root.

    ``staged`` is built below ``.partialroot-new`` and moved by ``steps``. ``kept`` are the records of what
    stays; ``beside`` the ``NAME.new`` that no receipt records; ``edited`` says of each file that the tenant
    edited where the new one is, None if nowhere; ``notes`` is what the user should know.
    """

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.touched: dict[RootPath, Touched] = {}
        self.staged: list[Action] = []
        self.kept: list[Record] = []
        self.beside: set[RootPath] = set()
        self.edited: dict[RootPath, RootPath | None] = {}
        self.notes: list[str] = []

    @property
    def is_nothing(self) -> bool:
        """Whether the root is as the plan wants it."""
        return not self.steps and all(one.before == one.after for one in self.touched.values())


def decide(plan: Plan, old: Receipt, root: int, lost_owners: frozenset[tuple[int, int]]) -> Decision:
    """Return what makes the open ``root``, made by ``old``, what ``plan`` says.

    Raises ConflictError when the tenant has something in the way that cannot be kept beside.
    """
    with Dirs(root) as dirs:
        return _Deciding(plan, old, dirs, lost_owners).run()


def place(path: RootPath) -> str:
    """Return a path of the root as one below the zonepath."""
    return "root" if path == ROOT else f"root{path}"


def inside(place: str) -> RootPath:
    """Return the path of the root that :func:`place` made this of."""
    return RootPath(place.removeprefix("root") or "/")


class _Deciding:
    def __init__(self, plan: Plan, old: Receipt, dirs: Dirs, lost_owners: frozenset[tuple[int, int]]) -> None:
        self._wanted = {action.entry.path: action for action in private_actions(plan)}
        self._had = {record.path: record for record in old.entries}
        self._mounts = frozenset(old.mounts)
        self._dirs = dirs
        self._lost_owners = lost_owners
        self._lost = frozenset(old.warnings)
        self._fresh: set[RootPath] = set()
        self._decision = Decision()
        self._removable: set[RootPath] = set()

    def run(self) -> Decision:
        self._find_removable()
        for path in sorted(self._wanted):
            self._want(self._wanted[path])
        for path in sorted(self._removable - self._wanted.keys()):
            if self._removable.isdisjoint(path.ancestors):
                self._step(path, hold=True, put=False)
        return self._decision

    # --- what is wanted -------------------------------------------------------------------------

    def _want(self, action: Action) -> None:
        entry = action.entry
        if not self._fresh.isdisjoint(entry.path.ancestors):
            self._decision.staged.append(action)
            return
        disk = self._look(entry.path)
        if disk is None:
            self._put(action, hold=False)
        elif entry.type is FileType.DIR:
            self._want_directory(action, disk)
        else:
            self._want_leaf(action, disk)

    def _want_directory(self, action: Action, disk: Node) -> None:
        path = action.entry.path
        had = self._had.get(path)
        if disk.type is FileType.DIR:
            self._keep_directory(action, disk)
        elif had is not None and self._is_unedited(had, disk):
            self._put(action, hold=True)
        else:
            raise _in_the_way(path, "a directory", disk)

    def _keep_directory(self, action: Action, disk: Node) -> None:
        path, had = action.entry.path, self._had.get(action.entry.path)
        if action.method is Method.MOUNT and path in self._mounts:
            return  # something is mounted there now: what we see is not the root's own
        mode, uid, gid = self._expected(action.entry, disk)
        if (mode, uid, gid) != (disk.mode, disk.uid, disk.gid):
            before = Stamp(disk.mode, disk.uid, disk.gid, disk.mtime_ns)
            after = Stamp(mode, uid, gid, disk.mtime_ns)
            self._decision.touched[path] = Touched(place(path), before, after)
        if action.method is Method.MOUNT:
            return
        record = had if had is not None and had.type is FileType.DIR else _recorded(action, disk)
        self._keep(action, record._replace(mode=mode, uid=uid, gid=gid))

    def _want_leaf(self, action: Action, disk: Node) -> None:
        path = action.entry.path
        had = self._had.get(path)
        if disk.type is FileType.DIR:
            if path not in self._removable:
                raise _in_the_way(path, f"a {action.entry.type}", disk)
            self._put(action, hold=True)
        elif had is not None and self._is_unedited(had, disk):
            self._renew(action, had, disk)
        elif self._has_content(action, disk):
            self._adopt(action, disk)
        else:
            self._keep_edited(action, had, disk)

    def _renew(self, action: Action, had: Record, disk: Node) -> None:
        """Replace what is as we wrote it, unless that is what is wanted."""
        is_same = (
            _content(action) == (had.type, had.sha256, had.target)
            and self._has_owner_and_mode(action, disk)
            and self._has_xattrs(action, had)
        )
        if is_same:
            self._keep(action, had)
        else:
            self._put(action, hold=True)

    def _adopt(self, action: Action, disk: Node) -> None:
        """Take over a tenant's file that is what we would write."""
        if self._has_owner_and_mode(action, disk):
            self._decision.kept.append(_recorded(action, disk))
        else:
            self._put(action, hold=True)

    def _keep_edited(self, action: Action, had: Record | None, disk: Node) -> None:
        """Leave the tenant's file; put ours beside, unless it is the one the tenant had edited."""
        if had is not None and _content(action) == (had.type, had.sha256, had.target):
            self._keep(action, had)
            return
        record = _recorded(action, disk._replace(size=action.entry.size, mtime_ns=0))
        self._decision.kept.append(record)
        self._put_beside(action)

    def _put_beside(self, action: Action) -> None:
        path = RootPath(f"{action.entry.path}.new")
        disk = None if path in self._wanted else self._look(path)
        if path in self._wanted or (disk is not None and disk.type not in LEAF_TYPES):
            self._decision.notes.append(f"{action.entry.path}: edited in the zone and kept as it is")
            self._decision.edited[action.entry.path] = None
            return
        self._decision.notes.append(f"{action.entry.path}: edited in the zone and kept; see {path}")
        self._decision.edited[action.entry.path] = path
        moved = _alone(action._replace(entry=action.entry._replace(path=path)))
        if disk is None or not self._has_content(moved, disk):
            self._decision.beside.add(path)
            self._put(moved, hold=disk is not None)

    # --- what is not wanted any more ------------------------------------------------------------

    def _find_removable(self) -> None:
        """Find what may go: unedited files, and directories with nothing else in them, the deepest first."""
        gone = {path: record for path, record in self._had.items() if not self._is_wanted_as(record)}
        tops: dict[RootPath, None] = dict.fromkeys(self._mounts - self._wanted.keys())
        for path, record in sorted({**tops, **gone}.items(), reverse=True):
            disk = self._look(path)
            if disk is None:
                continue
            if self._is_ours(path, record, disk):
                self._removable.add(path)
            elif disk.type is not FileType.DIR:
                self._decision.edited[path] = None
                self._decision.notes.append(
                    f"{path}: edited in the zone and kept, though not wanted any more"
                )

    def _is_wanted_as(self, record: Record) -> bool:
        """Whether a path stays; a directory that becomes a file goes first."""
        action = self._wanted.get(record.path)
        if action is None:
            return False
        return not (record.type is FileType.DIR and action.entry.type is not FileType.DIR)

    def _is_ours(self, path: RootPath, record: Record | None, disk: Node) -> bool:
        if disk.type is FileType.DIR:
            names = os.listdir(self._dirs.fd(path))
            is_directory = record is None or record.type is FileType.DIR
            return is_directory and all(path / name in self._removable for name in names)
        return record is not None and self._is_unedited(record, disk)

    # --- looking --------------------------------------------------------------------------------

    def _look(self, path: RootPath) -> Node | None:
        """Return what is at ``path``, None when nothing is or the way there is not plain directories."""
        parent, _, name = path.rpartition("/")
        try:
            at = self._dirs.fd(parent)
            found = os.stat(name or ".", dir_fd=at, follow_symlinks=False)
            node = Node.of(found)
            is_link = node.type is FileType.SYMLINK
            return node._replace(target=os.readlink(name, dir_fd=at)) if is_link else node
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
            return None

    def _is_unedited(self, record: Record, disk: Node) -> bool:
        """Whether the content is what we wrote: by size and time, else by its checksum."""
        if disk.type is not record.type or disk.target != record.target:
            return False
        if disk.type is not FileType.FILE:
            return disk.type is FileType.SYMLINK
        if disk.size != record.size:
            return False
        return disk.mtime_ns == record.mtime_ns or self._sum(record.path, disk) == record.sha256

    def _has_content(self, action: Action, disk: Node) -> bool:
        kind, sha256, target = _content(action)
        if disk.type is not kind or disk.target != target:
            return False
        if kind is not FileType.FILE:
            return True
        return disk.size == action.entry.size and self._sum(action.entry.path, disk) == sha256

    def _sum(self, path: RootPath, disk: Node) -> str:
        parent, _, name = path.rpartition("/")
        fd = look.open_file(self._dirs.fd(parent), name, disk)
        try:
            return look.sha256(fd, disk.size)
        finally:
            os.close(fd)

    def _expected(self, entry: Entry, disk: Node) -> tuple[int, int, int]:
        """Return the mode and owner that ``entry`` should have here."""
        if (entry.uid, entry.gid) in self._lost_owners:
            return entry.mode & fs.WITHOUT_OWNER, disk.uid, disk.gid
        return entry.mode, entry.uid, entry.gid

    def _has_owner_and_mode(self, action: Action, disk: Node) -> bool:
        mode, *owner = self._expected(action.entry, disk)
        is_link = disk.type is FileType.SYMLINK  # its mode means nothing
        return [disk.uid, disk.gid] == owner and (is_link or disk.mode == mode)

    def _has_xattrs(self, action: Action, had: Record) -> bool:
        """Whether the xattrs are those wanted; one that could not be kept then cannot be now."""
        wanted = action.content.xattrs if action.content else ()
        possible = [pair for pair in wanted if lost_sentence(had.path, pair[0]) not in self._lost]
        return sorted(possible) == sorted(had.xattrs)

    # --- writing it down ------------------------------------------------------------------------

    def _keep(self, action: Action, had: Record) -> None:
        entry = action.entry
        self._decision.kept.append(
            had._replace(
                source=entry.source,
                identity=identity_of(entry.node),
                reasons=entry.reasons,
                supplier=action.supplier,
            )
        )

    def _put(self, action: Action, hold: bool) -> None:
        path = action.entry.path
        staged = action
        if action.twin is not None and action.twin not in (one.entry.path for one in self._decision.staged):
            staged = _alone(action)
        self._decision.staged.append(staged)
        if action.entry.type is FileType.DIR:
            self._fresh.add(path)
        self._step(path, hold=hold, put=True)

    def _step(self, path: RootPath, *, hold: bool, put: bool) -> None:
        self._decision.steps.append(Step(place(path), hold, put))
        if path.parent not in self._decision.touched:
            found = Node.of(os.fstat(self._dirs.fd(path.parent)))
            stamp = Stamp(found.mode, found.uid, found.gid, found.mtime_ns)
            self._decision.touched[path.parent] = Touched(place(path.parent), stamp, stamp)


def _content(action: Action) -> tuple[FileType, str | None, str | None]:
    sha256 = action.content.sha256 if action.content and action.entry.type is FileType.FILE else None
    return action.entry.type, sha256, action.entry.target


def _alone(action: Action) -> Action:
    """Return the action without its twin, which stays where it is: a copy of its own."""
    return action if action.twin is None else action._replace(method=Method.COPY, twin=None)


def _recorded(action: Action, disk: Node) -> Record:
    """Return the record of what is on disk already, as ``action`` wants it."""
    entry = action.entry
    kind, sha256, target = _content(action)
    return Record(
        entry.path,
        kind,
        disk.mode,
        disk.uid,
        disk.gid,
        disk.size,
        disk.mtime_ns,
        target,
        sha256,
        action.content.xattrs if action.content else (),
        action.method,
        entry.source,
        identity_of(entry.node),
        entry.reasons,
        action.supplier,
    )


def _in_the_way(path: RootPath, wanted: str, disk: Node) -> ConflictError:
    return ConflictError(
        f"the zone has a {disk.type} where {wanted} is to be", path=path, hint="move it away, then try again"
    )
