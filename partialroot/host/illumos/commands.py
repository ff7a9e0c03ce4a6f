"""The system's own commands: by absolute path, with an environment of ours, never through a shell."""

import os
from typing import Protocol

from partialroot.errors import ApplyError

ZFS, MOUNT, UMOUNT = "/usr/sbin/zfs", "/usr/sbin/mount", "/usr/sbin/umount"
ZONEADM, ZONECFG, BEADM = "/usr/sbin/zoneadm", "/usr/sbin/zonecfg", "/usr/sbin/beadm"
PS, PKGADM = "/usr/bin/ps", "/usr/bin/pkgadm"
# PATH and LD_* may be anybody's (zones facts 1.3), and what the commands print is localised (5).
_CLEAN = ("-i", "PATH=/usr/bin:/usr/sbin", "LC_ALL=C")


class Run(Protocol):
    """How a command is run."""

    def __call__(self, *words: str) -> str:
        """Run it, and return what it prints; ApplyError with its last words unless it succeeds."""


def run(*words: str) -> str:
    """Run a command of this system: see :class:`Run`. It reads nothing and starts in ``/``."""
    from subprocess import DEVNULL

    from plumbum import local

    code, out, err = local["/usr/bin/env"][*_CLEAN, *words].run(retcode=None, cwd="/", stdin=DEVNULL)
    if code != 0:
        said = (err or out).strip().splitlines()
        raise ApplyError(f"{' '.join(words)} failed: {said[-1] if said else f'exit {code}'}")
    return str(out)


def feed(text: str, *words: str) -> str:
    """Run a command of this system that reads ``text``; else as :func:`run`."""
    from subprocess import run as start

    done = start(["/usr/bin/env", *_CLEAN, *words], input=os.fsencode(text), capture_output=True, cwd="/")
    if done.returncode != 0:
        said = (done.stderr or done.stdout).decode("utf-8", "replace").strip().splitlines()
        raise ApplyError(f"{' '.join(words)} failed: {said[-1] if said else f'exit {done.returncode}'}")
    return os.fsdecode(done.stdout)
