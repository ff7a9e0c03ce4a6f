"""Lets a Python process take this computer for illumos: what its Python lacks there is gone.

``become()`` comes before the first import of partialroot. What is left of Linux then fails: a missing name of
``os``, an import of ``partialroot.host.linux``, a file of /proc, a C library called by ctypes.
"""

import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType

LINUX_ONLY = """
    CLONE_NEWNS EFD_CLOEXEC GRND_NONBLOCK MFD_CLOEXEC O_NOATIME O_PATH O_TMPFILE P_PIDFD RWF_NOWAIT
    SCHED_BATCH SPLICE_F_MOVE ST_APPEND ST_MANDLOCK ST_NOATIME ST_NODEV ST_NODIRATIME ST_NOEXEC ST_RELATIME
    ST_SYNCHRONOUS ST_WRITE XATTR_CREATE XATTR_REPLACE XATTR_SIZE_MAX copy_file_range eventfd eventfd_read
    eventfd_write getrandom getresgid getresuid getxattr listxattr memfd_create pidfd_open
    removexattr sched_getaffinity sched_setaffinity setns setresgid setresuid setxattr splice unshare
""".split()  # noqa: SIM905 (easier to read)
"""Names of ``os`` that Python has on Linux, and not where there are no such system calls."""


class _NoLinux(MetaPathFinder):
    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        if name.startswith("partialroot.host.linux"):
            raise AssertionError(f"{name} is imported on illumos")


def become() -> None:
    """Take this computer for illumos from now on; there is no way back."""
    assert not any(name.startswith("partialroot") for name in sys.modules)
    sys.platform = "sunos5"
    for name in LINUX_ONLY:
        if hasattr(os, name):
            delattr(os, name)
    sys.meta_path.insert(0, _NoLinux())
    sys.addaudithook(_audit)


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    """Illumos has a /proc, too, but nothing in it is what it is on Linux."""
    if event == "open" and isinstance(arguments[0], str) and arguments[0].startswith("/proc/"):
        raise FileNotFoundError(2, "No such file or directory", arguments[0])
    if event in ("os.listdir", "os.scandir") and str(arguments[0]).startswith("/proc"):
        raise FileNotFoundError(2, "No such file or directory", arguments[0])
    if event.startswith("ctypes."):
        raise AssertionError(f"{event} {arguments}")
