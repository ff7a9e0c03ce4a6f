"""A machine with zones: a copy-on-write view of this computer, thrown away afterwards.

What is written lands in memory. The view has a /proc, a small /dev and /run of its own; programs in it can
harm nothing outside, not even by ``rm -rf /``.
"""

import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from spaces import mounts_below

from lifecycle import zoneadmd

TESTS = Path(__file__).resolve().parent.parent
PROGRAMS = {
    "zoneadm": "lifecycle.zoneadm:main",
    "zonecfg": "lifecycle.zones:zonecfg",
    "zlogin": "lifecycle.zoneadmd:main",
    "mount": "lifecycle.mounts:main_mount",
    "umount": "lifecycle.mounts:main_umount",
    "mnttab": "lifecycle.mounts:main_mnttab",  # brings /etc/mnttab up to date
    "../bin/ps": "lifecycle.zoneadmd:main_ps",
    "../bin/cpio": "lifecycle.copies:main_cpio",
    "../bin/ls": "lifecycle.copies:main_ls",
}
PROGRAM = """#!{python} -IS
import sys
sys.path.insert(0, {tests!r})
from {module} import {function}
sys.exit({function}(sys.argv[1:]))
"""
# Both write the mount table anew behind a command that has mounted something. With zfs-fuse a file
# system stays busy for a moment after it was unmounted.
ZFS = """#!/bin/sh
for try in $(seq 100); do
    /usr/lib/zfs-fuse/{name} "$@" 2>/run/zfs.$$
    status=$?
    [ $status != 0 ] && grep -q "dataset is busy" /run/zfs.$$ || break
    sleep 0.1
done
cat /run/zfs.$$ >&2
rm /run/zfs.$$
case "$1" in list|get|snapshot|send) ;; *)
    cat /proc/self/mountinfo >/run/mounts.$$
    cmp -s /run/mounts.$$ /run/mounts || /usr/sbin/mnttab
    mv /run/mounts.$$ /run/mounts
esac
exit $status
"""
# Name; UUID; N: runs now, R: on reboot; mount point; space; policy; created.
BEADM = """#!/bin/sh
[ "$*" = "list -H" ] || exit 1
zfs list -H -r -t filesystem -o name,org.opensolaris.libbe:uuid rpool/ROOT |
    while read name uuid; do
        [ "$name" = rpool/ROOT ] && continue
        if [ "$name" = "$(cat /var/run/booted)" ]; then echo "${name##*/};$uuid;NR;/;1;static;1700000000"
        else echo "${name##*/};$uuid;;;1;static;1700000000"; fi
    done
"""
SECONDS = 900  # for a command, on a machine that has other things to do
DEVICES = {"null": (1, 3), "zero": (1, 5), "urandom": (1, 9), "random": (1, 8), "fuse": (10, 229)}
NEEDS = ("root", "mount", "overlay")
"""What must work for a machine, of tests/needs.py; with a pool also ``zfs``."""


class Said(NamedTuple):
    """What a command left."""

    code: int
    out: str
    err: str


class Machine:
    """One machine. ``root`` is where its / is seen from outside."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.root = place / "root"
        self._daemon = 0
        self._build()

    # --- running ------------------------------------------------------------------------------------

    def run(self, *words: str, environment: Mapping[str, str] | None = None, code: int | None = 0) -> Said:
        """Run a command in the machine; fails unless it exits with ``code`` (None: any)."""
        variables = {"PATH": "/usr/sbin:/usr/bin", "LC_ALL": "C.UTF-8", **(environment or {})}
        command = ["chroot", str(self.root), *words]
        done = subprocess.run(command, capture_output=True, text=True, env=variables, timeout=SECONDS)
        assert code is None or done.returncode == code, f"{words}: exit {done.returncode}\n{done.stderr}"
        return Said(done.returncode, done.stdout, done.stderr)

    def enter(self) -> None:
        """Let this process, a child made for that, be one of the machine."""
        os.chroot(self.root)
        os.chdir("/")

    def zoneadm(self, zone: str, *words: str, code: int | None = 0) -> Said:
        """Run ``zoneadm -z ZONE ...``."""
        return self.run("/usr/sbin/zoneadm", "-z", zone, *words, code=code)

    def zonecfg(self, zone: str, commands: str, code: int | None = 0) -> Said:
        """Run ``zonecfg -z ZONE COMMANDS``."""
        return self.run("/usr/sbin/zonecfg", "-z", zone, commands, code=code)

    def state(self, zone: str) -> str:
        """Return a zone's state, without any hook."""
        code = f"from lifecycle import zones; print(zones.load({zone!r}).kernel)"
        return self.python(code).strip()

    def plumbed(self, zone: str) -> list[str]:
        """Return what a zone has been given of the network."""
        code = (
            f"from lifecycle import network; [print(*one.values()) for one in network.configured({zone!r})]"
        )
        return self.python(code).splitlines()

    def python(self, code: str) -> str:
        """Run a few lines of Python that use this package in the machine; return what they print."""
        line = f"import sys; sys.path.insert(0, {str(TESTS)!r}); {code}"
        return self.run(sys.executable, "-ISc", line).out

    def path(self, inside: str) -> Path:
        """Return a path of the machine as seen from outside."""
        return Path(f"{self.root}{inside}")

    def mounts(self, inside: str = "") -> list[str]:
        """Return the machine's mount points below a directory, in the order they were mounted."""
        below = reversed(mounts_below(self.path(inside)))
        return [point.removeprefix(str(self.root)) for point in below]

    # --- making -------------------------------------------------------------------------------------

    def _build(self) -> None:
        memory = self.place / "memory"
        for directory in (memory, self.root):
            directory.mkdir()
        _mount("-t", "tmpfs", "none", memory)
        for name in ("upper", "work"):
            (memory / name).mkdir()
        layers = f"lowerdir=/,upperdir={memory}/upper,workdir={memory}/work"
        _mount("-t", "overlay", "-o", layers, "none", self.root)
        self._bind_what_is_elsewhere()
        _mount("-t", "proc", "none", self.path("/proc"))
        for name in ("/dev", "/run", "/tmp"):
            _mount("-t", "tmpfs", "-o", "mode=0755", "none", self.path(name))
        for place in (TESTS.parent, sys.prefix):  # they may well lie in /tmp
            self._show(Path(place))
        for name, numbers in DEVICES.items():
            os.mknod(self.path(f"/dev/{name}"), stat.S_IFCHR | 0o666, os.makedev(*numbers))
            self.path(f"/dev/{name}").chmod(0o666)
        for name in ("/etc/zones", "/run/zones", "/run/zfs", "/run/lock", "/usr/lib/brand"):
            self.path(name).mkdir(mode=0o755, parents=True, exist_ok=True)
        for name, entry in PROGRAMS.items():
            self.install(name, entry)
        self.run("/usr/sbin/mnttab")

    def _bind_what_is_elsewhere(self) -> None:
        """Show directories of system programs that are file systems of their own."""
        for name in ("/usr", "/var", "/opt", "/home"):
            if os.path.ismount(name):
                _mount("--bind", "-o", "ro", name, self.path(name))

    def _show(self, directory: Path) -> None:
        """Bind a directory of this computer where it is not seen because of what is mounted above it."""
        there = self.path(str(directory))
        if not there.exists():
            there.mkdir(parents=True)
            _mount("--bind", directory, there)
            _mount("-o", "remount,bind,ro", there)

    def install(self, name: str, entry: str) -> None:
        """Install a program into /usr/sbin: the function ``MODULE:FUNCTION`` of the tests."""
        module, _, function = entry.partition(":")
        text = PROGRAM.format(python=sys.executable, tests=str(TESTS), module=module, function=function)
        self.write(f"/usr/sbin/{name}", text, 0o755)

    def write(self, inside: str, text: str, mode: int = 0o644) -> None:
        """Write a file in the machine."""
        path = self.path(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_text(text)
        path.chmod(mode)

    # --- a pool -------------------------------------------------------------------------------------

    def make_pool(self) -> None:
        """Make a pool ``rpool`` with one boot environment, ``be1``, mounted at /be1, and /export/zones."""
        self._start_daemon()
        self.add_pool("rpool")
        self.run("/usr/sbin/zfs", "create", "-o", "mountpoint=legacy", "rpool/ROOT")
        self.run("/usr/sbin/zfs", "create", "-o", "mountpoint=/export", "rpool/export")
        self.run("/usr/sbin/zfs", "create", "rpool/export/zones")
        self.run("/usr/sbin/zfs", "create", "rpool/ROOT/be1")
        self.run("/usr/sbin/zfs", "set", "org.opensolaris.libbe:uuid=uuid-be1", "rpool/ROOT/be1")
        self.write("/usr/sbin/beadm", BEADM, 0o755)
        self.boot_environment("be1")

    def add_pool(self, name: str) -> None:
        """Make a pool that is mounted nowhere."""
        with self.path(f"/run/{name}").open("wb") as file:
            file.truncate(256 << 20)
        self.run("/usr/sbin/zpool", "create", "-m", "none", name, f"/run/{name}")

    def boot_environment(self, name: str) -> None:
        """Let a boot environment be the one that runs, as after a reboot: mounted at /be, no zones up."""
        self.path("/be").mkdir(exist_ok=True)
        if "/be" in self.mounts():
            self.run("/usr/sbin/umount", "/be")
        self.run("/usr/sbin/mount", "-F", "zfs", f"rpool/ROOT/{name}", "/be")
        self.write("/run/booted", f"rpool/ROOT/{name}\n")

    def new_boot_environment(self, name: str, origin: str) -> None:
        """``beadm create -e ORIGIN NAME``: libbe clones no zone of our brand."""
        snapshot = f"rpool/ROOT/{origin}@{name}"
        self.run("/usr/sbin/zfs", "snapshot", snapshot)
        self.run("/usr/sbin/zfs", "clone", snapshot, f"rpool/ROOT/{name}")
        self.run("/usr/sbin/zfs", "set", f"org.opensolaris.libbe:uuid=uuid-{name}", f"rpool/ROOT/{name}")

    def datasets(self, below: str = "rpool", *properties: str) -> list[list[str]]:
        """Return name and properties of the file systems and snapshots below one."""
        columns = ",".join(["name", *properties])
        words = ["list", "-H", "-r", "-t", "filesystem,snapshot", "-o", columns, below]
        return [line.split("\t") for line in self.run("/usr/sbin/zfs", *words).out.splitlines()]

    def _start_daemon(self) -> None:
        real = self.path("/usr/lib/zfs-fuse")
        real.mkdir()
        for name in ("zfs", "zpool"):
            shutil.move(self.path(f"/usr/sbin/{name}"), real / name)
            self.write(f"/usr/sbin/{name}", ZFS.format(name=name), 0o755)
        self.run("/usr/sbin/zfs-fuse", "-p", "/run/zfs-fuse.pid", "--no-kstat-mount")
        end = time.monotonic() + SECONDS
        while self.run("/usr/lib/zfs-fuse/zpool", "list", code=None).code:
            assert time.monotonic() < end, "zfs-fuse does not answer"
            time.sleep(0.02)
        self._daemon = int(self.path("/run/zfs-fuse.pid").read_text())

    # --- the end ------------------------------------------------------------------------------------

    def close(self) -> None:
        """Kill the zones, and the daemon of the pool; unmount everything."""
        for place in self.path("/run/zones").glob("*.kernel"):
            zoneadmd.kill(
                int(self.python(f"from lifecycle import zones; print(zones.load({place.stem!r}).pid)"))
            )
        for point in mounts_below(self.place):
            if "rpool" not in point:
                subprocess.run(["umount", "--lazy", point], check=True)
        if self._daemon:
            zoneadmd.kill(self._daemon)


def _mount(*words: str | Path) -> None:
    subprocess.run(["mount", *map(str, words)], check=True)
