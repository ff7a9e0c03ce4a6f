"""Running a function in a child process with fewer rights: as another user, in namespaces of its own."""

import ctypes
import os
import pickle
import signal
import struct
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
CAP_SYS_ADMIN, CAPABILITY_VERSION_3 = 21, 0x20080522
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 1, 22, 38, 2
RET_ERRNO, RET_ALLOW = 0x50000, 0x7FFF0000
NOBODY = 65534

_libc = ctypes.CDLL(None, use_errno=True)

T = TypeVar("T")


def in_child(prepare: Callable[[], None], work: Callable[[], T]) -> T:
    """Return what ``work`` returns in a forked child, after ``prepare`` there.

    The child is this program as it is: nothing is executed, so nothing needs to be readable for it.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            prepare()
            answer: tuple[bool, T | str] = (True, work())
        except BaseException:
            answer = (False, traceback.format_exc())
        with os.fdopen(writer, "wb") as pipe:
            pickle.dump(answer, pipe)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    worked, result = pickle.loads(said)
    assert worked, result
    return result  # type: ignore[no-any-return]


def children() -> set[int]:
    """Return our children, with the dead that nobody waited for; some may be of other tests."""
    return {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


@contextmanager
def beside(prepare: Callable[[], None], work: Callable[[], object]) -> Iterator[int]:
    """Let ``work`` run in a forked child once it did ``prepare``; give its pid, and kill it at the end."""
    ready, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            die_with_parent()
            prepare()
            os.write(tell, b"1")
            work()
        finally:
            os._exit(1)
    os.close(tell)
    try:
        assert os.read(ready, 1), "the child could not prepare"
        yield pid
    finally:
        os.close(ready)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def die_with_parent() -> None:
    """Be killed when the parent ends, however it does."""
    _check(_libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL))


def as_nobody() -> None:
    """Become a user without any rights."""
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


def in_user_namespace() -> None:
    """Become root of a user namespace in which there is only one user; the mounts stay the outside's."""
    uid, gid = os.geteuid(), os.getegid()
    _unshare(CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1")


def in_user_and_mount_namespace() -> None:
    """As above, with a mount namespace that is its own: the outside's mounts in it are locked."""
    in_user_namespace()
    _unshare(CLONE_NEWNS)


def in_mount_namespace() -> None:
    """Have a mount namespace of one's own, with the same propagation."""
    _unshare(CLONE_NEWNS)


def without_sys_admin() -> None:
    """Lose CAP_SYS_ADMIN and nothing else."""
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; the low words, then the high ones
    _check(_libc.capget(header, sets))
    for index in range(3):
        sets[index] &= ~(1 << CAP_SYS_ADMIN)
    _check(_libc.capset(header, sets))


def without_syscall(number: int, error: int) -> None:
    """Have a system call fail, as a container's seccomp filter makes it fail; all others work."""
    load, equal, answer = 0x20, 0x15, 0x06  # BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ|BPF_K, BPF_RET|BPF_K
    program = [
        (load, 0, 0, 0),
        (equal, 0, 1, number),
        (answer, 0, 0, RET_ERRNO | error),
        (answer, 0, 0, RET_ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in program))
    filter_ = struct.pack("@HP", len(program), ctypes.addressof(code))
    _check(_libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _check(_libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filter_, 0, 0))


def _unshare(flags: int) -> None:
    _check(_libc.unshare(flags))


def _check(failed: int) -> None:
    if failed:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class Meeting:
    """Where this process and one that it forks wait for each other, once."""

    def __init__(self) -> None:
        self._first = os.getpid()
        self._pipes = [os.pipe(), os.pipe()]
        self._met = False

    def __call__(self) -> None:
        """Return when the other process has called it, too."""
        if not self._met:
            self._met = True
            own, other = self._pipes if os.getpid() == self._first else reversed(self._pipes)
            os.write(own[1], b"x")
            os.read(other[0], 1)

    def close(self) -> None:
        """Give its descriptors back."""
        for descriptor in (one for pipe in self._pipes for one in pipe):
            os.close(descriptor)
