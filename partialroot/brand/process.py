"""What a hook's process is made of: nothing that it was given by who runs zoneadm is kept."""

import os
import sys
from contextlib import suppress

# zoneadm's own; a child zoneadm on the same zone must see that it is locked already (zones facts 1.3).
_KEPT = ("_ZONEADM_LOCK_HELD",)
_CLEAN = {"PATH": "/usr/bin:/usr/sbin", "LC_ALL": "C.UTF-8"}


def settle(*, by_zoneadmd: bool) -> None:
    """Make environment, directory, umask and standard files what they should be.

    A child of zoneadmd has its output read from 1; 0 and 2 are whatever zoneadmd opened first (1.7). Python
    made its standard files of them already, so those are made anew.
    """
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    os.environ.clear()
    os.environ |= {**_CLEAN, **kept}
    os.chdir("/")
    os.umask(0o022)
    _reopen(0, os.O_RDONLY, force=True)
    _reopen(1, os.O_WRONLY, force=False)
    if by_zoneadmd:
        os.dup2(1, 2)
    _reopen(2, os.O_WRONLY, force=False)
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        file = open(descriptor, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
        setattr(sys, name, file)


def _reopen(descriptor: int, flags: int, *, force: bool) -> None:
    """Let a standard file be /dev/null; unless ``force``, only one that is closed."""
    if not force:
        with suppress(OSError):
            os.fstat(descriptor)
            return
    null = os.open(os.devnull, flags)
    if null != descriptor:
        os.dup2(null, descriptor)
        os.close(null)
