"""Going back to what a zone was before its last change, as one transaction that can be undone likewise."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from partialroot.errors import ConflictError
from partialroot.model import Action, Entry, Layer, Method, Plan, Receipt, Record
from partialroot.nodes import Content, FileType, Node
from partialroot.zone import fs, look, previous
from partialroot.zone.change import Change
from partialroot.zone.converge import Decision, decide
from partialroot.zone.difference import between
from partialroot.zone.image import Image, is_intact, use_image
from partialroot.zone.previous import Previous
from partialroot.zone.site import CONFIG, Site


class Rollback(Change):
    """What makes a zone what it was: like any change, with the files that were kept as its source.

    A private file that the last change left alone stays as it is now. Raises ConflictError when the image of
    then is damaged.
    """

    verb = "rollback"

    def __init__(self, before: Previous, site: Site, old: Receipt) -> None:
        made = before.receipt
        if made.image is not None and not is_intact(Path(made.image)):
            raise ConflictError(
                "the image it had before is gone, or not as it was built",
                path=made.image,
                hint="partialroot refresh brings the zone to what the source is now",
            )
        self._made = {record.path: record for record in made.entries}
        self._back = {action.entry.path: action for action in _actions(made.entries, before.files)}
        self._had = {record.path: record for record in old.entries}
        self._reasons = made.reasons or ""
        config = before.config if before.config is not None else _config_now(site)
        super().__init__(_plan(before, tuple(self._back.values())), site, made.request, config, old)
        self._private = between(self._moving(), (self._made[path] for path in self._back))

    def _moving(self) -> tuple[Record, ...]:
        """Return what the zone has, but for what stays: there is no other content to put in its place."""
        return tuple(
            one for one in self._had.values() if one.path in self._back or one.path not in self._made
        )

    def _decide(self, root: int) -> Decision:
        old = self._old._replace(entries=self._moving())
        return decide(self._plan, old, root, self._site.lost_owners)

    @property
    def is_new(self) -> bool:
        """A rollback can always be undone."""
        return True

    def _ensure_image(self) -> Image | None:
        before = self.image
        return use_image(self._site.store, Path(before), self._reasons) if before else None

    def _records(self, built: Iterable[Record]) -> list[Record]:
        """Return what was recorded of then, with what was measured of what came back."""
        moved = [self._as_made(record) for record in super()._records(built)]
        return [*moved, *(self._stayed(one) for one in self._made.values() if one.path not in self._back)]

    def _as_made(self, record: Record) -> Record:
        made = self._made.get(record.path)
        if made is None:  # a mount point, which is in no receipt
            return record
        method = record.method if made.method is Method.LINK else made.method  # what came back is a copy
        return record._replace(
            method=method,
            source=made.source,
            identity=made.identity,
            reasons=made.reasons,
            supplier=made.supplier,
        )

    def _stayed(self, made: Record) -> Record:
        now = self._had.get(made.path)
        is_same = now and (now.type, now.sha256, now.target) == (made.type, made.sha256, made.target)
        return self._as_made(now) if now and is_same else made


def kept(site: Site) -> Previous:
    """Return what a zone was before its last change; ConflictError if that is not known."""
    found = previous.read(site.store, site.zonepath)
    if found is None:
        raise ConflictError(
            "it was never changed: there is nothing to go back to",
            path=str(site.zonepath),
            hint="only what a refresh or populate has changed can come back",
        )
    return found


def _config_now(site: Site) -> bytes | None:
    zone = fs.open_directory(site.zonepath)
    try:
        return fs.read(zone, CONFIG)
    finally:
        os.close(zone)


def _plan(before: Previous, actions: tuple[Action, ...]) -> Plan:
    """Return a receipt as a plan whose source is what was kept."""
    made = before.receipt
    return Plan(
        profiles=made.profiles,
        source=before.files,
        platform=made.request.platform,
        shared=(),
        private=actions,
        digest=made.digest,
        image_home=Path(made.image).parent if made.image else before.files,
        tops=made.mounts,
        missing=(),
        warnings=made.warnings,
        settings=made.settings,
        definitions=made.definitions,
    )


def _actions(records: Iterable[Record], files: Path) -> Iterator[Action]:
    """Yield what brings entries back: files as far as they were kept, all else as recorded."""
    methods = {FileType.DIR: Method.MKDIR, FileType.SYMLINK: Method.SYMLINK}
    for record in records:
        if record.type in methods:
            yield Action(_entry(record, None), methods[record.type], "as it was before")
        elif node := _kept(files, record):
            content = Content(record.sha256 or "", record.xattrs)
            yield Action(_entry(record, node), Method.COPY, "as it was before", content)


def _kept(files: Path, record: Record) -> Node | None:
    """Return what was kept of a file, if that is what was recorded: the zone may have written another."""
    try:
        fd = os.open(f"{files}{record.path}", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        node = Node.of(os.fstat(fd))
        return node if look.sha256(fd, node.size) == record.sha256 else None
    finally:
        os.close(fd)


def _entry(record: Record, node: Node | None) -> Entry:
    return Entry(
        path=record.path,
        type=record.type,
        mode=record.mode,
        uid=record.uid,
        gid=record.gid,
        layer=Layer.PRIVATE,
        reasons=record.reasons,
        size=record.size,
        mtime_ns=record.mtime_ns,
        target=record.target,
        source=record.path if node else None,
        node=node,
    )
