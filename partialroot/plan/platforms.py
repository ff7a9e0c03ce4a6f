"""What the platforms ask of a zone beside its profile: programs that must be there, places, how it starts."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Protocol

from partialroot.closure.modules.brand import BrandProgram
from partialroot.model import PAUSE, Entry, Profile
from partialroot.nodes import FileType, Reason
from partialroot.paths import RootPath
from partialroot.plan import environment, illumos
from partialroot.plan.draft import Draft
from partialroot.plan.environment import Named
from partialroot.plan.made import Made
from partialroot.source import accounts
from partialroot.source.accounts import Keeping

# Where an OCI runtime mounts what every container has.
MOUNT_POINTS = {RootPath(path): 0o755 for path in ("/dev", "/proc", "/sys")}
# What a zone with a read-only root may write all the same, in memory (host.linux.oci).
SCRATCH = {RootPath("/run"): 0o755, RootPath("/tmp"): 0o1777}  # noqa: S108 - inside a zone

# What init runs each command of inittab(5) with, and zlogin -S what it is told (zones facts 6, 7).
_SHELL = "/sbin/sh"
# zlogin ZONE COMMAND: su runs it (zlogin.c, SUPATH), after the brand's user_cmd, through popen(3), has told
# home and shell; if that fails they are / and /sbin/sh (zones facts 7).
_SU, _POPEN_SHELL = "/usr/bin/su", "/usr/bin/sh"
_COMMANDS = Reason("zlogin ZONE COMMAND", "zlogin(1)")


class Program(NamedTuple):
    """A program that a zone must have, by name or path.

    One of severity ``warning`` is only missed, and that where the zone has one of those it is of use
    ``beside``.
    """

    name: str
    reason: Reason
    severity: str = "error"
    beside: tuple[str, ...] = ()


class Platform(Protocol):
    """A platform that zones are made for."""

    @property
    def name(self) -> str:
        """``linux`` or ``illumos``."""
        ...

    @property
    def keeping(self) -> Keeping:
        """How it keeps accounts."""
        ...

    def programs(self, profile: Profile) -> Iterator[Program]:
        """Yield the programs that start the zone, and those its brand runs in it."""
        ...

    def data(self, profile: Profile, draft: Draft) -> Iterator[Named]:
        """Yield the files that the zone's settings name, of what the profile has chosen by then."""
        ...

    def made(self, profile: Profile, draft: Draft) -> Iterator[Made]:
        """Yield mount points, and what starts the zone."""
        ...

    def always(self, tops: tuple[RootPath, ...]) -> tuple[RootPath, ...]:
        """Return those of the shared ``tops`` that an image has even if nothing is in them."""
        ...

    def check(self, entries: Iterable[Entry]) -> None:
        """Raise ConflictError for a root that the platform could not make a zone of."""
        ...


class Linux:
    """A zone is an OCI bundle; ``pause`` makes the program that only waits."""

    name = "linux"
    keeping = accounts.LINUX

    def __init__(self, pause: Callable[[], bytes]) -> None:
        self._pause = pause

    def programs(self, profile: Profile) -> Iterator[Program]:
        """Yield the program that the runtime starts."""
        if profile.start is not None and profile.start.command:
            yield Program(profile.start.command[0], Reason("start", profile.start.where))

    def data(self, profile: Profile, draft: Draft) -> Iterator[Named]:
        """Yield nothing: settings of Linux are files themselves."""
        return iter(())

    def made(self, profile: Profile, draft: Draft) -> Iterator[Made]:
        """Yield what a runtime mounts on: it cannot make directories in a read-only root."""
        if profile.start is None:
            return
        where = profile.start.where
        for path, mode in {**MOUNT_POINTS, **(SCRATCH if profile.read_only else {})}.items():
            yield Made(path, mode, 0, 0, None, Reason("mount point", where))
        if profile.start.pause:
            yield Made(PAUSE, 0o755, 0, 0, self._pause(), Reason("pause", where))

    def always(self, tops: tuple[RootPath, ...]) -> tuple[RootPath, ...]:
        """Nothing is mounted that nothing is in."""
        return ()

    def check(self, entries: Iterable[Entry]) -> None:
        """A runtime takes any root."""


class Illumos:
    """A zone of our brand, which runs the ``programs`` that its config.xml names."""

    name = "illumos"
    keeping = accounts.ILLUMOS

    def __init__(self, programs: Iterable[BrandProgram]) -> None:
        self._programs = tuple(programs)

    def programs(self, profile: Profile) -> Iterator[Program]:
        """Yield what init is to start, what the brand runs, and what these run.

        Without init and its shell there is no zone, and ``zlogin -S`` needs no more. The others make sense
        together: who has login without su can log in, but not ``zlogin ZONE COMMAND``.
        """
        if profile.start is not None:
            yield Program(illumos.start_command(profile.start)[0], Reason("start", profile.start.where))
        yield Program(_SHELL, Reason("inittab", "init(8)"))
        logins = tuple(one.path for one in self._programs if one.element in ("login_cmd", "forcedlogin_cmd"))
        for one in self._programs:
            reason = Reason(f"brand {one.element}", "config.xml")
            if one.element == "initname":
                yield Program(one.path, reason)
            else:
                yield Program(one.path, reason, "warning", (_SU,))
        yield Program(_SU, _COMMANDS, "warning", logins)
        yield Program(_POPEN_SHELL, _COMMANDS, "warning", (_SU,))

    def data(self, profile: Profile, draft: Draft) -> Iterator[Named]:
        """Yield the time zone and the locales that init gives to all it starts."""
        texts = (one.content for one in profile.texts if one.path == environment.INIT)
        chosen = draft.text(draft.shipped(environment.INIT)) if environment.INIT in draft.nodes else ""
        return environment.named(environment.edited(next(texts, chosen), profile.edits))

    def made(self, profile: Profile, draft: Draft) -> Iterator[Made]:
        """Yield what zoneadmd mounts on, and the script that init runs."""
        for path, kind in illumos.MOUNT_POINTS.items():
            text = None if kind is FileType.DIR else b""
            mode = illumos.mount_point_mode(kind)
            yield Made(path, mode, 0, 0, text, Reason("mount point", "platform.xml"))
        start = profile.start
        if start is None:
            return
        steps = (one.path for one in profile.texts if one.path.is_below(illumos.STEPS) and one.mode & 0o111)
        script = illumos.start_script(illumos.start_command(start), steps)
        yield Made(illumos.RC, 0o755, 0, 0, script.encode(), Reason("start", start.where))
        # The source's runs programs at boot that only a zone with all of its package has.
        chosen = draft.text(draft.shipped(illumos.INITTAB)) if illumos.INITTAB in draft.nodes else ""
        inittab = illumos.with_start(chosen, illumos.RC)
        yield Made(
            illumos.INITTAB,
            0o644,
            0,
            0,
            inittab.encode("utf-8", "surrogateescape"),
            Reason("start", start.where),
        )

    def always(self, tops: tuple[RootPath, ...]) -> tuple[RootPath, ...]:
        """All: platform.xml, the same for all zones of the brand, mounts them."""
        return tops

    def check(self, entries: Iterable[Entry]) -> None:
        """Zoneadmd mounts on plain directories and files only."""
        illumos.refuse_odd_mount_points(entries)


class Literal:
    """A zone of mvi's lists: they are taken at their word, and say themselves how it starts."""

    name = "illumos"
    keeping = accounts.ILLUMOS

    def programs(self, profile: Profile) -> Iterator[Program]:
        """Yield nothing."""
        return iter(())

    def data(self, profile: Profile, draft: Draft) -> Iterator[Named]:
        """Yield nothing."""
        return iter(())

    def made(self, profile: Profile, draft: Draft) -> Iterator[Made]:
        """Yield nothing."""
        return iter(())

    def always(self, tops: tuple[RootPath, ...]) -> tuple[RootPath, ...]:
        """All, as for every illumos zone."""
        return tops

    def check(self, entries: Iterable[Entry]) -> None:
        """Nothing is refused that zmvix.sh would make."""
