"""The real command line in a forked child that is killed at its N-th change of anything outside of it.

What changes something is told by Python itself (audit hooks: who goes around the one mutator is seen too),
by the one mutator for what Python does not audit (bytes written, syncs), and by the system calls of mounts.
"""

import importlib
import io
import os
import pickle
import pkgutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import partialroot
from partialroot import cli
from partialroot.host.linux import syscalls
from partialroot.source import memory
from partialroot.zone import fs

AUDITED = frozenset(
    f"os.{name}"
    for name in (
        *("mkdir", "rmdir", "link", "symlink", "rename", "remove", "truncate"),
        *("chmod", "chown", "utime", "setxattr", "removexattr", "mknod"),
    )
)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
LAZY = ("concurrent.futures", "ctypes", "hashlib", "json", "tomllib", "traceback")
UNAUDITED = frozenset({"write", "copy", "clone", "subvolume", "snapshot", "fsync", "syncfs"})
MOUNTING = ("open_tree", "mount_setattr", "move_mount", "unmount")
DEFECT = 70

Point = tuple[str, str]
"""An effect's name and what it is about."""
Act = Callable[[int, Point], None]
"""What is done in place of an effect: given its number (from 0) and what it is."""


class Ran(NamedTuple):
    """How a command ended: its wait status, what it printed, and every effect it had or was about to have."""

    status: int
    out: str
    err: str
    points: list[Point]

    @property
    def code(self) -> int:
        """The exit code; fails if it was killed, or had a defect."""
        assert os.WIFEXITED(self.status), f"killed by {os.WTERMSIG(self.status)}"
        code = os.WEXITSTATUS(self.status)
        assert code != DEFECT, self.err
        return code


def warm_up() -> None:
    """Import all that a command may import: a child that dies in milliseconds must not do it each time."""
    for module in pkgutil.walk_packages(partialroot.__path__, "partialroot."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in LAZY:
        importlib.import_module(name)


class Running(NamedTuple):
    """A command under way: its process, and the files it prints and tells its effects to."""

    pid: int
    out: int
    err: int
    seen: int

    def end(self) -> Ran:
        """Wait until it ended."""
        status = os.waitpid(self.pid, 0)[1]
        out, err, seen = (_content(fd) for fd in (self.out, self.err, self.seen))
        return Ran(status, out.decode(), err.decode(), list(_unpickled(seen)))

    def kill(self) -> None:
        """Kill it and wait for that."""
        os.kill(self.pid, signal.SIGKILL)
        self.end()


def begin(*words: str | Path, act: Act | None = None) -> Running:
    """Start ``partialroot WORDS`` in a child that does ``act`` in place of each of its effects."""
    out, err, seen = (os.memfd_create(name) for name in ("out", "err", "seen"))
    child = os.fork()
    if child == 0:
        _become_command(out, err)
        _watch(seen, act)
        _main([str(word) for word in words])
    return Running(child, out, err, seen)


def run(*words: str | Path, act: Act | None = None) -> Ran:
    """The same, to its end."""
    return begin(*words, act=act).end()


@contextmanager
def stopped_at(number: int, *words: str | Path) -> Iterator[Running]:
    """Give a command that has stopped at its effect ``number``; it goes on with SIGCONT, or is killed."""

    def act(count: int, _: Point) -> None:
        if count == number:
            os.kill(os.getpid(), signal.SIGSTOP)

    running = begin(*words, act=act)
    assert os.WIFSTOPPED(os.waitpid(running.pid, os.WUNTRACED)[1]), "it did not stop"
    try:
        yield running
    finally:
        with suppress(ProcessLookupError, ChildProcessError):
            running.kill()


def killed_at(number: int, point: Point, *words: str | Path) -> None:
    """Run a command that is killed at its effect ``number``, ``point``; fails if it did not die there."""

    def act(count: int, _: Point) -> None:
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)

    ran = run(*words, act=act)
    assert os.WIFSIGNALED(ran.status), f"it did not die at {number} {point}, but said {ran.out}{ran.err}"
    assert os.WTERMSIG(ran.status) == signal.SIGKILL
    assert len(ran.points) == number + 1
    assert ran.points[-1][0] == point[0]  # what it is about may be a name drawn by lot


def failing_at(number: int, error: int, *words: str | Path) -> Ran:
    """Run a command whose effect ``number`` fails with an errno."""

    def act(count: int, point: Point) -> None:
        if count == number:
            raise OSError(error, os.strerror(error), point[1] or None)

    return run(*words, act=act)


# --- in the child -------------------------------------------------------------------------------------


def _become_command(out: int, err: int) -> None:
    """Print to two files, and leave no byte code behind.

    Files are never old enough to be remembered: else it would depend on the time what effects there are.
    """
    os.dup2(out, 1)
    os.dup2(err, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
    sys.dont_write_bytecode = True
    memory.RECENT_NS = sys.maxsize


def _watch(seen: int, act: Act | None) -> None:
    """Write each effect to ``seen`` before it happens, then do ``act``."""
    count, acting = 0, False

    def tell(name: str, what: object) -> None:
        nonlocal count, acting
        if acting:  # it is ``act`` that does this
            return
        point = (name, os.fsdecode(what) if isinstance(what, str | bytes | Path) else "")
        os.write(seen, pickle.dumps(point))
        count += 1
        if act is not None:
            acting = True
            try:
                act(count - 1, point)
            finally:
                acting = False

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event in AUDITED or (event == "open" and (arguments[2] or 0) & WRITING):
            tell(event, arguments[0])

    def observe(name: str, path: str) -> None:
        if name in UNAUDITED:
            tell(name, path)

    for name in MOUNTING:
        setattr(syscalls, name, _telling(name, tell))
    fs.observe = observe
    sys.addaudithook(audit)


def _telling(name: str, tell: Callable[[str, object], None]) -> Callable[..., Any]:
    call = getattr(syscalls, name)

    def told(*arguments: Any) -> Any:
        tell(name, "")
        return call(*arguments)

    return told


def _main(words: list[str]) -> None:
    try:
        code = cli.main(words)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else DEFECT
    except BaseException:
        import traceback

        traceback.print_exc()
        code = DEFECT
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


# --- in the parent ------------------------------------------------------------------------------------


def _content(fd: int) -> bytes:
    with open(fd, "rb") as file:
        file.seek(0)
        return file.read()


def _unpickled(data: bytes) -> Iterator[Point]:
    file = io.BytesIO(data)
    while True:
        try:
            yield pickle.load(file)
        except EOFError:
            return


@contextmanager
def same_second(monkeypatch: Any) -> Iterator[None]:
    """Let every command run at the same time of day, so that what it writes can be compared.

    Then all files are new and none is remembered: that would be one more effect, from some moment on.
    """
    with monkeypatch.context() as patch:
        patch.setattr("partialroot.zone.site.time.time", lambda: 1e9)
        patch.setattr("partialroot.source.memory.RECENT_NS", 1 << 63)
        yield
