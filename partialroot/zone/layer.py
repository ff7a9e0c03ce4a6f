"""Writes one layer, an image or a zone's private files, into an empty directory of ours."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from pathlib import Path

from partialroot.errors import ApplyError
from partialroot.host import local
from partialroot.model import Action, Entry, Layer, Method, Plan, Record
from partialroot.nodes import Content, FileType
from partialroot.paths import RootPath, host_path
from partialroot.source import halves
from partialroot.zone import fs
from partialroot.zone.dirs import Dirs
from partialroot.zone.measured import check_unchanged, is_as_wanted, link_record, lost_sentence, record
from partialroot.zone.originals import Originals
from partialroot.zone.removal import remove

NO_CONTENT = Content("")
MOUNT_POINT_MODE = 0o755
COPIES = ".partialroot-copies"
"""Where copies are made that are then moved to their places; gone when the layer is built."""
_MANY_LINKS = 2000  # for fewer, to begin a second process takes longer than it saves

_private: dict[int, tuple[tuple[RootPath, ...], tuple[Action, ...], tuple[Action, ...]]] = {}


def private_actions(plan: Plan) -> tuple[Action, ...]:
    """Return the actions of a zone's own root, sorted, with the directories that an image is mounted on."""
    known = _private.get(id(plan.private))  # found out once for all zones of a plan
    if known is None or known[0] != plan.tops:  # what is kept there stays, and so does its id
        known = _private[id(plan.private)] = (plan.tops, plan.private, _sorted(plan))
    return known[2]


def _sorted(plan: Plan) -> tuple[Action, ...]:
    points = [Entry(top, FileType.DIR, MOUNT_POINT_MODE, 0, 0, Layer.PRIVATE, ()) for top in plan.tops]
    mounts = [Action(entry, Method.MOUNT, "a mount point") for entry in points]
    return tuple(sorted((*plan.private, *mounts), key=lambda action: action.entry.path))


class LayerBuilder:
    """Carries out the actions of one layer below the open directory ``top``.

    ``plan`` says where files come from, and ``where`` is the directory on the host that ``top`` is;
    ``lost_owners`` are those that cannot be given to a file here. Copies are made of the ``originals`` as far
    as they are known. After :meth:`build`, ``records`` holds what was measured and ``lost`` a sentence for
    each xattr that could not be kept.
    """

    def __init__(
        self,
        top: int,
        plan: Plan,
        where: Path,
        lost_owners: frozenset[tuple[int, int]],
        originals: Originals | None = None,
    ) -> None:
        self.records: list[Record] = []
        self.lost: list[str] = []
        self._dirs = Dirs(top)
        self._source, self._views = plan.source, plan.views
        self._where = where
        self._lost_owners = lost_owners
        self._originals = originals
        self._directories: list[Action] = []
        self._copies: Counter[str] = Counter()
        self._poor: frozenset[str] = frozenset()
        self._makers: dict[Method, Callable[[Action, int, str], Record | None]] = {
            Method.LINK: self._link_twin,
            Method.CLONE: self._clone,
            Method.COPY: self._copy,
            Method.WRITE: self._write,
            Method.SYMLINK: self._symlink,
            Method.MKDIR: self._mkdir,
            Method.MOUNT: self._mkdir,
        }

    def build(self, actions: Iterable[Action]) -> None:
        """Do all ``actions`` (parents first); ApplyError names the first that fails.

        Directories get their metadata last, the deepest first: entries coming and going change it.
        """
        links, others = _parted(actions)
        with self._dirs:
            self._copy_at_once(others)
            for action in others:
                self._do(action, self._makers[action.method])
            self._link_all(links)
            for action in reversed(self._directories):
                self._do(action, self._finish_directory)
        if self._copies:
            remove(self._dirs.top, COPIES)

    def _do(self, action: Action, maker: Callable[[Action, int, str], Record | None]) -> None:
        path = action.entry.path
        parent, _, name = path.rpartition("/")
        try:
            record = maker(action, self._dirs.fd(parent), name)
        except OSError as error:
            raise self._failure(error, action) from error
        if record is not None:
            self.records.append(record)

    def _failure(self, error: OSError, action: Action) -> ApplyError:
        """Return what to tell: a source file that is gone, or what failed where it was to be."""
        source = action.entry.source
        if source and isinstance(error, FileNotFoundError) and error.filename == self._host(source):
            return ApplyError("vanished from the source meanwhile", path=source, hint="try again")
        return fs.failed(error, f"{self._where}{action.entry.path}")

    def _host(self, source: str) -> str:
        return host_path(self._source, self._views, source)

    # --- links to the source --------------------------------------------------------------------

    def _link_all(self, links: Sequence[Action]) -> None:
        """Make all links to files of the source, with a second process where there are many.

        The kernel works on one directory for one process at a time: each is given whole to one of them.
        """
        groups = [list(group) for _, group in groupby(links, _directory)]
        if len(links) > _MANY_LINKS and halves.is_useful():
            with halves.meanwhile(self._link_groups, groups) as linked:
                self.records += map(link_record, links)
                linked()
        else:
            self._link_groups(groups)
            self.records += map(link_record, links)

    def _link_groups(self, groups: Sequence[Sequence[Action]]) -> list[None]:
        for group in groups:
            self._link_group(group)
        return [None] * len(groups)

    def _link_group(self, group: Sequence[Action]) -> None:
        """Link files into their directory, and see that each link is to what was measured."""
        action = group[0]
        try:
            at = self._dirs.fd(_directory(action))
            for action in group:
                entry = action.entry
                name = entry.path.name
                try:  # noqa: SIM105 - suppress() takes its time where there are thousands
                    fs.link(self._host(str(entry.source)), at, name)
                except FileExistsError:  # made by a second process that failed later
                    pass
                check_unchanged(os.stat(name, dir_fd=at, follow_symlinks=False), entry)
        except OSError as error:
            raise self._failure(error, action) from error

    # --- one other method each ------------------------------------------------------------------

    def _link_twin(self, action: Action, at: int, name: str) -> Record:
        fs.link(str(action.twin)[1:], at, name, self._dirs.top)
        found = os.stat(name, dir_fd=at, follow_symlinks=False)
        return record(action, found, (action.content or NO_CONTENT).xattrs)

    def _clone(self, action: Action, at: int, name: str) -> Record:
        return self._from_source(action, at, name, lambda source, fd: fs.clone(source, fd, name))

    def _copy(self, action: Action, at: int, name: str) -> Record:
        size = action.entry.size
        if self._copies:
            return self._take_copy(action, at, name)
        if self._originals:
            source = self._host(str(action.entry.source))
            data = self._originals.content(source, action.entry)
            if data is not None:
                return self._new_file(action, at, name, lambda fd: fs.write(fd, data, name))
        return self._from_source(action, at, name, lambda source, fd: fs.copy(source, fd, size, name))

    def _copy_at_once(self, actions: Iterable[Action]) -> None:
        """Where one copy after the other would lose what Python cannot set, make all copies beforehand.

        Each source's copies are taken from a directory of their own: the first, the second, and so on.
        """
        copy = local.copy_at_once()
        sources = [self._host(str(one.entry.source)) for one in actions if one.method is Method.COPY]
        if copy is None or not sources:
            return
        fs.make_own_directory(self._dirs.top, COPIES)
        at = self._dirs.fd(f"/{COPIES}")
        place = _path_of(at)
        self._copies = Counter(sources)
        for number in range(1, max(self._copies.values()) + 1):
            fs.make_own_directory(at, str(number))
            some = [path for path, count in self._copies.items() if count >= number]
            self._poor |= copy(some, f"{place}/{number}")

    def _take_copy(self, action: Action, at: int, name: str) -> Record:
        """Move a copy to its place, and give it what it has not yet; return what it then really has."""
        entry, source = action.entry, self._host(str(action.entry.source))
        check_unchanged(os.lstat(source), entry)
        directory = f"/{COPIES}/{self._copies[source]}{os.path.dirname(source)}"
        self._copies[source] -= 1
        fs.rename(self._dirs.fd(directory.rstrip("/")), os.path.basename(source), at, name)
        fd = os.open(name, fs.SOURCE, dir_fd=at)
        try:
            # root may give all owners
            fs.mend_meta(fd, entry.mode, entry.uid, entry.gid, entry.mtime_ns, name)
            found = os.fstat(fd)
            if source in self._poor:
                self.lost.append(lost_sentence(entry.path, "ACL or extended attributes"))
            if found.st_size != entry.size:
                raise ApplyError(
                    "changed in the source while it was read", path=entry.source, hint="try again"
                )
            return record(action, found, (action.content or NO_CONTENT).xattrs)
        finally:
            os.close(fd)

    def _from_source(self, action: Action, at: int, name: str, fill: Callable[[int, int], None]) -> Record:
        source = os.open(self._host(str(action.entry.source)), fs.SOURCE)
        try:
            check_unchanged(os.fstat(source), action.entry)
            record = self._new_file(action, at, name, lambda fd: fill(source, fd))
            check_unchanged(os.fstat(source), action.entry)
        finally:
            os.close(source)
        return record

    def _write(self, action: Action, at: int, name: str) -> Record:
        data = action.entry.text or b""
        return self._new_file(action, at, name, lambda fd: fs.write(fd, data, name))

    def _new_file(self, action: Action, at: int, name: str, fill: Callable[[int], None]) -> Record:
        fd = fs.create(at, name, action.entry.mode & 0o777)
        try:
            fill(fd)
            return self._measured(action, fd, name)
        finally:
            os.close(fd)

    def _symlink(self, action: Action, at: int, name: str) -> Record:
        entry = action.entry
        fs.symlink(entry.target or "", at, name)
        fs.set_link_meta(at, name, self._meta(action))
        return record(action, os.stat(name, dir_fd=at, follow_symlinks=False), ())

    def _mkdir(self, action: Action, at: int, name: str) -> None:
        if name:  # the root itself is there
            fs.make_directory(at, name, (action.entry.mode | 0o700) & 0o777)
        self._directories.append(action)

    def _finish_directory(self, action: Action, at: int, name: str) -> Record:
        if name and action.entry.mtime_ns:
            fs.set_link_meta(at, name, fs.Meta(0, None, action.entry.mtime_ns))
        found = os.stat(name or ".", dir_fd=at, follow_symlinks=False)
        if is_as_wanted(action, found):
            return record(action, found, ())
        fd = os.open(name or ".", fs.DIRECTORY, dir_fd=at)
        try:
            return self._measured(action, fd, name)
        finally:
            os.close(fd)

    # --- metadata -------------------------------------------------------------------------------

    def _meta(self, action: Action) -> fs.Meta:
        entry = action.entry
        owner = (entry.uid, entry.gid)
        return fs.Meta(
            entry.mode,
            None if owner in self._lost_owners else owner,
            entry.mtime_ns or None,
            (action.content or NO_CONTENT).xattrs,
        )

    def _measured(self, action: Action, fd: int, name: str) -> Record:
        """Give the new inode its metadata, as far as it has not got that; return what it then really has."""
        found = os.fstat(fd)
        if is_as_wanted(action, found):
            return record(action, found, ())
        meta = self._meta(action)
        lost = fs.set_meta(fd, meta, name)
        path = action.entry.path
        self.lost += [lost_sentence(path, key) for key in lost]
        kept = tuple(pair for pair in meta.xattrs if pair[0] not in lost)
        return record(action, os.fstat(fd), kept)


def _path_of(directory: int) -> str:
    """Return where an open directory is now: what is built is built beside its place.

    The working directory is another for a moment: nothing of ours is found by it.
    """
    before = os.open(".", fs.DIRECTORY)
    try:
        os.fchdir(directory)
        return os.getcwd()
    finally:
        os.fchdir(before)
        os.close(before)


def _parted(actions: Iterable[Action]) -> tuple[list[Action], list[Action]]:
    """Return the links to files of the source, and all others."""
    links: list[Action] = []
    others: list[Action] = []
    for action in actions:
        is_link = action.method is Method.LINK and action.twin is None
        (links if is_link else others).append(action)
    return links, others


def _directory(action: Action) -> str:
    """Return the key in :class:`Dirs` of the directory that an action makes something in."""
    return action.entry.path.rpartition("/")[0]
