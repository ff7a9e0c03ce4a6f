"""Which zonepaths we accept: everything that could harm the host, or that is not ours, is refused."""

import os
import stat
from collections.abc import Container, Iterable, Iterator
from functools import cache
from pathlib import Path

from partialroot.errors import ZonepathError
from partialroot.zone import receipt
from partialroot.zone.store import HOME_NAME

_SYSTEM = "/usr /bin /sbin /etc /boot /proc /sys /dev /run /devices /system /kernel /platform"
SYSTEM = frozenset(map(Path, _SYSTEM.split()))
STICKY = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108 -- known, not used
WORK_NAMES = (".partialroot-new", ".partialroot-old")


def check_zonepath(text: str, *, source: Path, store: Path) -> Path:
    """Return ``text`` as the path of a zone; it need not exist.

    ``source`` is the root that files come from and ``store`` the store, both absolute. Raises
    ZonepathError; what is in the directory is :func:`check_vacant`'s business.
    """
    return Checker(source, store).check(text)


class Checker:
    """Checks the zonepaths of one command: what is above many of them is looked at once."""

    def __init__(self, source: Path, store: Path) -> None:
        self._source, self._store = source, store
        self._trusted: set[Path] = set()
        self._passed: set[Path] = set()
        self._above: set[Path] = set()

    def check(self, text: str) -> Path:
        """Do what :func:`check_zonepath` does."""
        path = _parse(text)
        _check_system(path)
        if path.parent in self._trusted:
            _check_places(path, [path])
        else:
            _check_places(path, [*reversed(path.parents), path])
            _check_nesting(path, self._passed)
            self._trusted.add(path.parent)
            self._above.update(path.parents)
        if path in self._above:
            raise ZonepathError("another zone lies inside it", path=str(path))
        _check_apart(path, self._source, self._store)
        self._passed.add(path)
        return path


def check_vacant(zonepath: Path) -> None:
    """Raise ZonepathError unless a new zone may be made at ``zonepath``: nothing or an empty directory.

    To be asked after recovery, and only where there is no receipt of ours.
    """
    try:
        names = sorted(os.listdir(zonepath))
    except FileNotFoundError:
        return
    if not names:
        return
    if set(names) & set(WORK_NAMES):
        what = "has unfinished work of another store"
        raise ZonepathError(what, path=str(zonepath), hint="use the --store it was begun with")
    what = "has a root that is not ours" if "root" in names else f"is not empty (it has {names[0]!a})"
    raise ZonepathError(what, path=str(zonepath), hint="name a directory that is empty or new")


def _parse(text: str) -> Path:
    if not text.startswith("/"):
        raise ZonepathError("zonepaths are absolute", path=text, hint=f"{os.path.abspath(text)}")
    if not text.isprintable():
        raise ZonepathError("a zonepath has only printable characters", path=ascii(text))
    path = Path("/" + text.strip("/"))
    if ".." in path.parts:
        raise ZonepathError("a zonepath has no '..'", path=text, hint=os.path.normpath(text))
    return path


def _check_system(path: Path) -> None:
    if path == Path("/"):
        raise ZonepathError("the root directory cannot be a zone", path="/", hint="for example /zones/web")
    top = Path("/", path.parts[1])
    if top in SYSTEM or top.name.startswith("lib"):
        raise ZonepathError(
            f"{top} belongs to the system; no zone lives there", path=str(path), hint="for example /zones/web"
        )
    if HOME_NAME in path.parts:
        raise ZonepathError("is where images are kept", path=str(path))


def _existing(paths: Iterable[Path]) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield paths, each above the next, with lstat(2), as far as these are directories."""
    for one in paths:
        try:
            found = os.lstat(one)
        except FileNotFoundError:
            return
        except OSError as error:
            raise ZonepathError(f"cannot be looked at: {error.strerror}", path=str(one)) from error
        yield one, found
        if not stat.S_ISDIR(found.st_mode):
            return


def _check_places(path: Path, places: Iterable[Path]) -> None:
    """Refuse what is at ``places``, the path and what is above it, if others could change it."""
    above = list(_existing(places))
    _check_links(path, above)
    _check_parents(path, above)


def _check_links(path: Path, above: list[tuple[Path, os.stat_result]]) -> None:
    for one, found in above:
        if stat.S_ISLNK(found.st_mode):
            raise ZonepathError(
                f"{one} is a symlink", path=str(path), hint=f"name the place itself: {os.path.realpath(path)}"
            )
        if not stat.S_ISDIR(found.st_mode):
            raise ZonepathError(f"{one} is not a directory", path=str(path))


def _check_nesting(path: Path, others: Container[Path]) -> None:
    for above in path.parents:
        is_zone = os.path.lexists(f"{above}/{receipt.NAME}") and os.path.lexists(f"{above}/root")
        if is_zone or above in others:
            raise ZonepathError(f"lies inside the zone at {above}", path=str(path))


def _check_parents(path: Path, above: list[tuple[Path, os.stat_result]]) -> None:
    """As root, nobody else may be able to put another directory in the place of this one."""
    if os.geteuid() != 0:
        return
    trusted = trusted_owners()
    for one, found in above:
        sticky = found.st_mode & stat.S_ISVTX and one in STICKY
        others = found.st_mode & stat.S_IWOTH or (found.st_mode & stat.S_IWGRP and found.st_gid != 0)
        if found.st_uid not in trusted or (others and not sticky):
            raise ZonepathError(
                f"{one} can be written by others than root",
                path=str(path),
                hint=f"chown root {one}; chmod go-w {one}",
            )


@cache
def trusted_owners() -> frozenset[int]:
    """Root; in a user namespace also the owner all unmapped users show as, real root being one of them."""
    try:
        with open("/proc/self/uid_map") as lines:
            whole = lines.read().split() == ["0", "0", "4294967295"]
        with open("/proc/sys/kernel/overflowuid") as line:
            return frozenset({0} if whole else {0, int(line.read())})
    except FileNotFoundError:
        return frozenset({0})


def _check_apart(path: Path, source: Path, store: Path) -> None:
    """The zone, the store and a source other than / lie beside each other."""
    if _is_in(path, store):
        raise ZonepathError(f"is the store ({store}) or lies below it", path=str(path))
    if _is_in(store, path):
        raise ZonepathError(f"the store ({store}) lies below it", path=str(path), hint="use another --store")
    if source == Path("/"):
        return
    if _is_in(path, source):
        raise ZonepathError(f"lies below the source ({source})", path=str(path))
    if _is_in(source, path):
        raise ZonepathError(f"the source ({source}) lies below it", path=str(path))


def _is_in(path: Path, top: Path) -> bool:
    """Whether a path is ``top`` or lies below it (is_relative_to takes long where there are thousands)."""
    return f"{path}/".startswith(f"{top}/")
