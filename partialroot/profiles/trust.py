"""Whose profiles root may follow: only those that nobody else can change."""

import os
import stat
from pathlib import Path

from partialroot.errors import ProfileError

_WHOLE_MACHINE = "0 0 4294967295"


def refuse_untrusted(file: Path, status: os.stat_result) -> None:
    """Raise ProfileError when we are root and another user could change the profile in ``file``.

    ``status`` is that of the opened file. Its directory counts too, and that of a symlink's target: who can
    write there can put another file in its place (in a sticky directory only the file's owner can).
    """
    if os.geteuid() != 0:
        return
    _refuse_writable(file, status)
    for directory in {file.parent, Path(os.path.realpath(file)).parent}:
        status = directory.stat()
        if not status.st_mode & stat.S_ISVTX:
            _refuse_writable(directory, status)


def _refuse_writable(path: Path, status: os.stat_result) -> None:
    """Raise ProfileError for what is not root's, or open to group or others."""
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        why, remedy = "others can write it", "chmod go-w"
    elif status.st_uid != 0 and _sees_all_users():
        why, remedy = f"user {status.st_uid} owns it", "chown root"
    else:
        return
    raise ProfileError(
        f"root follows no profile that is not its own: {why}", path=str(path), hint=f"{remedy} {path}"
    )


def _sees_all_users() -> bool:
    """Whether owners are what they seem: in a user namespace root's own files may look like nobody's."""
    try:
        with open("/proc/self/uid_map") as file:
            return file.read().split() == _WHOLE_MACHINE.split()
    except OSError:
        return True
