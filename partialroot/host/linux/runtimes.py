"""What can start a zone: runc, which isolates it; bwrap, which nearly does; chroot, which does not.

Each reads the same OCI configuration, starts the zone's first process, and says what it does not isolate.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from signal import SIGKILL
from typing import Any, NamedTuple, Protocol

from partialroot.errors import BootError
from partialroot.host.linux.bundle import Bundle

# The keyword arguments stdin, stdout and stderr of subprocess.Popen; None is what this process has.
Stdio = Mapping[str, int | None]

CAP_SETPCAP, CAP_SYS_CHROOT, CAP_SYS_ADMIN = 8, 18, 21  # include/uapi/linux/capability.h

HOST_NETWORK = (
    "network: the zone shares this host's, with its abstract sockets and what listens only on this host"
)


class Started(NamedTuple):
    """A zone's first process: its number here, and a function that waits for its end.

    The function returns the exit code as a shell has it: 128 and the signal, if one killed it.
    """

    pid: int
    wait: Callable[[], int]


class Runtime(Protocol):
    """A way to start a zone."""

    name: str
    own_network: bool

    def start(self, bundle: Bundle, prepare: Callable[[int], None], stdio: Stdio) -> Started:
        """Start the zone's first process.

        ``prepare`` is called with its number when its namespaces are there and its program does not
        run yet. Raises BootError; then nothing of it runs.
        """

    def losses(self, bundle: Bundle) -> tuple[str, ...]:
        """Return what is not isolated, in words."""

    def forget(self, bundle: Bundle) -> None:
        """Take away what the runtime keeps of a zone, with what still runs; nothing need be there."""


class Runc:
    """An OCI runtime: all that the configuration says."""

    name, own_network = "runc", True

    def start(self, bundle: Bundle, prepare: Callable[[int], None], stdio: Stdio) -> Started:
        """``runc create``, ``prepare``, ``runc start``: what the specification made the two for."""
        runc = _command("runc", "runc")
        pid_file, log = bundle.run / "pid", bundle.run / "runc.log"
        create = runc["--log", log, "--log-format", "json", "create", "--bundle", bundle.zonepath]
        with _adopting_orphans():
            done = create["--pid-file", pid_file, bundle.identifier].popen(new_session=True, **stdio).wait()
        if done != 0:
            raise BootError(f"runc cannot start it: {_last_message(log)}", path=str(bundle.zonepath))
        pid = int(pid_file.read_text())
        prepare(pid)
        code, _, error = runc["start", bundle.identifier].run(retcode=None)
        if code != 0:
            raise BootError(f"runc cannot start it: {error.strip()}", path=str(bundle.zonepath))
        return Started(pid, lambda: _wait(pid))

    def losses(self, bundle: Bundle) -> tuple[str, ...]:
        """Only what the profile asked for."""
        return () if "network" in bundle.namespaces else (HOST_NETWORK,)

    def forget(self, bundle: Bundle) -> None:
        """Delete the container, its cgroups, and what still runs in it."""
        with suppress(BootError):
            _command("runc", "runc")["delete", "--force", bundle.identifier].run(retcode=None)


class Bwrap:
    """Namespaces, capabilities and mounts as configured, also without root; no filter, no cgroup.

    Its mounts are made from scratch in the zone's mount namespace, so it needs none of the host's binds.
    """

    name, own_network = "bwrap", True

    def start(self, bundle: Bundle, prepare: Callable[[int], None], stdio: Stdio) -> Started:
        """Start bwrap, which waits for a byte after it has told the number of the zone's first process."""
        bwrap = _command("bwrap", "bubblewrap")
        info, tell = os.pipe()
        hold, release = os.pipe()
        try:
            arguments = ["--info-fd", tell, "--block-fd", hold, *bwrap_arguments(bundle)]
            process = bwrap.popen(arguments, new_session=True, pass_fds=(tell, hold), **stdio)
        finally:
            os.close(tell)
            os.close(hold)
        pid = 0
        try:
            pid = _told_pid(info)
            if not pid:
                process.wait()
                raise BootError(f"bwrap cannot start it: {bundle.last_words()}", path=str(bundle.zonepath))
            prepare(pid)
        except BaseException:
            if pid:
                os.kill(pid, SIGKILL)  # before the pipe is closed, which would let it go
            raise
        finally:
            os.close(release)
        return Started(pid, lambda: _exit_code(process.wait()))

    def losses(self, bundle: Bundle) -> tuple[str, ...]:
        """What the configuration asks for and bwrap cannot give."""
        network = () if "network" in bundle.namespaces else (HOST_NETWORK,)
        return (
            "system calls: none is refused (kernel keyrings, new user namespaces)",
            "resources: the zone has no cgroup of its own",
            *network,
        )

    def forget(self, bundle: Bundle) -> None:
        """It keeps nothing."""


class Chroot:
    """A root directory, and no capability that is not configured: for inspection, never for tenants."""

    name, own_network = "chroot", False

    def start(self, bundle: Bundle, prepare: Callable[[int], None], stdio: Stdio) -> Started:
        """Run the command in the root, as it is mounted on the host, when ``prepare`` has returned."""
        if not _has_capability(CAP_SYS_CHROOT):
            raise BootError("chroot needs CAP_SYS_CHROOT", hint="run it as root")
        self._check_shared(bundle)
        words = [*self._without_privileges(bundle), *_command("env", "coreutils").formulate()]
        words += ["-i", *bundle.process.get("env", ()), *_command("chroot", "coreutils").formulate()]
        words = [*_command("setpriv", "util-linux").formulate(), *words, bundle.root, *bundle.process["args"]]
        process, release = _held(words, stdio)
        try:
            prepare(process.pid)
            os.write(release, b"\n")
        except BaseException:
            process.kill()
            raise
        finally:
            os.close(release)
        return Started(process.pid, lambda: _exit_code(process.wait()))

    def losses(self, bundle: Bundle) -> tuple[str, ...]:
        """All but the files."""
        return (
            "processes: the zone sees this host's, and may kill them",
            HOST_NETWORK,
            "host name, shared memory and mounts are this host's; nothing is masked; system calls are not "
            "filtered: chroot is for inspection, never for tenants",
        )

    def forget(self, bundle: Bundle) -> None:
        """It keeps nothing."""

    @staticmethod
    def _check_shared(bundle: Bundle) -> None:
        """Raise BootError unless the shared directories are mounted: here nobody mounts them for us."""
        for source, at in bundle.shared:
            point = Path(f"{bundle.root}{at}")
            if not point.is_dir() or not os.path.samestat(point.lstat(), source.stat()):
                raise BootError(
                    "chroot needs the zone's shared directories mounted",
                    path=str(point),
                    hint=f"partialroot mount {bundle.zonepath}",
                )

    @staticmethod
    def _without_privileges(bundle: Bundle) -> Iterator[str]:
        """Yield setpriv's options: what is left to root, as far as we may take anything away."""
        if bundle.process.get("noNewPrivileges"):
            yield "--no-new-privs"
        if _has_capability(CAP_SETPCAP):
            kept = [f"+{name.removeprefix('CAP_').lower()}" for name in bundle.capabilities]
            yield f"--bounding-set={','.join(['-all', *kept])}"
        yield "--inh-caps=-all"


RUNTIMES: tuple[Runtime, ...] = (Runc(), Bwrap(), Chroot())


# --- bwrap's arguments ------------------------------------------------------------------------------


def bwrap_arguments(bundle: Bundle) -> list[str]:
    """Return the words that make bwrap do what the configuration says."""
    process = bundle.process
    words = [*_namespaces(bundle), *_file_systems(bundle), "--as-pid-1", "--new-session", "--clearenv"]
    for variable in process.get("env", ()):
        words += ["--setenv", *variable.split("=", 1)]
    words += ["--chdir", process["cwd"], "--cap-drop", "ALL"]
    for capability in bundle.capabilities:
        words += ["--cap-add", capability]
    return [*words, "--", *process["args"]]


def _namespaces(bundle: Bundle) -> Iterator[str]:
    if not _has_capability(CAP_SYS_ADMIN):
        yield from ("--unshare-user", "--uid", "0", "--gid", "0")
    yield from ("--unshare-pid", "--unshare-ipc", "--unshare-cgroup-try")
    yield from ("--unshare-uts", "--hostname", bundle.config["hostname"])
    if "network" in bundle.namespaces:
        yield "--unshare-net"


def _file_systems(bundle: Bundle) -> Iterator[str]:
    """Yield the mounts: /sys is left out, as it would be the host's."""
    yield from ("--bind", str(bundle.root), "/")
    yield from ("--proc", "/proc", "--dev", "/dev", "--mqueue", "/dev/mqueue")
    linux = bundle.config["linux"]
    for path in linux.get("readonlyPaths", ()):
        if path.startswith("/proc/"):
            yield from ("--ro-bind-try", path, path)
    for path in linux.get("maskedPaths", ()):
        if path.startswith("/proc/") and Path(path).exists():
            yield from _mask(path)
    for source, at in bundle.shared:
        yield from ("--ro-bind", str(source), at)
    if bundle.config["root"].get("readonly"):
        yield from ("--tmpfs", "/run", "--perms", "1777", "--tmpfs", "/tmp", "--remount-ro", "/")  # noqa: S108


def _mask(path: str) -> tuple[str, ...]:
    """Hide a file behind one that cannot be opened (devices are off), a directory behind an empty one."""
    if Path(path).is_dir():
        return ("--tmpfs", path, "--remount-ro", path)
    return ("--ro-bind", "/dev/null", path)


def _told_pid(info: int) -> int:
    """Read what bwrap tells of itself: the number of the zone's first process; 0 if it failed before."""
    with os.fdopen(info, "rb") as told:
        text = told.read()
    return int(json.loads(text)["child-pid"]) if text else 0


# --- commands and processes -------------------------------------------------------------------------


def _command(name: str, package: str) -> Any:
    """Return a command that is on this machine's PATH; raise BootError with what to install."""
    from plumbum import CommandNotFound, local

    try:
        return local[name]
    except CommandNotFound as error:
        raise BootError(f"{name} is not installed", hint=f"as root: apt install {package}") from error


def _held(words: list[Any], stdio: Stdio) -> tuple[Any, int]:
    """Start a command that waits for a line from the descriptor that is returned; at its end, it ends.

    The shell cannot close its end of the pipe (only one digit can be redirected), which nobody else has.
    """
    hold, release = os.pipe()
    script = f'read -r line </proc/self/fd/{hold} && exec "$@"'
    try:
        shell = _command("/bin/sh", "dash")
        process = shell.popen(["-c", script, "sh", *words], new_session=True, pass_fds=(hold,), **stdio)
    except BaseException:
        os.close(release)
        raise
    finally:
        os.close(hold)
    return process, release


def _last_message(log: Path) -> str:
    """Return the last message in runc's log of JSON lines."""
    with suppress(OSError, ValueError, KeyError, IndexError):
        return str(json.loads(log.read_text().splitlines()[-1])["msg"])
    return "it does not say why"


def _wait(pid: int) -> int:
    """Wait for a child of ours that no object stands for."""
    _, status = os.waitpid(pid, 0)
    return _exit_code(os.waitstatus_to_exitcode(status))


def _exit_code(code: int) -> int:
    """Return an exit code as a shell has it."""
    return code if code >= 0 else 128 - code


@contextmanager
def _adopting_orphans() -> Iterator[None]:
    """Become the parent of what runc leaves behind: only a parent learns the zone's exit code."""
    from ctypes import CDLL

    set_child_subreaper, libc = 36, CDLL(None)  # include/uapi/linux/prctl.h
    libc.prctl(set_child_subreaper, 1, 0, 0, 0)
    try:
        yield
    finally:
        libc.prctl(set_child_subreaper, 0, 0, 0, 0)


def _has_capability(number: int) -> bool:
    """Whether this process has a capability in its user namespace."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> number & 1)
    return False
