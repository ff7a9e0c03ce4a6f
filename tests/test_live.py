"""An illumos system that is alive as the source: what loopback mounts hide, and packages in flight."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from children import NOBODY
from lifecycle.machine import NEEDS, TESTS, Machine, Said
from needs import require
from spaces import mounts_below

LIBC, VARIANT = "/lib/libc.so.1", "/usr/lib/libc/libc_hwcap1.so.1"
STORE, ZONE = "/store", "/zones/web"
PROFILE = f"""\
programs = ["/sbin/init", "/sbin/sh"]
files = ["{LIBC}", "/etc/motd"]
"""
LINE = f"import sys; sys.path[:0] = [{str(TESTS.parent)!r}, {str(TESTS)!r}]; import sunos; sunos.become(); "
# However young files are, they are remembered: else what is left would depend on the time.
LINE += "from partialroot.source import memory; memory.RECENT_NS = 0; "
COMMAND = LINE + "from partialroot.cli import main; sys.exit(main(sys.argv[1:]))"
HOLD = LINE + (
    "from pathlib import Path; import time; from partialroot.pipeline import live\n"
    f"with live.own_files(Path({STORE!r}), Path('/src')) as views:\n"
    "    print(views, flush=True)\n"
    "    time.sleep(1000)\n"
)
PKGADM = """#!/bin/sh
echo "pkgadm $*" >>/var/log/said
echo "/opt/late/new f none 0644 root root 4 1234 1700000000 TRIBlate" >>/var/sadm/install/contents
exit $(cat /var/log/code)
"""


class Live(Machine):
    """A machine with a source at /src, and a place for zones on a file system of its own."""

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self.path("/zones").mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "none", self.path("/zones")], check=True)
        self.run("/usr/sbin/mnttab")
        for name in ("sbin", "lib", "usr/lib/libc", "usr/bin", "etc", "opt"):
            self.path(f"/src/{name}").mkdir(parents=True)
        busybox = shutil.which("busybox")
        assert busybox
        for program in ("sbin/sh", "usr/bin/getent"):
            shutil.copy(busybox, self.path(f"/src/{program}"))
        self.write("/src/sbin/init", "#!/sbin/sh\n", 0o755)
        self.write(f"/src{LIBC}", "the library\n", 0o755)
        self.write(f"/src{VARIANT}", "the library for a processor\n", 0o755)
        self.write("/src/etc/motd", "welcome\n")
        self.write("/profiles/page.toml", PROFILE)
        self.path("/profiles").chmod(0o755)

    def cover(self) -> None:
        """Do what SMF's fs-root does."""
        self.run("/usr/sbin/mount", "-O", "-F", "lofs", f"/src{VARIANT}", f"/src{LIBC}")
        assert self.path(f"/src{LIBC}").read_text() == "the library for a processor\n"

    def partialroot(self, *words: str, code: int | None = 0) -> Said:
        """Run the command as on illumos."""
        return self.run(sys.executable, "-IBc", COMMAND, *words, "--store", STORE, code=code)

    def make(self, verb: str, *words: str, code: int = 0) -> Said:
        """Run a verb that reads the source."""
        return self.partialroot(verb, *words, "--source", "/src", "--manifests", "/profiles", code=code)

    def views(self) -> list[str]:
        """Return what is mounted below the store, and what is left there of views."""
        place = self.path(f"{STORE}/views")
        return [*self.mounts(STORE), *(os.listdir(place) if place.exists() else [])]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Live]:
    require(*NEEDS, "busybox")
    machine = Live(tmp_path)
    yield machine
    machine.close()
    assert not mounts_below(tmp_path)


# --- what is hidden -----------------------------------------------------------------------------------


def test_a_zone_gets_the_sources_own_library(machine: Live) -> None:
    plain = json.loads(machine.make("plan", "page", "--json").out)["image"]
    machine.cover()
    made = json.loads(machine.make("populate", ZONE, "page", "--json").out)
    assert made["image"] == plain
    assert machine.path(f"{STORE}/images/{plain}{LIBC}").read_text() == "the library\n"
    assert machine.views() == []
    for verb in ("status", "verify", "audit"):
        machine.partialroot(verb, ZONE)
    assert not json.loads(machine.make("populate", ZONE, "page", "--json").out)["changed"]
    assert machine.views() == []
    machine.partialroot("explain", ZONE, LIBC)
    machine.partialroot("remove", ZONE)
    assert not machine.path(ZONE).exists()


def test_who_changes_the_hidden_file_makes_zones_stale(machine: Live) -> None:
    machine.cover()
    machine.make("populate", ZONE, "page")
    machine.run("/usr/sbin/umount", f"/src{LIBC}")
    machine.write(f"/src{LIBC}", "the next library\n", 0o755)
    machine.cover()
    assert f"{LIBC}: has changed" in machine.partialroot("status", ZONE, code=5).out
    assert machine.views() == []


def test_the_closure_reads_the_hidden_file(machine: Live) -> None:
    shutil.copy(machine.path("/src/sbin/sh"), machine.path(f"/src{LIBC}"))
    machine.write(f"/src{VARIANT}", "#!/no/such/interpreter\n", 0o755)
    machine.run("/usr/sbin/mount", "-O", "-F", "lofs", f"/src{VARIANT}", f"/src{LIBC}")
    machine.partialroot("closure", LIBC, "--source", "/src")
    assert machine.views() == []


@pytest.mark.parametrize("verb", ["populate", "profiles"])
def test_after_an_error_nothing_is_mounted(machine: Live, verb: str) -> None:
    machine.cover()
    machine.write("/profiles/page.toml", PROFILE + 'secrets = ["/etc/no"]\n')
    words = {"populate": [ZONE, "page"], "profiles": ["check", "page"]}[verb]
    assert "/etc/no" in machine.make(verb, *words, code=2).err
    assert machine.views() == []


def test_only_root_sees_through(machine: Live) -> None:
    machine.cover()
    options = ["--source", "/src", "--manifests", "/profiles", "--store", "/tmp/store"]
    user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    said = machine.run(*user, sys.executable, "-IBc", COMMAND, "plan", "page", *options, code=2).err
    assert f"something else is mounted over /src{LIBC}" in said


def test_a_dry_run_leaves_nothing(machine: Live) -> None:
    machine.cover()
    machine.make("populate", ZONE, "page", "--dry-run")
    machine.make("populate", ZONE, "nosuch", code=2)
    assert not machine.path(STORE).exists()


def test_what_a_mounted_directory_shows_is_not_the_sources(machine: Live) -> None:
    machine.write("/elsewhere/tool", "a tool\n", 0o755)
    machine.run("/usr/sbin/mount", "-F", "lofs", "/elsewhere", "/src/opt")
    machine.write("/profiles/page.toml", 'files = ["/opt/tool"]\n')
    said = machine.make("plan", "page", code=2).err
    assert "something else is mounted over /src/opt/tool" in said and "umount /src/opt" in said
    machine.write("/profiles/page.toml", PROFILE)
    machine.make("plan", "page")


def test_every_verb_does_without_linux(machine: Live) -> None:
    """Not only those that build: an import of Linux' part, or a file of its /proc, is a traceback here."""
    machine.cover()
    machine.make("populate", ZONE, "page")
    machine.write("/src/etc/motd", "welcome again\n")
    for words in (
        ["refresh", ZONE, "-n"],
        ["refresh", ZONE],
        ["status", ZONE],
        ["rollback", ZONE],
        ["prune"],
        ["affected", LIBC],
        ["sbom", ZONE, "--out", "/store.json"],
        ["export", ZONE, "/zone.tar"],
        ["export", ZONE, "--manifest", "p5m"],
        ["doctor", "--source", "/src"],
        ["mount", ZONE],
        ["unmount", ZONE],
        ["boot", ZONE],
        ["halt", ZONE],
        ["profiles", "list"],
    ):
        said = machine.partialroot(*words, code=None)
        assert said.code in (0, 2, 5) and "Traceback" not in said.err, (words, said)
        assert said.code != 2 or "zoneadm" in said.err, (words, said.err)
        assert machine.views() == []


# --- views that were left -----------------------------------------------------------------------------


def test_a_view_is_private_and_leaves_with_its_owner(machine: Live) -> None:
    """A living owner's stays; a killed one's goes with the next command, whether it needs one or not."""
    machine.cover()
    with holding(machine) as owner:
        (view, name) = machine.views()
        assert view == f"{STORE}/views/{name}"
        assert machine.path(f"{view}/src{LIBC}").read_text() == "the library\n"
        assert machine.path(STORE).stat().st_mode & 0o777 == 0o700
        assert "Read-only" in machine.run("touch", f"{view}/src/etc/motd", code=1).err
        machine.make("plan", "page")
        assert machine.views() == [view, name]
        os.kill(owner.pid, signal.SIGKILL)
        owner.wait()
    assert machine.views() == [view, name]
    machine.run("/usr/sbin/umount", f"/src{LIBC}")
    machine.make("plan", "page")
    assert machine.views() == []


def test_a_view_that_does_not_go_is_said(machine: Live) -> None:
    machine.cover()
    with holding(machine) as owner:
        (view, _) = machine.views()
        busy = os.open(machine.path(f"{view}/src/etc"), os.O_RDONLY)
        os.kill(owner.pid, signal.SIGKILL)
    try:
        said = machine.make("plan", "page", code=3).err
    finally:
        os.close(busy)
    assert "a view of the source is still mounted" in said and f"umount {view}" in said
    machine.make("plan", "page")
    assert machine.views() == []


class holding:  # noqa: N801 -- it is used like a function
    """Run a process that holds a view, and end it."""

    def __init__(self, machine: Live) -> None:
        command = ["chroot", str(machine.root), sys.executable, "-IBc", HOLD]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)

    def __enter__(self) -> "subprocess.Popen[bytes]":
        assert self._process.stdout and LIBC.encode() in self._process.stdout.readline()
        return self._process

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.communicate()


# --- packages in flight -------------------------------------------------------------------------------


@pytest.fixture
def packaged(machine: Live) -> Live:
    """Let the machine's own / be a system of SVR4 packages, one of whose files only the server knows."""
    machine.path("/var/lib/dpkg/status").unlink(missing_ok=True)
    machine.write("/var/sadm/install/contents", "/opt d none 0755 root root TRIBlate\n")
    machine.write("/var/sadm/pkg/TRIBlate/pkginfo", "PKG=TRIBlate\n")
    machine.write("/opt/late/new", "new\n")
    machine.write("/usr/bin/pkgadm", PKGADM, 0o755)
    machine.write("/var/log/code", "0")
    machine.write("/profiles/late.toml", 'packages = ["TRIBlate"]\n')
    for program in ("/sbin/init", "/sbin/sh"):
        machine.write(program, "#!/bin/sh\n", 0o755)
    return machine


def check(machine: Live, source: str, code: int | None = 0) -> Said:
    words = ["check", "late", "--platform", "illumos", "--source", source, "--manifests", "/profiles"]
    return machine.partialroot("profiles", *words, "--json", code=code)


def test_the_package_server_writes_first(packaged: Live) -> None:
    """What is told of the file (its checksum is wrong) comes from what the server wrote."""
    assert "/opt/late/new is left out" in check(packaged, "/").err
    assert packaged.path("/var/log/said").read_text() == "pkgadm sync\n"


def test_where_it_cannot_nothing_is_read(packaged: Live) -> None:
    packaged.write("/var/log/code", "1")
    said = check(packaged, "/", code=3)
    assert "the package database cannot be brought up to date" in said.err
    assert "is a package being installed?" in said.err


def test_another_root_is_read_as_it_is(packaged: Live) -> None:
    packaged.write("/src/var/sadm/install/contents", "/etc d none 0755 root root TRIBlate\n")
    packaged.write("/src/var/sadm/pkg/TRIBlate/pkginfo", "PKG=TRIBlate\n")
    check(packaged, "/src", code=None)
    assert not packaged.path("/var/log/said").exists()


# --- commands that fail -------------------------------------------------------------------------------

MOUNT, UMOUNT, PKGADM_PROGRAM = "/usr/sbin/mount", "/usr/sbin/umount", "/usr/bin/pkgadm"


@pytest.mark.parametrize(
    "name, does, code, says",
    [
        (MOUNT, "echo 'lofs: not today' >&2; exit 1", 2, "/src/lib/libc.so.1 cannot be seen: .* not today"),
        (MOUNT, "exit 0", 2, "something else is mounted over /src/lib/libc.so.1"),
        (MOUNT, None, 2, "cannot be seen: .*/usr/sbin/mount .* No such file"),
        (UMOUNT, "exit 32", 3, "still mounted: /usr/sbin/umount .* failed: exit 32"),
        (UMOUNT, "exit 0", 3, "still mounted"),
        (PKGADM_PROGRAM, "kill -9 $$", 3, "/usr/bin/pkgadm sync failed"),
    ],
)
def test_a_command_that_fails_is_named_and_nothing_stays(
    name: str, does: str | None, code: int, says: str, packaged: Live
) -> None:
    packaged.cover()
    kept = packaged.path(name).read_text()
    packaged.path(name).unlink()
    if does is not None:
        packaged.write(name, f"#!/bin/sh\n{does}\n", 0o755)
    words = ["/", "late"] if name == PKGADM_PROGRAM else ["/src", "page"]
    options = ["--platform", "illumos", "--manifests", "/profiles", "--source"]
    assert re.search(says, packaged.partialroot("plan", *options, *words, code=code).err)
    packaged.path(name).unlink(missing_ok=True)
    packaged.write(name, kept, 0o755)
    packaged.make("plan", "page")
    assert packaged.views() == []
