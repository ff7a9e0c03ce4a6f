"""Start and stop a zone.

The caller holds the zone's lock. Nothing records that a zone runs: its processes are found by their root
directory, so a crash of ours, of the runtime or of the machine leaves nothing that could be wrong.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from signal import SIGKILL
from time import monotonic
from typing import NamedTuple

from partialroot.errors import BootError, BusyError, PartialRootError, SourceError, UsageError
from partialroot.host.linux import network, oci
from partialroot.host.linux.bundle import Bundle
from partialroot.host.linux.halt import halt, take_down
from partialroot.host.linux.pause import pause_program
from partialroot.host.linux.processes import zone_processes
from partialroot.host.linux.runtimes import RUNTIMES, Runtime, Started, Stdio
from partialroot.model import PAUSE, Start, ZoneSettings

# A command that cannot work (a library missing, a port taken) mostly fails within this time, in seconds.
FIRST_BREATH = 0.25
ENTERING = 20.0  # seconds for a runtime to mount what there is to mount

Watch = Callable[[str, int], None]


class Booted(NamedTuple):
    """A zone that runs.

    ``pid`` is the number of its first process on the host; ``address`` None means it cannot be reached at
    one of its own. ``not_isolated`` must be shown, as must ``warnings``. ``log`` holds what its processes
    print, None when they print to our own output. ``wait`` waits for its end: see ``attend``.
    """

    zonepath: Path
    runtime: str
    pid: int
    address: str | None
    not_isolated: tuple[str, ...]
    warnings: tuple[str, ...]
    log: Path | None
    wait: Callable[[], int]


def boot(
    zonepath: Path,
    *,
    runtime: str = "auto",
    foreground: bool = False,
    address: str | None = None,
    watch: Watch | None = None,
) -> Booted:
    """Start the zone's first process and return while it runs; the zone needs no mounts on the host.

    ``runtime`` is ``auto`` (the first that works here) or one's name. ``address`` is the zone's IPv4
    address. With ``foreground`` the zone has our standard files, and the caller must ``attend`` it. ``watch``
    is called with the runtime's name and the first process's number before that runs the zone's program.
    Raises UsageError, ConflictError (the address is taken), BusyError (it runs already), and BootError
    when it cannot be started, or ends at once: then with its last words, and nothing of it is left.
    """
    candidates = _candidates(runtime)
    wish = None if address is None else network.parse_address(address)
    bundle = Bundle.load(zonepath)
    bundle.check_mount_points()
    if zone_processes(bundle.root):
        raise BusyError("the zone runs already", path=str(zonepath))
    take_down(bundle)  # what was left by an earlier life
    refused: list[str] = []
    for candidate in candidates:
        try:
            return _Attempt(candidate, bundle, wish, foreground, watch).boot(tuple(refused))
        except BootError as error:
            if runtime != "auto" or why_not(candidate) is None:
                raise
            hint = f" ({error.hint})" if error.hint else ""
            refused.append(f"{candidate.name}: {error.message}{hint}")
    raise BootError(f"nothing here can run a zone: {'; '.join(refused)}", path=str(zonepath))


def attend(booted: Booted) -> int:
    """Wait until a zone in the foreground ends, tidy up after it, and return its exit code.

    SIGINT and SIGTERM to us halt the zone.
    """
    try:
        with _interrupted_by_sigterm():
            return booted.wait()
    except KeyboardInterrupt:
        return 130  # as a shell has it
    finally:
        halt(booted.zonepath)


def why_not(runtime: Runtime) -> PartialRootError | None:
    """Try whether a runtime can run a zone that only waits; return what it says if it cannot."""
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="partialroot-trial-") as scratch:
        bundle = Bundle(Path(scratch))
        try:
            bundle = Bundle(Path(scratch), _trial(Path(scratch)))
            _Attempt(runtime, bundle).boot()
        except (BootError, SourceError) as error:  # the latter: a machine without a pause process
            return error
        finally:
            take_down(bundle)
    return None


def _trial(zonepath: Path) -> Mapping[str, object]:
    """Make a zone that only waits, and return its configuration."""
    from json import dumps

    machine = os.uname().machine
    program = Path(f"{zonepath}/root{PAUSE}")
    program.parent.mkdir()
    program.write_bytes(pause_program(machine))
    program.chmod(0o755)
    config = oci.bundle_config(ZoneSettings(Start("trial", pause=True)), "trial", (), machine)
    (zonepath / "config.json").write_text(dumps(config))
    return config


def _candidates(name: str) -> tuple[Runtime, ...]:
    """Return the runtimes to try, in order."""
    found = RUNTIMES if name == "auto" else tuple(one for one in RUNTIMES if one.name == name)
    if not found:
        names = ", ".join(["auto", *(one.name for one in RUNTIMES)])
        raise UsageError(f"there is no runtime {name!r}", hint=f"it is one of {names}")
    return found


class _Attempt:
    """One zone, one runtime, one try."""

    def __init__(
        self,
        runtime: Runtime,
        bundle: Bundle,
        address: str | None = None,
        foreground: bool = False,
        watch: Watch | None = None,
    ) -> None:
        self._runtime, self._bundle, self._wish = runtime, bundle, address
        self._foreground, self._watch = foreground, watch
        self._address: str | None = None
        self._no_network = self._why_no_network()
        if self._no_network and address:
            raise BootError(f"the zone cannot have an address: {self._no_network}")
        if self._no_network and runtime.name == "bwrap":
            # Else nobody could reach the zone, or bwrap fails, as it may not set up the loopback device.
            self._bundle = bundle.on_host_network()

    def boot(self, refused: tuple[str, ...] = ()) -> Booted:
        """Start the zone; ``refused`` says which runtimes did not work, and why."""
        try:
            started = self._start()
        except BaseException:
            take_down(self._bundle)
            raise
        runtime = self._runtime
        return Booted(
            zonepath=self._bundle.zonepath,
            runtime=runtime.name,
            pid=started.pid,
            address=self._address,
            not_isolated=runtime.losses(self._bundle),
            warnings=(*refused, *self._network_warnings(started.pid)),
            log=None if self._foreground else self._bundle.log,
            wait=started.wait,
        )

    def _start(self) -> Started:
        self._bundle.make_run()
        if self._foreground:
            return self._enter(
                self._runtime.start(self._bundle, self._connect, dict.fromkeys(STANDARD_FILES))
            )
        with _log(self._bundle) as stdio:
            started = self._enter(self._runtime.start(self._bundle, self._connect, stdio))
        if _ends_within(started.pid, FIRST_BREATH):
            code = started.wait()
            said = self._bundle.last_words() or "it said nothing"
            raise BootError(
                f"the zone's first process ended at once, with exit code {code}: {said}",
                hint=None if code else "a zone ends with its first process: start it in the foreground",
            )
        return started

    def _enter(self, started: Started) -> Started:
        """Wait until the first process is in the zone's root: before, nobody would find it to halt it."""
        end = monotonic() + ENTERING
        while not _ends_within(started.pid, 0.005):
            if any(one.pid == started.pid for one in zone_processes(self._bundle.root)):
                break
            if monotonic() > end:
                os.kill(started.pid, SIGKILL)
                raise BootError(f"{self._runtime.name} did not enter the zone", path=str(self._bundle.root))
        return started

    def _why_no_network(self) -> str:
        if not self._runtime.own_network:
            return f"{self._runtime.name} shares the host's network"
        if "network" not in self._bundle.namespaces:
            return "its profiles want the host's network"
        return network.why_no_pair()

    def _connect(self, pid: int) -> None:
        if self._watch is not None:
            self._watch(self._runtime.name, pid)
        if not self._no_network:
            zonepath = str(self._bundle.zonepath)
            self._address = network.attach(pid, self._bundle.device, zonepath, self._wish)

    def _network_warnings(self, pid: int) -> tuple[str, ...]:
        if not self._no_network or "network" not in self._bundle.namespaces or not self._runtime.own_network:
            return ()
        reach = f"nsenter --net=/proc/{pid}/ns/net reaches it"
        return (f"the zone has no network but its loopback device: {self._no_network}; {reach}",)


STANDARD_FILES = ("stdin", "stdout", "stderr")


@contextmanager
def _log(bundle: Bundle) -> Iterator[Stdio]:
    """Open the zone's log, and nothing to read."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    try:
        with bundle.log.open("ab") as log:
            yield dict(zip(STANDARD_FILES, (nothing, log.fileno(), log.fileno()), strict=True))
    finally:
        os.close(nothing)


def _ends_within(pid: int, seconds: float) -> bool:
    """Whether a process ends within that time."""
    from select import select

    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select([process], [], [], seconds)[0])
    finally:
        os.close(process)


@contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """Make SIGTERM what SIGINT is to Python: a KeyboardInterrupt."""
    from signal import SIGTERM, default_int_handler, signal

    before = signal(SIGTERM, default_int_handler)
    try:
        yield
    finally:
        signal(SIGTERM, before)
