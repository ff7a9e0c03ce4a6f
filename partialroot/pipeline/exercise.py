"""Let what is watched do its work: ask it, wait for it to listen, give it time."""

from collections.abc import Callable
from time import monotonic, sleep
from typing import NamedTuple

from partialroot.host.probes import PATIENCE, ask
from partialroot.host.tracing import Watched

SETTLING = 1.0  # seconds that something goes on after it listens, where nobody probes it
PAUSE = 0.1


class Exercise(NamedTuple):
    """What to ask a service (URLs, commands), how long to wait for each, and to go on after the last."""

    probes: tuple[str, ...] = ()
    patience: float = PATIENCE
    seconds: float | None = None


def exercise(watched: Watched, wish: Exercise, gone: Callable[[], str]) -> None:
    """Return when it was exercised, or ended; without probes, soon after it listens.

    ``gone`` says why it is not there any more, "" while it is. Raises BootError when a probe did not succeed.
    """
    if wish.probes:
        ask(wish.probes, gone, wish.patience)
        _wait(wish.seconds or 0.0, gone)
        return
    _wait(wish.patience, lambda: gone() or watched.is_listening())
    _wait(SETTLING if wish.seconds is None else wish.seconds, gone)


def _wait(seconds: float, is_over: Callable[[], object]) -> None:
    end = monotonic() + seconds
    while (left := end - monotonic()) > 0 and not is_over():
        sleep(min(PAUSE, left))
