"""Carries out several zones' work side by side: each a transaction, with durability had for all at once.

Of one batch the journals are on the disk before anything happens, what was built before any receipt is
renamed, and the receipts before anything that was held is deleted. What fails at one zone is undone there;
the others go on.
"""

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

from partialroot.errors import ApplyError, PartialRootError
from partialroot.zone import durable, fs, journal, transaction
from partialroot.zone.binds import Mounter
from partialroot.zone.journal import Intent
from partialroot.zone.store import Store
from partialroot.zone.transaction import Build, Make, Work, make_zonepath

T = TypeVar("T")

_PAUSES = (0.0, 0.1, 0.4)
"""Seconds before each attempt to put in order what an interrupt stopped."""


class Task(NamedTuple):
    """What is to be done at one zonepath, all or nothing of it."""

    intent: Intent
    mounter: Mounter | None
    build: Build
    make: Make = make_zonepath


Job = Generator[Task, None, T]
"""One zone's work: it may yield a task, once, and goes on when that is done; what stopped it is raised there.

It holds the zone's lock and has recovered earlier work when it yields, and returns the work's result.
"""


def run(store: Store, job: Job[T]) -> T:
    """Do one job; raise what stopped it when all is undone."""
    result = run_all(store, [job])[0]
    if isinstance(result, PartialRootError):
        raise result
    return result


def run_all(store: Store, jobs: Sequence[Job[T]]) -> list[T | PartialRootError]:
    """Do the jobs, and return the result of each, or the error that stopped it."""
    results: dict[int, T | PartialRootError] = {}
    tasks: dict[int, Task] = {}

    def go_on(number: int, step: Callable[[], Task]) -> None:
        try:
            tasks[number] = step()
        except StopIteration as end:
            results[number] = end.value
        except PartialRootError as error:
            results[number] = error
        except OSError as error:
            results[number] = fs.failed(error, str(error.filename or ""))

    try:
        for number, job in enumerate(jobs):
            go_on(number, job.__next__)
        begun = list(tasks)
        errors = _Batch(store, list(tasks.values())).run() if tasks else []
        for number, error in zip(begun, errors, strict=True):
            go_on(number, partial(jobs[number].throw, error) if error else jobs[number].__next__)
    finally:
        for job in jobs:
            job.close()
    return [results[number] for number in range(len(jobs))]


class _Zone:
    """One task under way. ``error`` is what stopped it, once it is undone."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.intent = task.intent
        self.path = task.intent.place
        self.work = Work(task.intent, task.mounter)
        self.error: Exception | None = None


class _Batch:
    """The tasks of one batch; each goes on until it fails."""

    def __init__(self, store: Store, tasks: Iterable[Task]) -> None:
        self._store = store
        self._zones = [_Zone(task) for task in tasks]
        self._alive: list[_Zone] = []

    def run(self) -> list[Exception | None]:
        """Do all tasks; return the error of each that was undone.

        What is no error of a task (an interrupt) is raised when none is half done; its notes say what could
        not be put in order.
        """
        try:
            self._begin()
            self._each(lambda zone: zone.work.prepare(zone.task.build, zone.task.make))
            self._sync(self._alive)
            self._each(lambda zone: zone.work.commit())
            self._sync(zone for zone in self._alive if zone.intent.holds)
            self._finish()
        except BaseException as error:
            self._settle_all(error)
            raise
        return [zone.error for zone in self._zones]

    def _begin(self) -> None:
        """Write the journals; where that fails nothing is to be undone."""
        begun = []
        for zone in self._zones:
            try:
                transaction.refuse_foreign_work(zone.path)
                begun.append(zone)
            except PartialRootError as error:
                zone.error = error
        self._alive = begun  # an interrupt may come as soon as there are journals, whose zones are not begun
        try:
            journal.write(self._store, [zone.intent for zone in begun])
        except ApplyError as error:
            self._alive = []
            for zone in begun:
                zone.error = error

    def _each(self, effect: Callable[[_Zone], None]) -> None:
        for zone in tuple(self._alive):
            try:
                effect(zone)
            except Exception as error:
                self._fail(zone, error)

    def _sync(self, some: Iterable[_Zone]) -> None:
        """Have all of these zones on the disk, with one sync for each file system."""
        zones = {zone.path: zone for zone in some}
        for paths in durable.by_system(zones):
            try:
                durable.sync_system(paths[0], "zonepath")
            except OSError as error:
                for path in paths:
                    self._fail(zones[path], error)

    def _finish(self) -> None:
        """Do for all at once what is done for each alone where that fails."""
        try:
            transaction.finish(self._store, [zone.intent for zone in self._alive])
            self._alive.clear()
        except Exception as error:
            for zone in tuple(self._alive):
                self._fail(zone, error)

    def _fail(self, zone: _Zone, error: Exception) -> None:
        self._settle(zone, error)
        self._alive.remove(zone)

    def _settle_all(self, error: BaseException) -> None:
        """Put all zones in order; what somebody looks into just then cannot be unmounted, and is tried again.

        No zone's result is returned any more: ``error`` gets a note of each that is not in order.
        """
        for pause in _PAUSES:
            time.sleep(pause)
            self._alive = [zone for zone in self._alive if not self._settle(zone, error)]
            if not self._alive:
                return
        for zone in self._alive:
            error.add_note(f"{zone.error}")

    def _settle(self, zone: _Zone, error: BaseException) -> bool:
        """Finish what was committed, and that is no failure then; undo anything else.

        Where even that fails the journal stays for the next command, the zone's error says both, and this
        returns False.
        """
        try:
            if not transaction.settle(self._store, zone.intent, zone.task.mounter):
                zone.error = _as_failure(error, zone.intent)
            return True
        except (OSError, PartialRootError) as second:
            zone.error = ApplyError(
                f"{_as_failure(error, zone.intent)}; then it could not be put in order: {second}",
                path=zone.intent.zonepath,
                hint="the next command on this zonepath tries again",
            )
            return False


def _as_failure(error: BaseException, intent: Intent) -> Exception:
    """Return ``error`` as one of ours, with the path of the host."""
    if isinstance(error, OSError):
        return fs.failed(error, f"{intent.zonepath}/{error.filename}" if error.filename else intent.zonepath)
    return error if isinstance(error, Exception) else ApplyError("interrupted", path=intent.zonepath)
