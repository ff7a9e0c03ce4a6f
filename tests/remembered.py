"""A source, profiles and a store of which a choice is remembered, and what may change of them."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from sources import add_program, small_source, write

from partialroot.pipeline import remembering
from partialroot.pipeline.choosing import choose
from partialroot.pipeline.remembering import observations_of
from partialroot.pipeline.sources import Options, reading
from partialroot.plan.chosen import Chosen
from partialroot.zone.observations import OBSERVED, PART
from partialroot.zone.store import PARTS

WEB = """
uses = ["common"]
programs = ["cat", "greet", "/usr/bin/salute"]
files = ["/usr/share/app/**", "/etc/hosts", "/etc/pam.d/login", "/usr/bin/rise"]
optional = ["/etc/perhaps", "/usr/bin/nothing*"]
packages = ["tool"]
modules = { nss = ["passwd", "hosts"], pam = ["login"] }
private = ["/usr/share/app/state"]
users = ["www-data"]
[parameters]
port = "80"
[directories."/var/app"]
mode = "2770"
owner = "www-data"
[text."/etc/motd"]
content = "port @port@"
[edit."/etc/hosts"]
append = ["127.0.0.2 @port@"]
[start]
command = ["/usr/bin/cat", "@port@"]
"""
COMMON = 'files = ["/usr/bin/env"]\nexclude = ["/usr/share/app/*.old"]\n'
STATUS = """Package: tool
Status: install ok installed
Architecture: amd64
Version: {}
Conffiles:
 /etc/tool.conf d41d8cd98f00b204e9800998ecf8427e

"""


class World:
    """A source with a package database, profiles in two directories, and a store."""

    def __init__(self, top: Path) -> None:
        self.top, self.source, self.store = top, small_source(top / "source"), top / "store"
        for part in ("", *PARTS):
            (self.store / part).mkdir(mode=0o700)
        for name in ("first", "second"):
            (top / name).mkdir()
        write(top / "second/web.toml", WEB, 0o644)
        write(top / "second/common.toml", COMMON, 0o644)
        write(self.source / "usr/share/app/state/one", "state", 0o644)
        write(self.source / "etc/pam.d/login", "auth required pam_one.so\n", 0o644)
        libraries = library(self).parent
        (libraries / "security").mkdir()
        for name in ("security/pam_one.so", "security/pam_two.so", "libnss_other.so.2"):
            shutil.copy2(library(self), libraries / name)
        write(self.source / "etc/tool.conf", "", 0o644)
        write(self.source / "usr/bin/tool", "a tool", 0o755)
        info = self.source / "var/lib/dpkg/info"
        write(info / "tool.list", "/.\n/etc\n/etc/tool.conf\n/usr\n/usr/bin\n/usr/bin/tool\n", 0o644)
        self.install("1.0")
        self.settle()

    def install(self, version: str) -> None:
        write(self.source / "var/lib/dpkg/status", STATUS.format(version), 0o644)

    def options(self, **changed: object) -> Options:
        manifests = (self.top / "first", self.top / "second")
        return Options(self.store, self.source, manifests=manifests)._replace(**changed)  # type: ignore[arg-type]

    def anew(self, **changed: object) -> Chosen:
        """Return what is chosen by who remembers nothing."""
        return choose(self.options(**changed), ["web"])

    def recalled(self, **changed: object) -> Chosen | None:
        """Return what is remembered, if that may be used."""
        found = observations_of(self.options(**changed), ["web"])
        assert found is not None
        return found.recall()

    def remember(self) -> Chosen:
        """Choose as a command does, and save what is to be remembered."""
        with reading(self.options()) as options:
            chosen, follows = remembering.choose(options, ["web"])
        assert follows is not None
        follows.save()
        return chosen

    def settle(self) -> None:
        """Choose once the times of files tell whether they change again."""
        time.sleep(0.06)
        self.remember()
        assert self.recalled() is not None

    @property
    def file(self) -> Path:
        [file] = (self.store / PART).glob(f"{OBSERVED}*")
        return file


Change = Callable[[World], object]


def same_time(path: Path) -> None:
    """Write into a file what has the same size, and put its times back: only its ctime tells."""
    before, data = os.stat(path), path.read_bytes()
    with open(path, "r+b") as file:
        file.write(other(data))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def other(data: bytes) -> bytes:
    """Return as many bytes that are others at the end."""
    return data[:-1] + bytes([data[-1] ^ 1])


def replace(path: Path, content: str, mode: int = 0o755) -> None:
    write(path.with_name("fresh"), content, mode)
    path.with_name("fresh").rename(path)


def retarget(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


def library(world: World) -> Path:
    """A library that a program of the profile needs, and that is no symlink."""
    return next(one for one in sorted(world.source.glob("**/libc.so.6")) if not one.is_symlink())


def same_library(world: World) -> None:
    """Replace a library by one of the same size and time: another inode."""
    path = library(world)
    before, data = os.stat(path), path.read_bytes()
    path.with_name("fresh").write_bytes(other(data))
    shutil.copystat(path, path.with_name("fresh"))
    path.with_name("fresh").rename(path)
    assert (os.stat(path).st_size, os.stat(path).st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def needs_more(world: World) -> None:
    add_program(world.source, "/usr/bin/id")
    shutil.copy2(world.source / "usr/bin/id", world.source / "usr/bin/fresh")
    (world.source / "usr/bin/fresh").rename(world.source / "usr/bin/greet")


def libraries_elsewhere(world: World) -> None:
    write(world.source / "etc/ld.so.conf", "/usr/lib/other\n", 0o644)
    (world.source / "usr/lib/other").mkdir()


def another_source(world: World) -> None:
    moved = world.source.rename(world.top / "moved")
    shutil.copytree(moved, world.source, symlinks=True)
    write(world.source / "usr/share/app/more", "more", 0o644)


CHANGES: dict[str, Change] = {
    "a library replaced, with its size and time": same_library,
    "a library written in place, with its time put back": lambda w: same_time(library(w)),
    "a program replaced": lambda w: replace(w.source / "usr/bin/greet", "#!/bin/cat\n"),
    "a program written in place": lambda w: same_time(w.source / "usr/bin/cat"),
    "a program earlier on the path": lambda w: write(w.source / "usr/local/bin/greet", "#!/bin/sh\n", 0o755),
    "a program that needs more": needs_more,
    "a symlink leads elsewhere": lambda w: retarget(w.source / "etc/alternatives/salute", "/usr/bin/rise"),
    "a new file for a glob": lambda w: write(w.source / "usr/share/app/new", "new", 0o644),
    "a file of a glob is gone": lambda w: (w.source / "usr/share/app/data one").unlink(),
    "a new directory for a glob": lambda w: write(w.source / "usr/share/app/deep/er/new", "new", 0o644),
    "an optional file": lambda w: write(w.source / "etc/perhaps", "there", 0o644),
    "a mode": lambda w: (w.source / "usr/bin/env").chmod(0o711),
    "a mode that is no secret": lambda w: (w.source / "usr/bin/rise").chmod(0o755),
    "an owner": lambda w: os.chown(w.source / "etc/hosts", 33, 33),
    "a directory's mode": lambda w: (w.source / "usr/share/app").chmod(0o711),
    "a directory's time": lambda w: os.utime(w.source / "usr/share/app", ns=(10**18, 10**18)),
    "a symlink's time": lambda w: os.utime(
        w.source / "usr/bin/salute", ns=(10**18, 10**18), follow_symlinks=False
    ),
    "another name of a file": lambda w: os.link(w.source / "usr/bin/cat", w.top / "link"),
    "the name services": lambda w: write(w.source / "etc/nsswitch.conf", "passwd: files other\n", 0o644),
    "the stack of a service": lambda w: write(
        w.source / "etc/pam.d/login", "auth required pam_two.so\n", 0o644
    ),
    "where libraries are": libraries_elsewhere,
    "the linker's cache": lambda w: write(w.source / "etc/ld.so.cache", "damaged", 0o644),
    "accounts": lambda w: write(
        w.source / "etc/passwd", "root:x:0:0::/:/bin/sh\nwww-data:x:34:34::/:/bin/sh\n", 0o644
    ),
    "a package upgraded": lambda w: w.install("1.1"),
    "a package with more files": lambda w: write(
        w.source / "var/lib/dpkg/info/tool.list", "/.\n/usr\n/usr/bin\n/usr/bin/tool\n/usr/bin/id\n", 0o644
    ),
    "a file of a package edited": lambda w: write(w.source / "etc/tool.conf", "edited", 0o644),
    "a profile edited": lambda w: write(w.top / "second/web.toml", WEB.replace("port @", "another @"), 0o644),
    "a profile it uses": lambda w: write(w.top / "second/common.toml", 'files = ["/usr/bin/id"]\n', 0o644),
    "a profile that hides one": lambda w: write(w.top / "first/common.toml", "", 0o644),
    "it looks like another system": lambda w: write(w.source / "usr/lib/isaexec", "", 0o755),
    "the source is another": another_source,
}
UNHEEDED: dict[str, Change] = {  # what nothing of the profile depends on
    "nothing": lambda w: None,
    "a file nobody wants": lambda w: write(w.source / "srv/unrelated", "", 0o644),
    "a profile nobody asks for, read again": lambda w: os.utime(w.top / "first", ns=(10**18, 10**18)),
}
