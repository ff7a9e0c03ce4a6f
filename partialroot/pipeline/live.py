"""A source that is alive: on an illumos host some files show something else, and packages may be in flight.

SMF mounts the C library for the machine's processor over /lib/libc.so.1 (fs-root). Who reads, links or copies
that path gets the variant, which no package recorded and another machine cannot run. So for as long as a
command reads the source, its file system is mounted once more at a place that only root can enter, without
what is mounted in it; hidden files are read, linked and copied there.
"""

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from partialroot.errors import ApplyError, BusyError, SourceError
from partialroot.host import local
from partialroot.host.illumos import commands, mnttab
from partialroot.nodes import NOTHING
from partialroot.source import memory
from partialroot.zone.store import PARTS, Store, make_private

VIEWS = "views"


@contextmanager
def views(store: Path) -> Iterator[Callable[[Path], Mapping[str, str]]]:
    """Yield what returns :func:`own_files` of any source; they are mounted when they are first asked for."""
    with ExitStack() as stack:
        yield lambda source: stack.enter_context(own_files(store, source))


@contextmanager
def own_files(store: Path, source: Path) -> Iterator[Mapping[str, str]]:
    """Yield where on the host the files of a source are that loopback mounts hide; mounted until the end.

    There are none but on illumos, and only root can see them. Views of commands that were killed are taken
    away first. Raises SourceError when the view cannot be mounted, BusyError when it does not go again.
    """
    if not local.is_illumos() or os.geteuid() != 0:
        yield NOTHING
        return
    if (store / VIEWS).is_dir():
        sweep(Store(store))
    mounts, top = mnttab.read(), os.path.realpath(source)
    hidden = mnttab.hidden_files(mounts, top)
    if not hidden:
        yield NOTHING
        return
    system = mounts.holding(top).point
    with _only_if_used(store), _mounted(Store(store), system, hidden) as view:
        places = {path: f"{view}/{path[len(system.rstrip('/')) + 1 :]}" for path in hidden}
        inside = {path[len(top.rstrip("/")) :]: place for path, place in places.items()}
        yield {path: place for path, place in inside.items() if os.path.isfile(place)}


@contextmanager
def _only_if_used(store: Path) -> Iterator[None]:
    """Remove a store that was made for a view alone, as of a dry run, with what is remembered in it.

    One with anything else in it stays. The views go first: who makes a store beside us has one in it.
    """
    was_there = store.is_dir()
    try:
        yield
    finally:
        if not was_there:
            with suppress(OSError):
                for part in (VIEWS, *PARTS):
                    os.rmdir(store / part)
                (store / memory.NAME).unlink(missing_ok=True)
                os.rmdir(store)


@contextmanager
def _mounted(store: Store, file_system: str, hidden: Collection[str]) -> Iterator[Path]:
    """Yield a directory of the store in which a file system's own files are seen, ``hidden`` ones, too."""
    name = f"{os.getpid()}-{os.urandom(4).hex()}"
    place = store.root / VIEWS / name
    with store.lock_view(name):  # before there is anything to sweep
        make_private(place, "the place of a view")
        try:
            _mount(file_system, place, hidden)
            yield place
        except BaseException:
            with suppress(BusyError):  # the next command tries again
                _take_away(place)
            raise
        _take_away(place)


def _mount(file_system: str, place: Path, hidden: Collection[str]) -> None:
    try:
        commands.run(*mnttab.own_view(file_system, str(place)))
    except ApplyError as error:
        files = ", ".join(sorted(hidden))
        raise SourceError(
            f"something is mounted over it, and the source's own {files} cannot be seen: {error.message}",
            hint=f"umount {files}, or find out why lofs cannot be mounted",
        ) from error


def sweep(store: Store) -> None:
    """Take away the views of commands that were killed; BusyError for one that does not go."""
    for place in sorted((store.root / VIEWS).iterdir()):
        with ExitStack() as stack:
            try:
                stack.enter_context(store.lock_view(place.name))
            except BusyError:  # its owner lives
                continue
            _take_away(place)


def _take_away(place: Path) -> None:
    """Unmount a view, if it is mounted, and remove its directory."""
    try:
        if mnttab.read().at(place):
            commands.run(commands.UMOUNT, str(place))
        with suppress(FileNotFoundError):
            os.rmdir(place)
    except (ApplyError, OSError) as error:
        raise BusyError(
            f"a view of the source is still mounted: {error}", path=str(place), hint=f"umount {place}"
        ) from error


def sync_packages() -> None:
    """Have the package server write what it has not yet, before the database of the live system is read.

    BusyError when it does not: pkgadm(8) waits for a lock that an installation holds. Who is not root cannot
    ask for it; the log of the server is read in its place (``source.packages.svr4``).
    """
    if os.geteuid() != 0:
        return
    try:
        commands.run(commands.PKGADM, "sync")
    except ApplyError as error:
        raise BusyError(
            f"the package database cannot be brought up to date: {error.message}",
            hint="is a package being installed? try again when it is done",
        ) from error
