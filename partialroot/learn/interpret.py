"""From system calls to a trace: which paths they ask for, wherever a process is, and whoever it became."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from partialroot.learn.calls import Call, decoded, string
from partialroot.learn.trace import Listening, Lookup, Trace, Use


class _Path(NamedTuple):
    """Which argument of a call is a path, what for, and which descriptor it is relative to."""

    at: int
    use: Use
    base: int | None = None


def _plain(use: Use, *names: str) -> dict[str, tuple[_Path, ...]]:
    return dict.fromkeys(names, (_Path(0, use),))


def _at(use: Use, *names: str) -> dict[str, tuple[_Path, ...]]:
    return dict.fromkeys(names, (_Path(1, use, 0),))


_TWO = (_Path(0, Use.WRITE), _Path(1, Use.WRITE))
_TWO_AT = (_Path(1, Use.WRITE, 0), _Path(3, Use.WRITE, 2))

_PATHS: Mapping[str, tuple[_Path, ...]] = {
    **_plain(Use.EXEC, "execve", "exec", "uselib"),
    **_at(Use.EXEC, "execveat"),
    **_plain(Use.READ, "open", "open64"),
    **_at(Use.READ, "openat", "openat64", "openat2"),
    **_plain(Use.LOOK, "stat", "lstat", "stat64", "lstat64", "access", "readlink", "statfs", "statfs64"),
    **_plain(Use.LOOK, "getxattr", "lgetxattr", "listxattr", "llistxattr", "resolvepath", "chdir", "chroot"),
    **_at(Use.LOOK, "newfstatat", "fstatat64", "fstatat", "statx", "faccessat", "faccessat2", "readlinkat"),
    **_at(Use.LOOK, "inotify_add_watch", "name_to_handle_at"),
    **_plain(Use.WRITE, "creat", "creat64", "mkdir", "mknod", "unlink", "rmdir", "chmod", "chown", "lchown"),
    **_plain(Use.WRITE, "truncate", "truncate64", "utime", "utimes", "setxattr", "lsetxattr", "removexattr"),
    **_at(Use.WRITE, "mkdirat", "mknodat", "unlinkat", "fchmodat", "fchmodat2", "fchownat", "utimensat"),
    "rename": _TWO,
    "renameat": _TWO_AT,
    "renameat2": _TWO_AT,
    "link": (_Path(0, Use.LOOK), _Path(1, Use.WRITE)),
    "linkat": (_Path(1, Use.LOOK, 0), _Path(3, Use.WRITE, 2)),
    "symlink": (_Path(1, Use.WRITE),),
    "symlinkat": (_Path(2, Use.WRITE, 1),),
}
_OPENING = {"open": 1, "open64": 1, "openat": 2, "openat64": 2, "openat2": 2}
_FORKING = frozenset({"fork", "vfork", "forkx", "clone", "clone3"})
_USERS: Mapping[str, slice] = {
    **dict.fromkeys(("setuid", "setreuid", "setresuid"), slice(0, 3)),
    **dict.fromkeys(("chown", "lchown", "fchown"), slice(1, 2)),
    "fchownat": slice(2, 3),
}
_GROUPS: Mapping[str, slice] = {
    **dict.fromkeys(("setgid", "setregid", "setresgid"), slice(0, 3)),
    **dict.fromkeys(("chown", "lchown", "fchown"), slice(2, 3)),
    "fchownat": slice(3, 4),
}
_WRITING = re.compile(r"\bO_(?:WRONLY|CREAT|TRUNC|APPEND|TMPFILE)\b")
_BOTH = re.compile(r"\bO_RDWR\b")
_NUMBER = re.compile(r"\d+")
_CHILD = re.compile(r"(\d+)")
_INET = re.compile(r'port=htons\((\d+)\).*?(?:inet_addr\("|inet_pton\(AF_INET6, ")([^"]*)"')
_UNIX = re.compile(r'sa_family=AF_UNIX, sun_path=("(?:[^"\\]|\\.)*")')
# Errors of who has found something, but not what it wanted; EINVAL is readlink's for what is no symlink.
_THERE = frozenset({"EEXIST", "EISDIR", "ENOTEMPTY"})
_NOBODY = 2**32 - 1  # "leave it as it is", chown(2)


@dataclass
class _Process:
    """What is known of a process: what it runs, where it is, which directories its descriptors are."""

    program: str
    directory: str
    inside: bool
    files: dict[int, str] = field(default_factory=dict)


class _Reader:
    """A trace while it grows. ``inside`` is False until the processes have gone where they are watched."""

    def __init__(self, program: str, directory: str, entered: str | None, root: str) -> None:
        # Whom a process without a known parent is taken for: the first, then whoever called last.
        self._last = _Process(program, directory, entered is None)
        self._directory = directory
        self._entered = entered
        self._root = root
        self._processes: dict[int, _Process] = {}
        self._bound: dict[tuple[int, str], Listening] = {}
        self.lookups: list[Lookup] = []
        self.listening: set[Listening] = set()
        self.sockets: set[str] = set()
        self.relative: set[str] = set()
        self.uids: set[int] = set()
        self.gids: set[int] = set()

    def take(self, call: Call) -> None:
        process = self._processes.get(call.process)
        if process is None:
            process = self._processes[call.process] = self._copy(self._last)
        self._last = process
        if call.name in _FORKING:
            self._fork(process, call)
        if call.name in _PATHS:
            self._paths(process, call)
        if not call.error:
            self._state(process, call)
            if process.inside:
                self._identity(call)
                self._network(call)

    def _paths(self, process: _Process, call: Call) -> None:
        for path in _PATHS[call.name]:
            text = self._path(process, call, path)
            if text is None:
                continue
            if process.inside:
                uses, error = _uses(call, path.use)
                self.lookups += (Lookup(text, use, error, process.program, call.process) for use in uses)
            if path.use is Use.EXEC and not call.error:
                self._execute(process, call, text)

    def _path(self, process: _Process, call: Call, path: _Path) -> str | None:
        """Return the absolute path; None if it is empty (a descriptor itself is meant) or cannot be known."""
        text = string(call.arguments[path.at]) if path.at < len(call.arguments) else None
        if not text or text.startswith("/"):
            return _tidy(text) if text else None
        base = self._base(process, call, path.base)
        if base is None:
            return None
        whole = _tidy(f"{base}/{text}")
        if base == self._directory:
            self.relative.add(whole)
        return whole

    def _base(self, process: _Process, call: Call, base: int | None) -> str | None:
        if base is None:
            return process.directory
        argument = call.arguments[base]
        shown = self._decoded(argument)
        if shown is not None or argument.startswith("AT_FDCWD"):
            return shown or process.directory
        number = _NUMBER.match(argument)
        return process.files.get(int(number[0])) if number else None

    def _decoded(self, argument: str) -> str | None:
        shown = decoded(argument)
        is_inside = shown is not None and self._root and f"{shown}/".startswith(f"{self._root}/")
        return shown[len(self._root) :] or "/" if shown is not None and is_inside else shown

    def _execute(self, process: _Process, call: Call, program: str) -> None:
        process.program = program
        if self._entered == "exec" and not process.inside:
            process.inside = True
            self.lookups.append(Lookup(program, Use.EXEC, "", program, call.process))

    def _fork(self, process: _Process, call: Call) -> None:
        child = _CHILD.match(call.value)
        if child and not call.error and "returning as child" not in call.value:
            self._processes.setdefault(int(child[1]), self._copy(process))

    @staticmethod
    def _copy(process: _Process) -> _Process:
        return _Process(process.program, process.directory, process.inside, dict(process.files))

    def _state(self, process: _Process, call: Call) -> None:
        """Follow where a process is, and what its descriptors are where the tracer does not say it."""
        text = string(call.arguments[0]) if call.arguments else None
        number = _NUMBER.match(call.arguments[0]) if call.arguments else None
        if call.name in ("chdir", "getcwd") and text:
            process.directory = _tidy(text if text.startswith("/") else f"{process.directory}/{text}")
        elif call.name == "fchdir" and number:
            there = self._decoded(call.arguments[0]) or process.files.get(int(number[0]))
            process.directory = there or process.directory
        elif call.name in ("chroot", "pivot_root") and self._entered == "chroot":
            self._entered = "exec"
        elif call.name == "close" and number:
            process.files.pop(int(number[0]), None)
        elif call.name in _OPENING and (opened := _NUMBER.match(call.value)):
            path = self._path(process, call, _PATHS[call.name][0])
            if path is not None:
                process.files[int(opened[0])] = path

    def _identity(self, call: Call) -> None:
        for known, found in ((_USERS, self.uids), (_GROUPS, self.gids)):
            if call.name in known:
                numbers = (word for word in call.arguments[known[call.name]] if word.isdecimal())
                found |= {int(word) for word in numbers if len(word) < 11} - {_NOBODY}

    def _network(self, call: Call) -> None:
        if call.name not in ("bind", "listen", "connect") or not call.arguments:
            return
        socket = (call.process, call.arguments[0])
        text = " ".join(call.arguments[1:])
        unix, inet = _UNIX.search(text), _INET.search(text)
        if call.name == "listen":
            self.listening |= {one for key, one in self._bound.items() if key[1] == socket[1]}
        elif call.name == "bind" and inet:
            self._bound[socket] = Listening(inet[2], int(inet[1]))
        elif unix and (path := string(unix[1])) and path.startswith("/"):
            if call.name == "connect":
                self.sockets.add(path)
            else:
                program = self._processes[call.process].program
                self.lookups.append(Lookup(_tidy(path), Use.WRITE, "", program, call.process))

    def trace(self) -> Trace:
        return Trace(
            lookups=tuple(self.lookups),
            listening=frozenset(self.listening),
            sockets=frozenset(self.sockets),
            relative=frozenset(self.relative),
            uids=frozenset(self.uids),
            gids=frozenset(self.gids),
            processes=len(self._processes),
        )


def _uses(call: Call, use: Use) -> tuple[tuple[Use, ...], str]:
    """Return what a call is about, and its error; one that refuses to make what is there has found it."""
    if call.error in _THERE or (call.error == "EINVAL" and call.name.startswith("readlink")):
        return (Use.LOOK,), ""
    if call.name not in _OPENING:
        return (use,), call.error
    flags = " ".join(call.arguments[_OPENING[call.name] :])
    creating = _WRITING.search(flags)
    if _BOTH.search(flags):
        return ((Use.WRITE,) if creating else (Use.READ, Use.WRITE)), call.error
    return ((Use.WRITE,) if creating else (use,)), call.error


def _tidy(path: str) -> str:
    """Return an absolute path without doubled slashes and ``.``; ``..`` stays, it may follow a symlink."""
    return "/" + "/".join(_parts(path))


def _parts(path: str) -> Iterator[str]:
    return (part for part in path.split("/") if part not in ("", "."))


def interpret(
    calls: Iterable[Call],
    *,
    program: str = "",
    directory: str = "/",
    entered: str | None = None,
    root: str = "",
) -> Trace:
    """Return the trace of some calls.

    ``program`` and ``directory`` are those of the first process, ``root`` is what the tracer, who is outside,
    sees before the paths of descriptors. What happens before the processes are where they are to be watched
    does not count: ``entered`` is ``exec`` if that is when one executes something, ``chroot`` if that comes
    after a chroot(2) or pivot_root(2).
    """
    reader = _Reader(program, directory, entered, root)
    for call in calls:
        reader.take(call)
    return reader.trace()
