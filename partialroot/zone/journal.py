"""The journal: what a populate, refresh or remove is about to do, on disk before it does anything.

It is written once. How far the work came is read off the disk itself (see ``transaction``), so nothing
that has to be in step with an effect is ever written beside it.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from partialroot.errors import BusyError
from partialroot.paths import RootPath
from partialroot.zone import fs, strict
from partialroot.zone.store import Store, zone_key

FORMAT = 1


class Step(NamedTuple):
    """What happens at one destination below the zonepath (``root/etc/motd``): at most one step each.

    ``hold``: what is there is moved to the same place below ``.partialroot-old``. ``put``: what was built
    below ``.partialroot-new`` is moved there. No step's path lies below another's.
    """

    path: str
    hold: bool
    put: bool


class Stamp(NamedTuple):
    """The mode, owner and modification time of a directory that stays, to put back or to set."""

    mode: int
    uid: int
    gid: int
    mtime_ns: int


class Touched(NamedTuple):
    """A directory (``.``: the zonepath) that stays while things in it change: how it was, how it shall be."""

    path: str
    before: Stamp
    after: Stamp


class Binds(NamedTuple):
    """What is mounted into the root: the tops of an image's directory on the host."""

    image: str
    tops: tuple[RootPath, ...]


class Intent(NamedTuple):
    """Everything that recovery must know.

    ``before`` is the SHA-256 of the receipt as it was, None if there was none: the work is committed once
    the receipt is another one (or gone). ``made`` are directories that were made for this zone, the zonepath
    last. ``binds_before`` and ``binds_after`` say what is mounted (None: nothing). What nothing refers to
    any more is in ``images_dropped``: the images of an older change, and of one that was staged.
    """

    verb: str
    zonepath: str
    before: str | None
    steps: tuple[Step, ...]
    touched: tuple[Touched, ...] = ()
    made: tuple[str, ...] = ()
    binds_before: Binds | None = None
    binds_after: Binds | None = None
    image_before: str | None = None
    image_after: str | None = None
    images_dropped: tuple[str, ...] = ()

    @property
    def place(self) -> Path:
        """The zonepath, as a path of the host."""
        return _place(self.zonepath)

    @property
    def images(self) -> frozenset[str]:
        """The images that must not go while this is under way."""
        every = (self.image_before, self.image_after, *self.images_dropped)
        return frozenset(image for image in every if image)

    @property
    def dropped(self) -> frozenset[str]:
        """The images that the zone does not use any more once this is committed."""
        return self.images - {self.image_after}

    @property
    def holds(self) -> bool:
        """Whether something is moved aside, to be deleted once the work is committed."""
        return any(step.hold for step in self.steps)


@lru_cache(maxsize=256)  # the zones of a batch: each is asked for many times
def _place(zonepath: str) -> Path:
    return Path(zonepath)


def digest(data: bytes | None) -> str | None:
    """Return the SHA-256 of a receipt, None for none."""
    return None if data is None else hashlib.sha256(data).hexdigest()


def dump(intent: Intent) -> bytes:
    """Return ``intent`` as a file's content."""
    text = json.dumps({**intent._asdict(), "format": FORMAT}, sort_keys=True, separators=(",", ":"))
    return text.encode("ascii") + b"\n"


def load(data: bytes, where: str) -> Intent:
    """Return the intent that :func:`dump` wrote; BusyError for anything else: it cannot be recovered."""
    try:
        document = json.loads(data.decode("ascii"))
        if not isinstance(document, dict) or document.pop("format", None) != FORMAT:
            raise ValueError(f'it has no "format": {FORMAT}')
        return _intent(document)
    except (ValueError, RecursionError) as error:
        raise BusyError(
            f"the journal of earlier work cannot be read: {error}",
            path=where,
            hint="look at the zonepath it names, then remove this file",
        ) from error


# --- in the store -----------------------------------------------------------------------------------


def write(store: Store, intents: Sequence[Intent]) -> None:
    """Put ``intents`` on the disk, for good, before anything they name happens; ApplyError if it fails.

    Those of a batch are the lines of one file, which has a name for each.
    """
    if not intents:
        return
    first, *others = (zone_key(one.place) for one in intents)
    try:
        with store.directory("journal") as at:
            fs.save(at, first, b"".join(map(dump, intents)))
            for name in others:
                fs.discard(at, name)
                fs.link(first, at, name, at)
            fs.sync(at, "journal")
    except OSError as error:
        erase(store, [one.place for one in intents])
        raise fs.failed(error, str(store.root / "journal")) from error


def read(store: Store, zonepath: Path) -> Intent | None:
    """Return what was under way at ``zonepath``, None if nothing was."""
    key = zone_key(zonepath)
    with store.directory("journal") as at:
        found = _read(store, at, key)
    if found and zonepath not in (one.place for one in found):
        raise BusyError("the journal is another zone's", path=str(store.root / "journal" / key))
    return next((one for one in found if one.place == zonepath), None)


def is_under_way(store: Path, zonepath: Path) -> bool:
    """Whether something was under way at ``zonepath``; the store need not exist."""
    return os.path.lexists(f"{store}/journal/{zone_key(zonepath)}")


def is_half_written(store: Path, zonepath: Path) -> bool:
    """Whether something was to begin at ``zonepath``, and did not."""
    return os.path.lexists(f"{store}/journal/{zone_key(zonepath)}{fs.UNSAVED}")


def all_intents(store: Store) -> tuple[Intent, ...]:
    """Return everything under way in this store."""
    known: dict[int, list[Intent]] = {}
    found: list[Intent] = []
    with store.directory("journal") as at:
        for key in sorted(os.listdir(at)):
            status = None if key.endswith(fs.UNSAVED) else fs.status(at, key)
            if status is not None:
                intents = known[status.st_ino] = known.get(status.st_ino) or _read(store, at, key)
                found += [one for one in intents if zone_key(one.place) == key]
    return tuple(found)


def erase(store: Store, zonepaths: Iterable[Path]) -> None:
    """Forget what was under way at ``zonepaths``: all of it is done, or undone, or was never begun."""
    with store.directory("journal") as at:
        for zonepath in zonepaths:
            fs.discard(at, zone_key(zonepath))
            fs.discard(at, zone_key(zonepath) + fs.UNSAVED)


def _read(store: Store, at: int, key: str) -> list[Intent]:
    """Return what is in one file: none if there is no such file."""
    data = fs.read(at, key)
    lines = [] if data is None else data.splitlines() or [b""]
    return [load(line, str(store.root / "journal" / key)) for line in lines]


# --- reading strictly -------------------------------------------------------------------------------

_text = strict.one(strict.texts)
_number = strict.one(strict.numbers(0, (1 << 32) - 1))
_mode = strict.one(strict.numbers(0, 0o7777))
_sum = strict.one(strict.sums)
_path = strict.one(strict.paths)


def _below(value: object) -> str:
    """Read a path below the zonepath, without a leading slash; nothing in it may lead outside."""
    text = _text(value)
    if text != "." and _path(f"/{text}").relative != text:
        raise ValueError("the empty path")
    return text


def _step(row: Any) -> Step:
    path, hold, put = strict.listed(row)
    return Step(_below(path), strict.flag(hold), strict.flag(put))


def _stamp(row: Any) -> Stamp:
    mode, uid, gid, mtime_ns = strict.listed(row)
    times = strict.one(strict.numbers(-(1 << 63), (1 << 63) - 1))
    return Stamp(_mode(mode), _number(uid), _number(gid), times(mtime_ns))


def _touched(row: Any) -> Touched:
    path, before, after = strict.listed(row)
    return Touched(_below(path), _stamp(before), _stamp(after))


def _binds(row: Any) -> Binds:
    image, tops = strict.listed(row)
    return Binds(_text(image), tuple(strict.paths(strict.listed(tops))))


def _each(reader: strict.Reader[Any]) -> strict.Reader[Any]:
    return lambda value: tuple(reader(item) for item in strict.listed(value))


_READERS: Mapping[str, strict.Reader[Any]] = {
    "verb": _text,
    "zonepath": _text,
    "before": strict.optional(_sum),
    "steps": _each(_step),
    "touched": _each(_touched),
    "made": strict.items(strict.texts),
    "binds_before": strict.optional(_binds),
    "binds_after": strict.optional(_binds),
    "image_before": strict.optional(_text),
    "image_after": strict.optional(_text),
    "images_dropped": strict.items(strict.texts),
}
_intent = strict.record(Intent, **_READERS)
