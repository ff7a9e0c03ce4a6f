"""A process that keeps exchanging two names, as a tenant may who races with us."""

import subprocess
import sys
import time
from collections.abc import Iterator, Set
from contextlib import contextmanager
from pathlib import Path

from bootable import PATIENCE

PROGRAM = """
import ctypes, errno, sys
libc = ctypes.CDLL(None, use_errno=True)
one, other = (name.encode() for name in sys.argv[1:])
exchange = lambda: libc.renameat2(-100, one, -100, other, 2)  # AT_FDCWD, RENAME_EXCHANGE
if exchange() != 0:
    sys.exit(1)
print("ready", flush=True)
while exchange() == 0 or ctypes.get_errno() == errno.EBUSY:  # while one is a mount point
    pass
"""


def rounds(seen: Set[str], wanted: Set[str]) -> Iterator[None]:
    """Yield 500 times, and on until all is seen: who swaps may be given no processor for a while."""
    yield from [None] * 500
    end = time.monotonic() + PATIENCE
    while not wanted <= seen:
        assert time.monotonic() < end, f"names are not swapped: {seen}"
        yield


@contextmanager
def swapping(one: Path, other: Path) -> Iterator[None]:
    """Exchange ``one`` and ``other`` as fast as the kernel does it, until the block ends.

    Some 200,000 times a second: whatever looks twice at a name sees both.
    """
    with subprocess.Popen([sys.executable, "-c", PROGRAM, one, other], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n", "renameat2(2) does not exchange names here"
            yield
            assert process.poll() is None, "the names could not be exchanged any more"
        finally:
            process.kill()
