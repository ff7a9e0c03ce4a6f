"""Carries out an intent so that the zonepath ends exactly as before or exactly as after.

Everything new is built below ``.partialroot-new`` and moved into place; everything that goes is moved to
``.partialroot-old`` first. The work is committed by one rename, of the receipt. Until then all of it can
be moved back; from then on what was held is deleted. Both are read off the disk alone, and may
themselves be stopped at any point and begun again.
"""

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain, takewhile
from pathlib import Path

from partialroot.errors import BusyError, PartialRootError
from partialroot.paths import RootPath
from partialroot.zone import durable, fs, image, journal, previous, settled
from partialroot.zone.binds import Mounter
from partialroot.zone.dirs import Dirs, opened
from partialroot.zone.journal import Intent, Stamp, Step, Touched
from partialroot.zone.receipt import NAME as RECEIPT
from partialroot.zone.removal import refuse_undeletable, remove
from partialroot.zone.store import Registered, Store, zone_key
from partialroot.zone.zonepath import WORK_NAMES

NEW, OLD = WORK_NAMES
OPEN_MODE, PRIVATE_MODE = 0o755, 0o700

Build = Callable[[int], bytes | None]
"""Builds what the steps put below the open ``.partialroot-new``; returns the receipt, None for none."""
Make = Callable[[int, str], None]
"""Makes the zonepath, where there is none: below an open directory, with a name."""


def recover(store: Store, zonepath: Path, mounter: Mounter | None) -> str | None:
    """Undo or finish what was under way at ``zonepath``; return what was done as a sentence, None if nothing.

    The caller holds the zone's lock. Raises BusyError when it is not possible.
    """
    intent = journal.read(store, zonepath) if journal.is_under_way(store.root, zonepath) else None
    if intent is None:
        if journal.is_half_written(store.root, zonepath):
            journal.erase(store, [zonepath])
        return None
    try:
        committed = settle(store, intent, mounter)
    except (OSError, PartialRootError) as error:
        raise BusyError(
            f"an interrupted {intent.verb} could not be recovered: {error}", path=str(zonepath)
        ) from error
    return f"{zonepath}: an interrupted {intent.verb} was {'finished' if committed else 'undone'}"


def receipt_bytes(zone: int) -> bytes | None:
    """Return the receipt's content in the open zonepath, None when there is none."""
    return fs.read(zone, RECEIPT)


def refuse_foreign_work(zonepath: Path) -> None:
    """Refuse to touch work that this store knows nothing of: another store's may be under way."""
    for name in WORK_NAMES:
        if os.path.lexists(f"{zonepath}/{name}"):
            raise BusyError(
                "unfinished work that this store knows nothing of",
                path=str(zonepath / name),
                hint="use the --store it was begun with; remove it if that is gone",
            )


def settle(store: Store, intent: Intent, mounter: Mounter | None) -> bool:
    """Finish if the intent is committed, else undo; return which."""
    with _zonepath(intent) as zone:
        committed = zone is not None and _is_committed(zone, intent)
    if committed or _is_removed(intent):
        finish(store, [intent])
        return True
    Work(intent, mounter).undo()
    previous.discard(store, intent.place)
    _forget(store, [intent], {intent.image_after} - {intent.image_before})
    return False


def _is_committed(zone: int, intent: Intent) -> bool:
    return journal.digest(receipt_bytes(zone)) != intent.before


def _is_removed(intent: Intent) -> bool:
    """Whether the zonepath is gone although it had a receipt: a remove that was nearly done."""
    return intent.before is not None and not os.path.lexists(intent.zonepath)


@contextmanager
def _zonepath(intent: Intent) -> Iterator[int | None]:
    """Yield a descriptor of the zonepath, None when there is no such directory."""
    try:
        fd = fs.open_directory(intent.place)
    except FileNotFoundError:
        yield None
        return
    try:
        yield fd
    finally:
        os.close(fd)


# --- forward and back -------------------------------------------------------------------------------


class Work:
    """The effects of one intent, up to its commit, and their inverse."""

    def __init__(self, intent: Intent, mounter: Mounter | None) -> None:
        self.intent = intent
        self._mounter = mounter
        self._path = intent.place
        self._receipt: bytes | None = None

    def prepare(self, build: Build, make: Make) -> None:
        """Build beside, move into place and mount; all of it must be on the disk before :meth:`commit`."""
        intent = self.intent
        if intent.before is None:
            _make_directories(intent, make)
        with _zonepath(intent) as zone:
            if zone is None:
                raise FileNotFoundError(2, "is gone", intent.zonepath)
            self._build(zone, build)
            if intent.before is not None:
                self._unmount()
            with Dirs(zone) as dirs:
                for step in intent.steps:
                    _forward(dirs, step)
            self._stamp(zone, after=True)
            if intent.binds_after and self._mounter:
                self._mounter.up(self._path, intent.binds_after, is_new=intent.before is None)
            if intent.holds:
                with opened(OLD, zone) as old:
                    refuse_undeletable(old)

    def commit(self) -> None:
        """Rename the receipt; what is held may go once that is on the disk."""
        with _zonepath(self.intent) as zone:
            if zone is None:
                raise FileNotFoundError(2, "is gone", self.intent.zonepath)
            if self._receipt is None:
                with opened(OLD, zone) as old:
                    fs.rename(zone, RECEIPT, old, RECEIPT)
            else:
                fs.rename(zone, f"{NEW}/{RECEIPT}", zone, RECEIPT)

    def undo(self) -> None:
        """Bring the zonepath back to what it was; every part may have been done, or not."""
        with _zonepath(self.intent) as zone:
            if zone is not None:
                self._unmount()
                self._undo_in(zone)
        if self.intent.before is None:
            _remove_directories(self.intent)

    def _undo_in(self, zone: int) -> None:
        with Dirs(zone) as dirs:
            for step in reversed(self.intent.steps):
                _back(dirs, step)
        remove(zone, NEW)
        remove(zone, OLD)
        self._stamp(zone, after=False)
        binds = self.intent.binds_before
        if binds and self._mounter and _has_places(zone, binds.tops):
            self._mounter.up(self._path, binds)

    def _build(self, zone: int, build: Build) -> None:
        if not fs.exists(zone, NEW):  # a zonepath that is a snapshot has it
            fs.make_own_directory(zone, NEW)
        if self.intent.before is not None:
            self._make_old(zone)
        with opened(NEW, zone) as new:
            for step in self.intent.steps:
                if step.put:
                    make_parents(new, step.path)
            self._receipt = build(new)
            if self._receipt is not None:
                fs.create_file(new, RECEIPT, self._receipt)

    def _make_old(self, zone: int) -> None:
        fs.make_own_directory(zone, OLD)
        with opened(OLD, zone) as old:
            for step in self.intent.steps:
                if step.hold:
                    make_parents(old, step.path)

    def _unmount(self) -> None:
        """Unmount what the work changes; binds that stay the same stay up."""
        intent = self.intent
        if self._mounter and intent.binds_before != intent.binds_after:
            for binds in (intent.binds_before, intent.binds_after):
                if binds and os.path.isdir(self._path / "root"):
                    self._mounter.down(self._path, binds)

    def _stamp(self, zone: int, *, after: bool) -> None:
        with Dirs(zone) as dirs:
            for touched in self.intent.touched:
                stamp = touched.after if after else touched.before
                fs.mend_meta(dirs.fd(_key(touched.path)), *stamp, touched.path)


def _has_places(zone: int, tops: Iterable[RootPath]) -> bool:
    """Whether all mount points are there: else nothing was mounted before, and the zone had drifted."""
    with Dirs(zone) as dirs:
        try:
            for top in tops:
                dirs.fd(f"/root{top}")
        except OSError:
            return False
    return True


def _forward(dirs: Dirs, step: Step) -> None:
    at, name = dirs.fd(_parent(step.path)), os.path.basename(step.path)
    if step.hold:
        fs.move(at, name, dirs.fd(f"/{OLD}{_parent(step.path)}"), name)
    if step.put:
        fs.move(dirs.fd(f"/{NEW}{_parent(step.path)}"), name, at, name)


def _back(dirs: Dirs, step: Step) -> None:
    """Undo a step, or what was done of it.

    What was held lies below OLD; as long as it does not, its place was not touched. A place that was
    empty has something only if it was put there, and then it is no longer below NEW.
    """
    parent, name = _parent(step.path), os.path.basename(step.path)
    try:
        at = dirs.fd(parent)
        new = dirs.fd(f"/{NEW}{parent}") if step.put else None
        old = dirs.fd(f"/{OLD}{parent}") if step.hold else None
    except FileNotFoundError:
        return  # the first of the work had not begun, or its undoing has ended
    if old is not None and not fs.exists(old, name):
        return
    if new is not None and fs.exists(at, name) and not fs.exists(new, name):
        fs.move(at, name, new, name)
    if old is not None:
        fs.move(old, name, at, name)


# --- afterwards -------------------------------------------------------------------------------------


def finish(store: Store, intents: Sequence[Intent]) -> None:
    """Delete what was held and tell the store; the intents are committed."""
    are_gone = [_tidy(intent) for intent in intents]
    gone = [intent for intent, is_gone in zip(intents, are_gone, strict=True) if is_gone]
    stay = [intent for intent, is_gone in zip(intents, are_gone, strict=True) if not is_gone]
    names = [intent.place for intent in intents if os.path.lexists(intent.zonepath)]
    if len(stay) > 1:
        store.register_all(map(_registered, stay), names)
    else:
        durable.sync_names(names, "zonepath")
    for intent in gone:
        store.unregister(intent.place)
        previous.forget(store, intent.place)
        settled.forget(store.root, zone_key(intent.place))
    _bequeath(store, {path for intent in gone for path in _remove_directories(intent)})
    previous.adopt(store, [intent.place for intent in stay])
    if len(stay) == 1:
        store.register(_registered(stay[0]))
    _forget(store, intents, {image for intent in intents for image in intent.dropped})


def _registered(intent: Intent) -> Registered:
    return Registered.of(intent.place, intent.image_after, intent.made)


def _tidy(intent: Intent) -> bool:
    """Delete what was held, and where all was built; return whether the zone is gone."""
    with _zonepath(intent) as zone:
        if zone is None:
            return True
        remove(zone, OLD)
        remove(zone, NEW)
        return not fs.exists(zone, RECEIPT)


def _forget(store: Store, intents: Sequence[Intent], unused: Iterable[str | None]) -> None:
    """Release the images that these zones do not use (any more), then forget the journal."""
    zonepaths = [intent.place for intent in intents]
    for one in sorted(filter(None, unused)):
        image.release_image(store, Path(one), settled=zonepaths)
    journal.erase(store, zonepaths)


# --- directories ------------------------------------------------------------------------------------


def missing_directories(zonepath: Path) -> tuple[str, ...]:
    """Return the directories that must be made for ``zonepath``, the topmost first."""
    missing = takewhile(lambda path: not os.path.lexists(path), chain([zonepath], zonepath.parents))
    return tuple(map(str, reversed(list(missing))))


def stamp_of(found: os.stat_result) -> Stamp:
    """Return what a directory is like now."""
    return Stamp(stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, found.st_mtime_ns)


def touch_zonepath(zonepath: Path) -> tuple[Touched, ...]:
    """Return the zonepath, if it is there, as a directory that changes and becomes private."""
    try:
        before = stamp_of(os.lstat(zonepath))
    except FileNotFoundError:
        return ()
    return (Touched(".", before, before._replace(mode=PRIVATE_MODE)),)


def make_zonepath(at: int, name: str) -> None:
    """Make a new zone's directory."""
    fs.make_own_directory(at, name, PRIVATE_MODE)


def _make_directories(intent: Intent, make: Make) -> None:
    for text in intent.made:
        path = Path(text)
        parent = fs.open_directory(path.parent)
        try:
            if text == intent.zonepath:
                make(parent, path.name)
            else:
                fs.make_own_directory(parent, path.name, OPEN_MODE)
        except FileExistsError:  # another zone's work was quicker to make what both need
            if text == intent.zonepath:
                raise
        finally:
            os.close(parent)


def _remove_directories(intent: Intent) -> tuple[Path, ...]:
    """Remove the directories that were made; return those that are not empty."""
    return remove_empty(intent.made)


def remove_empty(made: Sequence[str]) -> tuple[Path, ...]:
    """Remove directories, the last ones first, as far as they are empty; return the others."""
    for index in reversed(range(len(made))):
        path = Path(made[index])
        try:
            parent = fs.open_directory(path.parent)
            try:
                fs.rmdir(parent, path.name)
            finally:
                os.close(parent)
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno not in fs.NOT_EMPTY:
                raise
            return tuple(map(Path, made[: index + 1]))
    return ()


def _bequeath(store: Store, left: set[Path]) -> None:
    """Let directories that hold other zones by now go with one of those that nobody works on."""
    for zone in store.zones() if left else ():
        inherited = sorted(path for path in left if zone.zonepath.is_relative_to(path))
        with suppress(BusyError):
            if inherited and _inherit(store, zone.zonepath, inherited):
                left -= set(inherited)


def _inherit(store: Store, zonepath: Path, inherited: Sequence[Path]) -> bool:
    """Let directories go with a zone, unless it has gone itself. What is said of a zone its lock protects."""
    with store.lock_zone(zonepath):
        zone = store.registered(zonepath)
        added = tuple(path for path in inherited if zone and path not in zone.made)
        if zone and added:
            store.register(zone._replace(made=(*added, *zone.made)))
        return zone is not None


def make_parents(at: int, path: str) -> None:
    """Make the directories above ``path`` below the open directory ``at``."""
    if "/" not in path:
        return
    with Dirs(at) as dirs:
        above = ""
        for name in path.split("/")[:-1]:
            parent = dirs.fd(above)
            if not fs.exists(parent, name):
                fs.make_directory(parent, name)
            above = f"{above}/{name}"


def _parent(path: str) -> str:
    """Return the key in :class:`Dirs` of the directory that holds ``path``."""
    return _key(os.path.dirname(path))


def _key(path: str) -> str:
    return "" if path in ("", ".") else f"/{path}"
