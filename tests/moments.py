"""What a test must not leave to chance: the coarse clock of files, and garbage that is collected late."""

import gc
import os
import time
from pathlib import Path
from tempfile import TemporaryFile


def descriptors() -> int:
    """Return how many files this process has open, other than those that only garbage still holds."""
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def let_the_clock_tick(file: Path) -> None:
    """Wait until whatever changes now has a later time than a file's last change.

    Files have the time of the last tick, some milliseconds ago: two changes may have the same.
    """
    with TemporaryFile(dir=file.parent) as probe:
        while os.fstat(probe.fileno()).st_ctime_ns <= file.lstat().st_ctime_ns:
            time.sleep(0.001)
            os.utime(probe.fileno())
