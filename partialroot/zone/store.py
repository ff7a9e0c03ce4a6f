"""The store: where images, the register of zones, locks and journals live.

::

    STORE/images/DIGEST/    images, unless the source's files are on another mount
    STORE/zones/KEY         the register: one small file per zone
    STORE/locks/NAME        flock(2)ed, with the owner's process id in it
    STORE/journal/KEY       what a populate, refresh or remove under way is about to do; of a batch, one file
    STORE/memory            what earlier runs found out about files (source.memory)
    STORE/views/NAME        illumos: where a command sees a source without what is mounted over its files
    STORE/previous/KEY/     what a zone was before its last change (module previous)
    STORE/settled/NAME      what was chosen, what that follows from, and zones that are so (module settled)

KEY is made from the zonepath. A lock is held by the kernel for as long as its owner lives, so a dead
owner's lock is free.
"""

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Self

from partialroot.errors import BusyError, StoreError
from partialroot.zone import durable, fs

PARTS = ("images", "zones", "locks", "journal", "previous", "settled")
HOME_NAME = ".partialroot"
OWN_HOME = "own"  # below HOME_NAME in a zonepath of the brand: the zone's own images go where it goes
POLL_SECONDS = 0.02


@lru_cache(maxsize=1024)
def zone_key(zonepath: Path) -> str:
    """Return the name of a zone's files in the store."""
    import hashlib

    return hashlib.sha256(os.fsencode(zonepath)).hexdigest()[:16]


def check_private(path: Path, what: str) -> None:
    """Raise StoreError unless ``path`` is a directory of ours that nobody else may enter."""
    found = os.lstat(path)
    if stat.S_ISLNK(found.st_mode):
        raise StoreError(f"{what} is a symlink", path=str(path), hint="name the directory itself")
    if not stat.S_ISDIR(found.st_mode):
        raise StoreError(f"{what} is not a directory", path=str(path))
    if found.st_uid != os.geteuid():
        raise StoreError(f"{what} belongs to user {found.st_uid}, not to {os.geteuid()}", path=str(path))
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o777 != 0o700:
        raise StoreError(
            f"{what} has mode {mode:04o}: others could enter", path=str(path), hint=f"chmod 0700 {path}"
        )


def check_store(path: Path) -> None:
    """Raise StoreError unless there is no store at ``path`` yet, or one that can be trusted."""
    if os.path.lexists(path):
        check_private(path, "the store")


def make_private(path: Path, what: str) -> None:
    """Make ``path`` (and what is missing above it) a directory of ours, mode 0700, or check that it is.

    Raises StoreError when it cannot be trusted or made.
    """
    try:
        if not os.path.lexists(path):
            _make_all(path)
        check_private(path, what)
    except OSError as error:
        raise StoreError(f"{what} cannot be used: {error.strerror}", path=str(path)) from error


def _make_all(path: Path) -> None:
    if not os.path.lexists(path.parent):
        _make_all(path.parent)
    parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fs.make_own_directory(parent, path.name)
    except FileExistsError:  # another process was quicker; the caller checks it
        return
    finally:
        os.close(parent)


def is_common(home: Path) -> bool:
    """Whether a home of images lies at a mount's top, where several stores may have images."""
    return home.parts[-2:] == (HOME_NAME, "images")


def is_digest(name: str) -> bool:
    """Whether an image may be called so: a SHA-256 in hexadecimal digits."""
    return len(name) == 64 and set(name) <= set("0123456789abcdef")


class Registered(NamedTuple):
    """A zone of the register: its path, its image's directory, and the directories we made for it.

    ``staged``: a refresh waits until no process lives in the zone. It is the directory of the image that
    it will use, "" if that is none; None when nothing waits.
    """

    zonepath: Path
    image: Path | None
    made: tuple[Path, ...]
    staged: str | None = None

    @classmethod
    def of(
        cls, zonepath: Path, image: str | None, made: Iterable[str] = (), staged: str | None = None
    ) -> Self:
        """Return it from texts, as receipts, journals and the register itself have them."""
        return cls(zonepath, Path(image) if image else None, tuple(map(Path, made)), staged)

    @property
    def waiting(self) -> tuple[str, ...]:
        """The image that a staged refresh will use, if there is one."""
        return (self.staged,) if self.staged else ()

    @property
    def images(self) -> tuple[Path | None, ...]:
        """The images that the zone uses, and will use."""
        return (self.image, *map(Path, self.waiting))


def _dumped(zone: Registered) -> bytes:
    document = {
        "format": 1,
        "image": None if zone.image is None else str(zone.image),
        "made": [str(path) for path in zone.made],
        "staged": zone.staged,
        "zonepath": str(zone.zonepath),
    }
    import json

    return json.dumps(document, sort_keys=True).encode() + b"\n"


class Store:
    """An open store. Making the value makes its directories and checks them (StoreError)."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for directory in (root, *(root / part for part in PARTS)):
            make_private(directory, "the store")

    @property
    def images(self) -> Path:
        """Where images are built when the source's files are on the store's mount."""
        return self.root / "images"

    @contextmanager
    def directory(self, part: str) -> Iterator[int]:
        """Yield a descriptor of one of PARTS."""
        fd = os.open(f"{self.root}/{part}", fs.DIRECTORY)
        try:
            yield fd
        finally:
            os.close(fd)

    # --- the register ---------------------------------------------------------------------------

    def register(self, zone: Registered) -> None:
        """Add a zone to the register, or replace what it says of it."""
        with self.directory("zones") as at:
            fs.save(at, zone_key(zone.zonepath), _dumped(zone))

    def register_all(self, zones: Iterable[Registered], names: Iterable[Path]) -> None:
        """Do the same for zones of a batch, and have the names in other directories on the disk before."""
        files = {zone_key(zone.zonepath): _dumped(zone) for zone in zones}
        with self.directory("zones") as at:
            durable.save_all(at, files, lambda: durable.sync_names((*names, self.root), "zonepath"))

    def unregister(self, zonepath: Path) -> None:
        """Take a zone off the register."""
        with self.directory("zones") as at:
            fs.discard(at, zone_key(zonepath))

    def registered(self, zonepath: Path) -> Registered | None:
        """Return what the register says of a zone, None when it does not know it."""
        with self.directory("zones") as at:
            return self._registered(at, zone_key(zonepath))

    def zones(self) -> tuple[Registered, ...]:
        """Return all zones of the register, sorted by path."""
        return tuple(sorted(self.each_zone(), key=lambda zone: zone.zonepath))

    def each_zone(self) -> Iterator[Registered]:
        """Yield the zones of the register, in no order: for who may find what he looks for early."""
        with self.directory("zones") as at:
            for key in os.listdir(at):
                zone = None if key.endswith(fs.UNSAVED) else self._registered(at, key)
                if zone is not None:
                    yield zone

    def _registered(self, at: int, key: str) -> Registered | None:
        path = str(self.root / "zones" / key)
        try:
            data = fs.read(at, key)
        except OSError as error:
            raise StoreError(f"the register cannot be read: {error.strerror}", path=path) from error
        if data is None:
            return None
        import json

        try:
            document = json.loads(data)
            zonepath, image, made = (document[key] for key in ("zonepath", "image", "made"))
            return Registered.of(Path(zonepath), image, made, document.get("staged"))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            hint = f"rm {path}, and populate its zone again before anything is pruned"
            raise StoreError("the register cannot be read", path=path, hint=hint) from error

    def may_have(self, image: Path) -> bool:
        """Whether an image may be at a path that is there, by its name and its home.

        Receipts, journals and the register name images: where one of them is damaged, anything.
        """
        home = image.parent
        is_home = is_common(home) or home.parts[-2:] == (HOME_NAME, OWN_HOME)
        return is_digest(image.name) and (is_home or os.path.samefile(home, self.images))

    # --- locks ----------------------------------------------------------------------------------

    def lock_zone(self, zonepath: Path, wait_seconds: float = 0.0) -> AbstractContextManager[None]:
        """Hold the lock of a zone; BusyError names the process that holds it when waiting is over."""
        name = f"zone-{zone_key(zonepath)}"
        return _locked(self.root / "locks", name, str(zonepath), wait_seconds)

    @contextmanager
    def lock_image(self, home: Path, digest: str, wait_seconds: float = 600.0) -> Iterator[None]:
        """Hold the lock under which an image is built, replaced or removed."""
        name, place = f"image-{zone_key(home / digest)}", self.root / "locks"
        if is_common(home):
            name, place = f".lock-{digest}", home
        with _locked(place, name, str(home / digest), wait_seconds):
            yield

    @contextmanager
    def lock_named(self, name: str, path: str) -> Iterator[None]:
        """Hold the lock whose file is called so, for what is at ``path``; BusyError if another does."""
        with _locked(self.root / "locks", name, path, 0.0):
            yield

    @contextmanager
    def lock_view(self, name: str) -> Iterator[None]:
        """Hold the lock of a view (``pipeline.live``) while it is mounted; BusyError if another does."""
        with _locked(self.root / "locks", f"view-{name}", str(self.root / "views" / name), 0.0):
            yield


@contextmanager
def _locked(directory: Path, name: str, path: str, wait_seconds: float) -> Iterator[None]:
    """Hold the lock file ``name``, which is for what is at ``path``."""
    at = os.open(directory, fs.DIRECTORY)
    try:
        fd = _acquire(at, name, path, wait_seconds)
        try:
            yield
        finally:
            with suppress(OSError):  # a lock file that stays is one that nobody holds
                fs.unlink(at, name)  # while it is ours: whoever waits sees that and tries anew
            os.close(fd)
    finally:
        os.close(at)


def _acquire(at: int, name: str, path: str, wait_seconds: float) -> int:
    """Return the descriptor of a lock file that is locked and still has its name."""
    until = time.monotonic() + wait_seconds
    while True:
        fd = _open_lock(at, name, path)
        if _try_lock(fd):
            if _is_named(fd, at, name):
                _sign(fd, name)
                return fd
        elif time.monotonic() >= until:
            owner = os.pread(fd, 20, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(fd)
            raise BusyError(f"process {owner} works on it", path=path, hint="try again when it is done")
        os.close(fd)
        time.sleep(POLL_SECONDS if until > time.monotonic() else 0)


def _open_lock(at: int, name: str, path: str) -> int:
    try:
        return fs.open_lock(at, name)
    except OSError as error:
        raise StoreError(f"cannot be locked: {error.strerror}", path=path) from error


def _sign(fd: int, name: str) -> None:
    """Write who holds the lock, for those who wait; on a full disk they have to guess."""
    with suppress(OSError):
        fs.write(fd, f"{os.getpid():<20}\n".encode(), name)


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
        return False
    return True


def _is_named(fd: int, at: int, name: str) -> bool:
    """Whether the lock we got is not one that its last owner removed meanwhile."""
    found = fs.status(at, name)
    return found is not None and os.path.samestat(found, os.fstat(fd))
