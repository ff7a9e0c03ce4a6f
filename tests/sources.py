"""Small source roots for tests, made by copying a few real files of this system.

The files are found by asking the dynamic loader, not by partialroot's own closure.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

PROGRAMS = ("/bin/sh", "/usr/bin/env", "/usr/bin/cat", "/usr/bin/ls", "/usr/bin/id")
PASSWD = "root:x:0:0:root:/root:/bin/bash\nwww-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\n"
GROUP = "root:x:0:\nwww-data:x:33:\nstaff:x:50:www-data\n"


def small_source(root: Path, programs: Iterable[str] = PROGRAMS) -> Path:
    """Make a root at ``root`` that some programs run in, with a bit of everything a source has; return it.

    Merged /usr as on this system, alternatives by symlink, /etc with accounts and a secret, a script, a
    set-user-ID file, a pair of hard links, a directory that others may write, names with blanks and no UTF-8.
    """
    root.mkdir(mode=0o755)
    for program in programs:
        add_program(root, program)
    _etc(root / "etc")
    for name, mode in (("tmp", 0o1777), ("var/tmp", 0o1777), ("root", 0o700), ("srv", 0o755)):
        (root / name).mkdir(parents=True, exist_ok=True)
        (root / name).chmod(mode)
    write(root / "usr/bin/greet", "#!/bin/sh\necho hello\n", 0o755)
    (root / "usr/bin/salute").symlink_to("/etc/alternatives/salute")
    (root / "etc/alternatives").mkdir()
    (root / "etc/alternatives/salute").symlink_to("/usr/bin/greet")
    write(root / "usr/bin/rise", "#!/bin/sh\nid\n", 0o4755)
    write(root / "usr/share/app/data one", "data\n", 0o644)
    os.link(root / "usr/share/app/data one", root / "usr/share/app/data two")
    write(Path(os.fsdecode(bytes(root / "usr/share/app") + b"/caf\xe9")), "latin\n", 0o644)
    return root


def add_program(root: Path, program: str) -> None:
    """Copy a program of this system, its loader and libraries, and the symlinks on the way, into a root."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    for path in (program, *re.findall(r"(/\S+)(?: \(0x)", listed)):
        add_path(root, path)


def add_path(root: Path, path: str) -> None:
    """Copy a path of this system into a root, each symlink on the way as a symlink."""
    done = Path("/")
    for index, name in enumerate(parts := Path(path).parts[1:]):
        here = done / name
        there = root / str(here)[1:]
        if here.is_symlink():
            if not there.is_symlink():
                there.symlink_to(here.readlink())
            add_path(root, os.path.normpath(done / here.readlink() / Path(*parts[index + 1 :])))
            return
        if here.is_dir():
            there.mkdir(exist_ok=True)
            shutil.copystat(here, there)
        elif not there.exists():
            shutil.copy2(here, there)
        done = here


def write(path: Path, content: str, mode: int) -> None:
    """Write a file with its parents, with an old and round time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    path.chmod(mode)
    os.utime(path, ns=(10**18, 10**18))


def _etc(etc: Path) -> None:
    """Write the few files of /etc that are always there."""
    write(etc / "passwd", PASSWD, 0o644)
    write(etc / "group", GROUP, 0o644)
    write(etc / "shadow", "root:*:1::::::\n", 0o640)
    write(etc / "nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n", 0o644)
    write(etc / "hosts", "127.0.0.1 localhost\n", 0o644)
