"""Run a command, or follow a process, under the system's tracer: strace on Linux, truss on illumos.

The traced processes are those whose tracer it is, wherever they went: they are stopped one by one by number,
never by name or group, and nothing else is signalled. illumos does not tell who traces whom: there a process
that left the tracer's session goes on, untraced.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from signal import SIGKILL, SIGTERM
from time import monotonic, sleep
from typing import TYPE_CHECKING, NamedTuple

from partialroot.errors import TraceError
from partialroot.host import local
from partialroot.learn import strace, truss
from partialroot.learn.calls import Call

if TYPE_CHECKING:
    from subprocess import Popen

GRACE = 5.0  # seconds from SIGTERM to SIGKILL
ATTACHING = 10.0  # seconds
PAUSE = 0.02
_LISTENED = re.compile(rb"\blisten(?:\(| resumed>)[^\n]*\)\s*= 0")
_ALLOW = "run it as root; a container needs the capability SYS_PTRACE, and kernel.yama.ptrace_scope at most 2"


class Tracer(NamedTuple):
    """A tracer: its name, who supplies it, and the words before a command or a process's number."""

    name: str
    remedy: str
    run: Sequence[str]
    attach: Sequence[str]


# --seccomp-bpf stops processes only for the calls that are traced: ten times faster, Linux 4.14 and later.
STRACE = Tracer(
    "strace",
    "as root: apt install strace",
    ("-f", "-y", "--seccomp-bpf", "-e", f"trace={strace.CALLS}", "-o"),
    ("-f", "-y", "-e", f"trace={strace.CALLS}", "-o"),
)
TRUSS = Tracer(
    "truss",
    "it belongs to the system's developer tools",
    ("-f", "-t", truss.CALLS, "-v", truss.VERBOSE, "-o"),
    ("-f", "-t", truss.CALLS, "-v", truss.VERBOSE, "-o"),
)


def tracer() -> Tracer:
    """Return this system's tracer."""
    return TRUSS if local.is_illumos() else STRACE


class Watched:
    """Processes under a tracer, until they end or are stopped."""

    def __init__(self, process: "Popen[bytes]", scratch: Path) -> None:
        self._process = process
        self._file = scratch / "trace"
        self._said = scratch / "said"
        self._seen = 0
        self._listening = False

    def calls(self) -> Iterator[Call]:
        """Yield the calls that have been traced so far."""
        with (
            suppress(FileNotFoundError),
            self._file.open(encoding="utf-8", errors="surrogateescape") as lines,
        ):
            yield from (truss if tracer() is TRUSS else strace).calls(lines)

    def is_listening(self) -> bool:
        """Whether a process listens, or did; only what came since the last time is looked at."""
        if not self._listening:
            with self._file.open("rb") as lines:
                lines.seek(self._seen)
                new = lines.read()
            whole = new.rfind(b"\n") + 1
            self._seen += whole
            self._listening = _LISTENED.search(new, 0, whole) is not None
        return self._listening

    @property
    def code(self) -> int | None:
        """How the command ended, as a shell has it; None while anything of it runs."""
        code = self._process.poll()
        return code if code is None or code >= 0 else 128 - code

    def is_in_background(self) -> bool:
        """Whether the command itself has ended, and something that it started goes on."""
        first, living = next(self.calls(), None), self.traced()
        return first is not None and bool(living) and first.process not in living

    def last_words(self) -> str:
        """Return the last lines that the tracer and the processes printed, joined by `` | ``."""
        with self._said.open("rb") as said:
            said.seek(max(0, self._said.stat().st_size - 2000))
            lines = said.read().decode("utf-8", "replace").split("\n")
        return " | ".join([line.strip() for line in lines if line.strip()][-5:])

    def stop(self, grace: float = GRACE) -> None:
        """End all traced processes, and wait for the tracer to have written everything."""
        end = monotonic() + grace
        signal(self.traced(), SIGTERM)
        while self._process.poll() is None:
            if monotonic() > end:
                signal(self.traced() or (self._process.pid,), SIGKILL)
            sleep(PAUSE)

    def finish(self) -> None:
        """Wait for a tracer whose processes are gone; it leaves those that are not."""
        from subprocess import TimeoutExpired

        try:
            self._process.wait(GRACE)
        except TimeoutExpired:
            self._process.terminate()
            self._process.wait()

    def traced(self) -> tuple[int, ...]:
        """Return the numbers of the processes that are traced; on illumos, those of the tracer's session."""
        if local.is_illumos():
            from partialroot.host.illumos.processes import session_of

            return session_of(self._process.pid)
        wanted = f"TracerPid:\t{self._process.pid}\n"
        found = []
        for name in filter(str.isdecimal, os.listdir("/proc")):
            with suppress(OSError):
                if wanted in Path(f"/proc/{name}/status").read_text(errors="replace"):
                    found.append(int(name))
        return tuple(found)


def signal(processes: Sequence[int], number: int) -> None:
    """Send a signal to processes; those that have ended meanwhile do not matter."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, number)


@contextmanager
def running(command: Sequence[str], environment: Mapping[str, str]) -> Iterator[Watched]:
    """Run a command under the tracer, with nothing to read; what is left of it is killed at the end.

    Raises TraceError when there is no tracer, or it may not trace.
    """
    with _scratch() as scratch:
        watched = _start((*tracer().run, str(scratch / "trace"), "--", *command), scratch, environment)
        try:
            _check_begin(watched)
            yield watched
        finally:
            watched.stop(0)


@contextmanager
def following(process: int) -> Iterator[Watched]:
    """Follow a process that runs, and all it starts, without stopping it at the end. Raises TraceError."""
    with _scratch() as scratch:
        words = (*tracer().attach, str(scratch / "trace"), "-p", str(process))
        watched = _start(words, scratch, dict(os.environ))
        try:
            _check_attached(watched)
            yield watched
        finally:
            watched.finish()


@contextmanager
def _scratch() -> Iterator[Path]:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="partialroot-trace-") as name:
        yield Path(name)


def _start(words: Sequence[str], scratch: Path, environment: Mapping[str, str]) -> Watched:
    from shutil import which
    from subprocess import DEVNULL, STDOUT, Popen

    program = which(tracer().name)
    if program is None:
        raise TraceError(f"{tracer().name} is not installed", hint=tracer().remedy)
    with (scratch / "said").open("wb") as said:
        started = Popen(
            [program, *words],
            stdin=DEVNULL,
            stdout=said,
            stderr=STDOUT,
            env=dict(environment),
            start_new_session=True,
        )
    return Watched(started, scratch)


def _check_begin(watched: Watched) -> None:
    """Wait until the command runs; a tracer that may not trace ends before it has written anything."""
    while next(watched.calls(), None) is None:
        if watched.code is not None and next(watched.calls(), None) is None:
            raise TraceError(f"{tracer().name} cannot trace here: {watched.last_words()}", hint=_ALLOW)
        sleep(PAUSE)


def _check_attached(watched: Watched) -> None:
    end = monotonic() + ATTACHING
    while "attached" not in watched.last_words():
        if watched.code is not None or monotonic() > end:
            raise TraceError(f"{tracer().name} cannot trace here: {watched.last_words()}", hint=_ALLOW)
        sleep(PAUSE)
