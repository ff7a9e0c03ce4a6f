"""Hashes open files on threads while the walk that found them goes on."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from partialroot.model import Record
from partialroot.zone import look

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

WORKERS = 2
CHANGED = "changed while it was read"
_BATCH = 32  # handing work to a thread costs as much as hashing a small file
_WAITING = 2 * WORKERS

Job = tuple[Record, int]


class Hashing:
    """Takes open files with their records and reports the SHA-256 of each, in the caller's thread.

    ``report`` gets the record and the sum, or in its place why there is none. It owns the descriptors it
    is given, at most some hundred at a time. Use it with ``with``: at its end all is reported.
    """

    def __init__(self, report: Callable[[Record, str], None]) -> None:
        self._report = report
        self._pool: ThreadPoolExecutor | None = None  # to begin with threads takes longer than a quick look
        self._batch: list[Job] = []
        self._running: list[Future[list[tuple[Record, str]]]] = []

    def __enter__(self) -> "Hashing":
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is None:  # a thread is not worth its start for so few
            self._report_all(_hash_all(self._batch))
            return
        self._start()
        while self._running:
            self._finish_first()
        self._pool.shutdown()

    def add(self, record: Record, descriptor: int) -> None:
        """Hash the file open at ``descriptor``, which is closed afterwards."""
        self._batch.append((record, descriptor))
        if len(self._batch) == _BATCH:
            self._start()
        if len(self._running) > _WAITING:
            self._finish_first()

    def _start(self) -> None:
        from concurrent.futures import ThreadPoolExecutor

        self._pool = self._pool or ThreadPoolExecutor(WORKERS)
        self._running.append(self._pool.submit(_hash_all, self._batch))
        self._batch = []

    def _finish_first(self) -> None:
        self._report_all(self._running.pop(0).result())

    def _report_all(self, results: list[tuple[Record, str]]) -> None:
        for record, result in results:
            self._report(record, result)


def _hash_all(jobs: list[Job]) -> list[tuple[Record, str]]:
    return [(record, _hash(record, descriptor)) for record, descriptor in jobs]


def _hash(record: Record, descriptor: int) -> str:
    try:
        return look.sha256(descriptor, record.size) or CHANGED
    except OSError as error:
        return error.strerror or str(error)
    finally:
        os.close(descriptor)
