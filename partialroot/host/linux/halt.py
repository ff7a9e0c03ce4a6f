"""Stop a zone: all processes whose root is the zone's, whoever started them; then what a boot leaves."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from signal import SIGKILL, SIGTERM, pidfd_send_signal
from time import monotonic, sleep

from partialroot.errors import BootError
from partialroot.host.linux import network
from partialroot.host.linux.bundle import Bundle
from partialroot.host.linux.processes import zone_processes
from partialroot.host.linux.runtimes import RUNTIMES

GRACE = 10.0  # seconds from SIGTERM to SIGKILL, as with most service managers
DEAF_GRACE = 0.5  # the same for who cannot hear SIGTERM
KILL_LIMIT = 10.0  # seconds for the kernel to end what was killed
PAUSE_BETWEEN = 0.02


def halt(zonepath: Path, grace: float = GRACE) -> bool:
    """Stop the zone and take away what booting it left; return whether anything ran.

    Every process gets SIGTERM, and what is left after ``grace`` seconds SIGKILL. A zone that does not run,
    or whose runtime crashed, is tidied up. Raises BootError if a process cannot be ended.
    """
    bundle = Bundle(zonepath)
    ran = _stop(bundle.root, grace)
    take_down(bundle)
    return ran


def take_down(bundle: Bundle) -> None:
    """Remove whatever a boot made, with what still runs: at once, in any state, also if nothing is there."""
    _kill(bundle.root)
    if bundle.run.exists():
        for runtime in RUNTIMES:
            runtime.forget(bundle)
    network.detach(bundle.device)
    bundle.remove_run()


def _stop(root: Path, grace: float) -> bool:
    """Ask all processes to end, and wait while any of them may still do so."""
    ran = _signal(root, SIGTERM)
    begin = monotonic()
    hearing: set[int] = set()
    while (living := _living(root)) and (waited := monotonic() - begin) < grace:
        hearing |= {pid for pid in living if _hears_sigterm(pid)}
        if waited > DEAF_GRACE and not hearing & living:
            break
        sleep(PAUSE_BETWEEN)
    return ran


def _kill(root: Path) -> None:
    """Kill all processes, also those that are born meanwhile."""
    end = monotonic() + KILL_LIMIT
    while _signal(root, SIGKILL):
        if monotonic() > end:
            left = ", ".join(str(pid) for pid in sorted(_living(root)))
            raise BootError(f"killed, but not gone: process {left}", path=str(root.parent))
        sleep(PAUSE_BETWEEN / 4)


def _signal(root: Path, number: int) -> bool:
    """Send a signal to every process of the zone; return whether there was any.

    A process is held (pidfd) before it is looked at once more: its number may have become another's.
    """
    with _held(_living(root)) as held:
        living = _living(root)
        for pid, descriptor in held.items():
            if pid in living:
                with suppress(ProcessLookupError):
                    pidfd_send_signal(descriptor, number)
    return bool(held)


@contextmanager
def _held(pids: set[int]) -> Iterator[dict[int, int]]:
    """Hold processes open; those that end meanwhile are left out."""
    held: dict[int, int] = {}
    try:
        for pid in pids:
            with suppress(ProcessLookupError):
                held[pid] = os.pidfd_open(pid)
        yield held
    finally:
        for descriptor in held.values():
            os.close(descriptor)


def _living(root: Path) -> set[int]:
    """Return the numbers of the zone's processes; a root that is not there has none."""
    try:
        return {process.pid for process in zone_processes(root)}
    except FileNotFoundError:
        return set()


def _hears_sigterm(pid: int) -> bool:
    """Whether SIGTERM has any effect: not on the first process of a pid namespace that did not ask for it.

    Node, Python and most servers did not, so waiting for them as first processes would be in vain.
    """
    try:
        text = Path(f"/proc/{pid}/status").read_text(errors="replace")
    except OSError:
        return False
    status = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    if status["NSpid"].split()[-1] != "1":
        return True
    asked = int(status["SigCgt"], 16) | int(status["SigBlk"], 16)
    return bool(asked >> (SIGTERM - 1) & 1)
