"""cpio -p and ls -V, as far as they are used: ACLs and extended attributes are Linux' own here."""

import os
import shutil
import stat
import sys
from contextlib import suppress
from pathlib import Path


def main_cpio(argv: list[str]) -> int:
    """``cpio -pdmP@ DIRECTORY``: copy the files named on standard input, with all they have."""
    options, into = argv
    if options != "-pdmP@" or not os.path.isdir(into):
        print(f"cpio: {argv}", file=sys.stderr)
        return 2
    for line in sys.stdin.buffer.read().splitlines():
        name = os.fsdecode(line)
        place = Path(into, name)
        if name.startswith("/") or not os.path.lexists(name) or place.exists():
            print(f"cpio: cannot copy {name}", file=sys.stderr)
            return 2
        place.parent.mkdir(parents=True, exist_ok=True)
        found = os.lstat(name)
        shutil.copyfile(name, place, follow_symlinks=False)
        os.chown(place, found.st_uid, found.st_gid, follow_symlinks=False)
        shutil.copystat(name, place, follow_symlinks=False)  # with extended attributes
        os.utime(place, (int(found.st_mtime), int(found.st_mtime)))  # cpio knows whole seconds
    return 0


def main_ls(argv: list[str]) -> int:
    """``ls -dV@ FILE...``: one line for each, in the order of their names, and one for each attribute."""
    if argv[:1] != ["-dV@"]:
        os.execv("/usr/bin/busybox", ["ls", *argv])
    for path in sorted(argv[1:]):
        found = os.lstat(path)
        attributes: list[str] = []
        with suppress(OSError):  # zfs-fuse has none
            attributes = sorted(os.listxattr(path, follow_symlinks=False))
        print(f"{stat.filemode(found.st_mode)}{'@' if attributes else ''}  {found.st_nlink} {path}")
        for name in attributes:
            print(f"                 {name}:{os.getxattr(path, name, follow_symlinks=False).hex()}")
    return 0
