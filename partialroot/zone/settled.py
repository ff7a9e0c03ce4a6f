"""Zones that were as their plans say, and all that this follows from: to tell quickly that nothing is to do.

::

    STORE/settled/KEY              a zone: how its own files were, and which of the others it follows from
    STORE/settled/image-KEY        an image: how its files were
    STORE/settled/observed-KEY     what plans were made from (module observations)

Nothing depends on these files: where one is missing, damaged or out of date, a plan is made anew. That goes
for a power cut, too, so they are not synced. What is compared are times, sizes and inodes, never contents.
"""

import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from partialroot.observed import DAMAGED
from partialroot.zone import fs
from partialroot.zone.dirs import Dirs, opened
from partialroot.zone.observations import OBSERVED, PART, Observations

IMAGE = "image-"
SPARE = 32
"""So many observations are kept that no zone follows from: of the last requests."""

OWN = ("receipt.json", "config.json", "image", "root")


class Zone(NamedTuple):
    """A zone by its path and the key of its files in the store, with its image and what is mounted of it.

    ``places`` are the paths of its entries in the root; ``request`` and ``observed`` are key and name of the
    observations that its plan follows from.
    """

    zonepath: str
    key: str
    image: str | None
    image_key: str
    digest: str | None
    tops: tuple[str, ...]
    places: tuple[str, ...]
    request: str
    observed: str


# --- asking -------------------------------------------------------------------------------------------


class Settled:
    """What one command finds out; what zones have in common is looked at once."""

    def __init__(self, store: str) -> None:
        self._store = store
        self._known: dict[str, bool] = {}

    def digest(self, zonepath: str, key: str) -> tuple[str | None] | None:
        """Return the digest of a zone's image if a refresh has nothing to do; None if that must be looked at.

        Nothing is locked: a change that is under way has its journal, or ends after this was asked.
        """
        try:
            zone = self._read(key)
            if (
                zone is None
                or zone["zonepath"] != zonepath
                or os.path.lexists(f"{self._store}/journal/{key}")
            ):
                return None
            is_settled = (
                zone["state"] == _state(self._store, zonepath, key, zone["places"])
                and _is_mounted(zonepath, zone["image"], zone["tops"])
                and (zone["image"] is None or self._once(zone["image_key"], self._is_image_settled, zone))
                and self._once(zone["observed"], self._is_unchanged, zone)
            )
            return (zone["digest"],) if is_settled else None
        except (OSError, *DAMAGED):
            return None

    def follows(self, zonepath: str, key: str) -> bool:
        """Whether all is unchanged that the plan was made from by which a zone is what its receipt says.

        False, too, where that is not known. How the files in its root are is not asked.
        """
        try:
            zone = self._read(key)
            return (
                zone is not None
                and zone["own"] == _own(zonepath)
                and self._once(zone["observed"], self._is_unchanged, zone)
            )
        except (OSError, *DAMAGED):
            return False

    def _once(self, name: str, ask: Callable[[Mapping[str, Any]], bool], zone: Mapping[str, Any]) -> bool:
        if name not in self._known:
            self._known[name] = ask(zone)
        return self._known[name]

    def _is_image_settled(self, zone: Mapping[str, Any]) -> bool:
        image = self._read(f"{IMAGE}{zone['image_key']}")
        return image is not None and image["state"] == _state_of_image(zone["image"], image["places"])

    def _is_unchanged(self, zone: Mapping[str, Any]) -> bool:
        observations = Observations(self._store, zone["request"])
        holds = observations.ask(zone["observed"]).holds
        observations.save()
        return holds

    def _read(self, name: str) -> Any:
        try:
            with open(f"{self._store}/{PART}/{name}", "rb") as file:
                return json.load(file)
        except FileNotFoundError:
            return None


# --- noting -------------------------------------------------------------------------------------------


class Notes:
    """Notes what one command leaves settled; what zones have in common is written once."""

    def __init__(self, store: str) -> None:
        self._store = store
        self._written: set[str] = set()

    def add(self, zone: Zone, image_places: Callable[[], Iterable[str]]) -> None:
        """Note that a zone is as its plan says.

        ``image_places`` tells the paths in its image. Where it cannot be written, it is not noted.
        """
        with suppress(OSError):
            if zone.image:
                image = zone.image
                self._once(IMAGE + zone.image_key, lambda: _about_image(image, image_places()))
            state = _state(self._store, zone.zonepath, zone.key, zone.places)
            about = {**zone._asdict(), "own": _own(zone.zonepath), "state": state}
            _write(self._store, zone.key, about)

    def _once(self, name: str, make: Callable[[], Mapping[str, Any]]) -> None:
        if name not in self._written:
            _write(self._store, name, make())
            self._written.add(name)


def _about_image(image: str, places: Iterable[str]) -> Mapping[str, Any]:
    every = list(places)
    return {"places": every, "state": _state_of_image(image, every)}


def forget(store: Path, key: str) -> None:
    """Forget a zone that is not registered any more; with the last one, all that was noted."""
    with opened(f"{store}/{PART}") as at:
        fs.discard(at, key)
    if not os.listdir(f"{store}/zones"):
        sweep(str(store), spare=0)


def sweep(store: str, spare: int = SPARE) -> None:
    """Remove what is noted of images and observations that no zone follows from any more.

    So many observations stay all the same, the latest: zones that are only populated do not follow from any.
    """
    place = f"{store}/{PART}"
    with suppress(OSError), opened(place) as at:
        names = set(os.listdir(place))
        zones = list(_zones(place, names))
        kept = {f"{OBSERVED}{zone.get('request')}" for zone in zones}
        kept |= {f"{IMAGE}{zone.get('image_key')}" for zone in zones}
        unused = [name for name in names - kept if name.startswith(OBSERVED)]
        latest = sorted(unused, key=lambda name: -os.stat(name, dir_fd=at).st_mtime_ns)
        for name in (*latest[spare:], *(one for one in names - kept if one.startswith(IMAGE))):
            fs.discard(at, name)


def make_room(store: str) -> None:
    """Sweep where many requests are remembered."""
    with suppress(OSError):
        if sum(name.startswith(OBSERVED) for name in os.listdir(f"{store}/{PART}")) > SPARE:
            sweep(store)


def _zones(place: str, names: Iterable[str]) -> Iterator[Mapping[str, Any]]:
    for name in names:
        if "-" not in name:
            with suppress(OSError, *DAMAGED), open(f"{place}/{name}", "rb") as file:
                yield json.load(file)


def _write(store: str, name: str, document: Mapping[str, Any]) -> None:
    with opened(f"{store}/{PART}") as at:
        beside = fs.create_beside(at, name, json.dumps(document, separators=(",", ":")).encode())
        fs.rename(at, beside, at, name)


# --- how things are -----------------------------------------------------------------------------------


def _state(store: str, zonepath: str, key: str, places: Iterable[str]) -> str:
    """Return how a zone's own files, and its entry in the register, are by all that lstat(2) says."""
    with opened(zonepath) as top, Dirs(top) as dirs:
        inside = [_status(dirs, f"/root{place}", ctime=True) for place in places]
    entry = os.lstat(f"{store}/zones/{key}")
    about = [entry.st_ino, entry.st_size, entry.st_mtime_ns, entry.st_ctime_ns]
    return _digest([_own(zonepath), inside, about])


def _own(zonepath: str) -> list[list[object]]:
    """Return how what lies beside a zone's files is."""
    with opened(zonepath) as top, Dirs(top) as dirs:
        return [_status(dirs, f"/{name}", ctime=True) for name in OWN]


def _state_of_image(image: str, places: Iterable[str]) -> str:
    """Return how an image's files are; a change of their links is none."""
    with opened(image) as top, Dirs(top) as dirs:
        return _digest([_status(dirs, place, ctime=False) for place in ("/manifest.json", *places)])


def _status(dirs: Dirs, path: str, *, ctime: bool) -> list[object]:
    parent, _, name = path.rpartition("/")
    try:
        at = dirs.fd(parent)
        found = os.stat(name, dir_fd=at, follow_symlinks=False)
        common: list[object] = [found.st_mode, found.st_uid, found.st_gid]
        if stat.S_ISDIR(found.st_mode):
            return common
        if stat.S_ISLNK(found.st_mode):
            return [*common, os.readlink(name, dir_fd=at)]
    except OSError:
        return []
    times = [found.st_mtime_ns, found.st_ctime_ns] if ctime else [found.st_mtime_ns]
    return [*common, found.st_size, found.st_ino, *times]


def _is_mounted(zonepath: str, image: str | None, tops: Iterable[str]) -> bool:
    """Whether the image's directories are what is seen in the root, read-only and without devices."""
    for top in tops:
        point = f"{zonepath}/root{top}"
        flags = os.statvfs(point).f_flag
        is_safe = flags & os.ST_RDONLY and flags & getattr(os, "ST_NODEV", 0)
        if not is_safe or not os.path.samestat(os.lstat(point), os.lstat(f"{image}{top}")):
            return False
    return True


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode("utf-8", "surrogatepass")).hexdigest()
