"""learn: run a command under watch, and write the profile of a zone that can run it."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from partialroot.errors import ApplyError, BootError, Missing, ProfileError, UsageError
from partialroot.host import tracing
from partialroot.host.probes import check
from partialroot.learn import strace, truss
from partialroot.learn.interpret import interpret
from partialroot.learn.lesson import (
    Known,
    Lesson,
    Source,
    file_lines,
    name_lines,
    only_loopback,
    own_directories,
    pam_services,
    program_lines,
    rest,
    start,
)
from partialroot.learn.needs import needs
from partialroot.learn.propose import Line
from partialroot.learn.trace import Trace, united
from partialroot.learn.wording import Learned, added, written
from partialroot.model import Selection
from partialroot.paths import STANDARD_PATH
from partialroot.pipeline.choosing import library, select_profile
from partialroot.pipeline.exercise import Exercise, exercise
from partialroot.pipeline.opening import packages_of
from partialroot.pipeline.sources import Options, open_tree, platform_name
from partialroot.plan.policy import Excludes, shared_tops
from partialroot.plan.wishes import named_literally
from partialroot.profiles.toml import parse_profile
from partialroot.source.programs import find_program

_LIMIT = 256 << 20  # bytes of a trace made elsewhere


class Wish(NamedTuple):
    """What to run, and how it is exercised; ``traces`` are files of runs that were traced elsewhere.

    ``uses`` are profiles to build on, ``merge`` is the file of one to add to. ``secrets`` says that those it
    reads are wanted.
    """

    command: tuple[str, ...] = ()
    exercise: Exercise = Exercise()
    traces: tuple[Path, ...] = ()
    uses: tuple[str, ...] = ("base",)
    merge: Path | None = None
    secrets: bool = False


class Run(NamedTuple):
    """What was run, where, what that showed, and whether it put itself into the background."""

    command: tuple[str, ...]
    directory: str
    trace: Trace
    background: bool = False


class Result(NamedTuple):
    """A profile's text, the text it was added to, what was learned for it, and what to tell."""

    text: str
    before: str | None
    learned: Learned
    trace: Trace
    secrets: tuple[str, ...]
    missing: tuple[Missing, ...]
    warnings: tuple[str, ...]


def learn(options: Options, wish: Wish, name: str) -> Result:
    """Run and learn; ``name`` is the file that the profile is for.

    Raises UsageError, TraceError, BootError (the command ended, or no probe succeeded), and every refusal of
    a selection.
    """
    check(wish.exercise.probes)
    if not wish.command and not wish.traces:
        raise UsageError(
            "there is nothing to learn from", hint="learn --out FILE -- COMMAND, or --trace FILE"
        )
    command = _found(options, wish.command)
    traces = [_read(path) for path in wish.traces]
    background = False
    if command:
        trace, background = _trace(command, wish)
        traces.append(trace)
    run = Run(command, os.getcwd(), united(traces), background)
    return _Study(options, wish, run, name).result()


def _found(options: Options, command: tuple[str, ...]) -> tuple[str, ...]:
    """Return a command with its program's absolute path, found as a zone will find it."""
    if not command:
        return ()
    if options.source != Path("/"):
        raise UsageError(
            "a command runs on this system only", hint="leave --source out, or give --trace FILE"
        )
    program = command[0]
    if "/" in program:
        path = os.path.abspath(program)
        if not os.access(path, os.X_OK) or os.path.isdir(path):
            raise UsageError("it is no program that can be run", path=program)
        return (path, *command[1:])
    found = find_program(open_tree(options), program)
    if found is None:
        where = ":".join(STANDARD_PATH)
        raise UsageError(f"no program is called {program!r} in {where}", hint="give its path")
    return (str(found), *command[1:])


def environment() -> dict[str, str]:
    """Return the environment of a zone's first process: in another, something else would be learned."""
    import pwd

    return {"PATH": ":".join(STANDARD_PATH), "HOME": pwd.getpwuid(os.geteuid()).pw_dir}


def _trace(command: tuple[str, ...], wish: Wish) -> tuple[Trace, bool]:
    """Run the command until it was exercised, and tell whether it went into the background.

    An interrupt from the keyboard ends it, and is no failure.
    """
    with tracing.running(command, environment()) as watched:

        def gone() -> str:
            return "" if watched.code is None else f"exit code {watched.code}: {watched.last_words()}"

        with suppress(KeyboardInterrupt):
            exercise(watched, wish.exercise, gone)
        if watched.code:
            raise BootError(
                f"it ended with exit code {watched.code}: {watched.last_words() or 'it said nothing'}",
                path=command[0],
                hint="a zone gives it no environment but PATH and HOME: say env NAME=VALUE before it",
            )
        background = watched.is_in_background()
        watched.stop()
        return interpret(watched.calls(), directory=os.getcwd()), background


def _read(path: Path) -> Trace:
    """Return a trace that strace or truss wrote: the latter has a tab behind each process's number."""
    try:
        with path.open(encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read(_LIMIT).splitlines(keepends=True)
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", path=str(path)) from None
    of_truss = any(":\t" in line[:20] for line in lines[:50])
    trace = interpret((truss if of_truss else strace).calls(lines))
    if not trace.lookups:
        raise UsageError("it is no trace of strace -f -y, or of truss -f", path=str(path))
    return trace


class _Study:
    """One trace and one profile, on the way to what is needed and not there yet."""

    def __init__(self, options: Options, wish: Wish, run: Run, name: str) -> None:
        self._options, self._wish, self._run, self._name = options, wish, run, name
        self._tree = open_tree(options)
        self._platform = platform_name(options, self._tree)
        self._library = library(options)
        tops = shared_tops(self._platform, self._tree.lstat)
        self._source = Source(self._tree, packages_of(self._tree), tops)
        self._needs = needs(run.trace, self._tree, tops)
        self._before = _profile_text(wish.merge) if wish.merge else None
        title = run.command[0].rpartition("/")[2] if run.command else "what was traced"
        self._learned = Learned(f"{title}, as it was seen to run", wish.uses)
        self._selected: tuple[str, Selection, Known] | None = None

    def result(self) -> Result:
        """Return the profile: what it brings is selected after each step, and only the rest is added."""
        self._begin()
        own = own_directories(self._run.command, self._run.directory, self._needs, self._tree)
        for libraries in (False, True):
            self._add(file_lines(self._needs, self._known, self._source, own, libraries=libraries))
        self._add(name_lines(self._needs, self._known, self._source))
        lesson = rest(self._run.trace, self._needs, self._known, self._source, secrets=self._wish.secrets)
        self._add(lesson.lines)
        self._learned = self._learned._replace(places=lesson.places, remarks=lesson.remarks)
        text, selection, _ = self._select()
        return Result(
            text=text,
            before=self._before,
            learned=self._learned,
            trace=self._run.trace,
            secrets=lesson.secrets,
            missing=selection.missing,
            warnings=(*self._warnings(lesson), *selection.warnings),
        )

    def _begin(self) -> None:
        """Say what there is to say of programs and the start; to a profile that is there, what that lacks."""
        run = self._run
        first = run.command[0] if run.command and self._before is None else None
        self._add(tuple(program_lines(self._needs, self._known, self._tree, first)))
        if self._before is None:
            words, parameters = start(run.command, run.directory, self._needs, run.trace, self._platform)
            pam = tuple(pam_services(self._needs, self._known))
            self._learned = self._learned._replace(pam=pam, parameters=parameters, command=words)

    def _add(self, lines: tuple[Line, ...]) -> None:
        self._learned = self._learned._replace(lines=(*self._learned.lines, *lines))

    @property
    def _known(self) -> Known:
        """What the profile brings as far as it is learned."""
        return self._select()[2]

    def _select(self) -> tuple[str, Selection, Known]:
        """Return the profile's text, what that selects, and what it says."""
        learned, before = self._learned, self._before
        text = written(learned) if before is None else added(before, learned, self._name)
        if self._selected is None or self._selected[0] != text:
            own = parse_profile(text, "learned", self._name)
            profile = self._library.complete([own], {})
            selection = select_profile(
                self._options, profile, ("learned",), self._tree, self._source.packages
            )
            # What only those exclude that it uses, it may name all the same (profiles.compose).
            excludes = Excludes(self._tree, own.exclude, named_literally(own))
            paths = frozenset(entry.path for entry in selection.entries)
            filled = frozenset(one.path for one in own.directories if one.mode is not None)
            self._selected = text, selection, Known(paths, profile, excludes, filled)
        return self._selected

    def _warnings(self, lesson: Lesson) -> Iterator[str]:
        trace = self._run.trace
        if self._run.background:
            yield "it puts itself into the background: a zone ends with its first process, so say it must not"
        if only_loopback(trace):
            at = ", ".join(sorted(f"{one.address}:{one.port}" for one in trace.listening))
            yield f"it listens at {at} only: nobody outside of a zone reaches it there"
        verb = "copied, as --secrets says" if self._wish.secrets else "left out, as it is a secret"
        yield from (f"{path} is {verb}" for path in lesson.secrets)


def _profile_text(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except OSError as error:
        raise ProfileError(f"cannot be read: {error.strerror}", path=str(path)) from None
    except UnicodeDecodeError:
        raise ProfileError("not UTF-8", path=str(path)) from None


def save(path: Path, text: str) -> bool:
    """Write a profile's file, as a whole or not at all; return whether that changed anything.

    Raises ApplyError where it cannot be written.
    """
    from tempfile import NamedTemporaryFile

    try:
        if path.exists() and path.read_bytes() == text.encode():
            return False
        with NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
            file.write(text)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(file.name, 0o644 & ~umask)
        os.replace(file.name, path)
    except OSError as error:
        raise ApplyError(f"cannot be written: {error.strerror}", path=str(path)) from None
    return True
