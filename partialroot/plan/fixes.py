"""What fix scripts did to a stage, as a change of the selection: two listings in, a selection out.

In the stage private files are copies, and shared ones empty placeholders: a script may remove and rename
these, but what it would write into one would be the source's own file, in every zone that shares it.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from partialroot.errors import ConflictError
from partialroot.model import Entry, Layer, Selection
from partialroot.nodes import FileType, Reason
from partialroot.paths import RootPath
from partialroot.plan.policy import layer_of

EMPTY = hashlib.sha256().hexdigest()
_INSTALLABLE = (FileType.FILE, FileType.DIR, FileType.SYMLINK)


class Staged(NamedTuple):
    """One path of the stage. ``inode`` is never used twice, ``sha256`` is that of a regular file."""

    type: FileType
    mode: int
    uid: int
    gid: int
    inode: int
    mtime_ns: int = 0
    target: str | None = None
    sha256: str | None = None


Listing = Mapping[RootPath, Staged]


def with_fixes(
    selection: Selection,
    before: Listing,
    after: Listing,
    read: Callable[[RootPath], bytes],
    scripts: Iterable[str],
) -> Selection:
    """Return the selection as the ``scripts`` left it in the stage.

    ``read`` returns the content of a file of the stage as it is now. Raises ConflictError when a script
    wrote a shared file, or changed its attributes.
    """
    return _Fixes(selection, before, after, read, Reason("fix script", ", ".join(scripts))).result()


class _Fixes:
    def __init__(
        self,
        selection: Selection,
        before: Listing,
        after: Listing,
        read: Callable[[RootPath], bytes],
        reason: Reason,
    ) -> None:
        self._selection = selection
        self._before = before
        self._after = after
        self._read = read
        self._reason = reason
        self._entries = {entry.path: entry for entry in selection.entries}
        self._origins = {staged.inode: path for path, staged in before.items()}
        self._warnings: list[str] = []

    def result(self) -> Selection:
        fixed = (self._fixed(path, staged) for path, staged in sorted(self._after.items()))
        entries = tuple(entry for entry in fixed if entry is not None)
        warnings = (*self._selection.warnings, *self._warnings)
        return self._selection._replace(entries=entries, warnings=warnings)

    def _fixed(self, path: RootPath, now: Staged) -> Entry | None:
        """Return the entry of what is in the stage at ``path`` now, None for what cannot be installed."""
        if now.type not in _INSTALLABLE:
            self._warnings.append(f"{path}: a {now.type} is not installed ({self._reason.origin})")
            return None
        origin = self._origins.get(now.inode)
        if origin is None or self._before[origin].type is not now.type:
            return self._new(path, now)
        was, entry = self._before[origin], self._entries[origin]
        if now.type is FileType.FILE:
            if self._is_shared(origin):
                self._refuse_written(origin, was, now)
            elif now.sha256 != was.sha256:
                return self._with_attributes(self._new(path, now), entry, was, now)
        if origin == path and now[:4] == was[:4] and now.target == was.target:
            return entry
        moved = entry._replace(path=path, layer=self._layer(path), target=now.target)
        return self._with_attributes(moved, entry, was, now)

    def _with_attributes(self, entry: Entry, old: Entry, was: Staged, now: Staged) -> Entry:
        """Give an entry the attributes of ``old`` but for those that a script has changed."""
        return entry._replace(
            mode=now.mode if now.mode != was.mode else old.mode,
            uid=now.uid if now.uid != was.uid else old.uid,
            gid=now.gid if now.gid != was.gid else old.gid,
            reasons=(self._reason, *old.reasons),
        )

    def _new(self, path: RootPath, now: Staged) -> Entry:
        """Return the entry of what a script made."""
        text = self._read(path) if now.type is FileType.FILE else None
        if text == b"" and self._layer(path) is Layer.SHARED:
            if self._is_placeholder(path):
                raise self._written(path)
            self._warnings.append(
                f"{path} is empty: {self._reason.origin} made it, and what it may have copied it from was"
                " empty, too"
            )
        return Entry(
            path=path,
            type=now.type,
            mode=now.mode,
            uid=now.uid,
            gid=now.gid,
            layer=self._layer(path),
            reasons=(self._reason,),
            size=len(text or b""),
            target=now.target,
            text=text,
        )

    def _refuse_written(self, path: RootPath, was: Staged, now: Staged) -> None:
        """Raise ConflictError if a placeholder is not as it was; where it is now makes no difference."""
        if (now.sha256, now.mtime_ns) != (EMPTY, was.mtime_ns):
            raise self._written(path)
        if now[:4] != was[:4]:
            raise ConflictError(
                f"{self._reason.origin} changes its mode or owner, and zones share this file",
                path=path,
                hint="add 'mode' and owner in the package, or take the line out of the script",
            )

    def _written(self, path: RootPath) -> ConflictError:
        return ConflictError(
            f"{self._reason.origin} writes it, and zones share this file: while fix scripts run it is empty",
            path=path,
            hint="take the line out of the script; it may remove the file and make another",
        )

    def _is_placeholder(self, path: RootPath) -> bool:
        return self._is_shared(path) and self._before[path].type is FileType.FILE

    def _is_shared(self, path: RootPath) -> bool:
        """Whether the stage had a placeholder of ``path``: what we write ourselves is there as it is."""
        entry = self._entries.get(path)
        return path in self._before and entry is not None and is_placeholder(entry)

    def _layer(self, path: RootPath) -> Layer:
        return layer_of(path, self._selection.tops)


def is_placeholder(entry: Entry) -> bool:
    """Return whether a file of the selection is only held a place in the stage."""
    return entry.layer is Layer.SHARED and entry.type is FileType.FILE and entry.text is None
