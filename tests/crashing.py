"""Runs work in a child process that dies, or whose disk fails, at the N-th effect of the one mutator."""

import os
import pickle
import signal
import sys
from collections.abc import Callable
from typing import Any

from partialroot.zone import fs

Work = Callable[[], Any]


def count_effects(work: Work) -> list[tuple[str, str]]:
    """Return the effects of ``work``, done to its end in a child process."""
    ahead, behind = os.pipe()
    child = os.fork()
    if child == 0:
        _become_child()
        os.close(ahead)
        seen: list[tuple[str, str]] = []
        fs.observe = lambda name, path: seen.append((name, path))
        _run(work)
        with open(behind, "wb") as pipe:
            pickle.dump(seen, pipe)
        os._exit(0)
    os.close(behind)
    with open(ahead, "rb") as pipe:
        data = pipe.read()
    assert os.waitpid(child, 0)[1] == 0, "the work did not come to its end"
    seen = pickle.loads(data)
    assert isinstance(seen, list)
    return seen


def die_at(work: Work, number: int) -> None:
    """Run ``work`` in a child process that is killed in the place of its effect ``number`` (from 0)."""

    def act(count: int) -> None:
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)

    status = _in_child(work, act)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, f"it did not die at {number}"


def fail_at(work: Work, number: int, error: int) -> int:
    """Run ``work`` in a child whose effect ``number`` raises OSError(error); return its exit status."""

    def act(count: int) -> None:
        if count == number:
            raise OSError(error, os.strerror(error))

    status = _in_child(work, act)
    assert os.WIFEXITED(status)
    return os.WEXITSTATUS(status)


def _in_child(work: Work, act: Callable[[int], None]) -> int:
    child = os.fork()
    if child == 0:
        _become_child()
        counts = iter(range(sys.maxsize))
        fs.observe = lambda name, path: act(next(counts))
        _run(work)
        os._exit(0)
    return os.waitpid(child, 0)[1]


def _become_child() -> None:
    """Keep what a failing child says short: its parent is the test."""
    sys.tracebacklimit = 0


def _run(work: Work) -> None:
    """Do ``work``; exit 1 with the sentence on stderr when it is refused, 70 when it has a defect."""
    from partialroot.errors import PartialRootError

    try:
        work()
    except PartialRootError as error:
        os.write(2, f"{error}\n".encode(errors="replace"))
        os._exit(error.code)
    except BaseException as error:
        os.write(2, f"{error!r}\n".encode(errors="replace"))
        os._exit(70)
