"""Zones that run: what they serve, how they end, and that nothing is left of it."""

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer

import pytest
from bootable import (
    MACHINE,
    PATIENCE,
    SERVE,
    USR,
    Zone,
    bootable,
    left_behind,
    make_bootable,
    page,
    said,
    until,
    until_it_runs,
)
from children import in_child, in_user_namespace
from command import CHECKOUT, partialroot
from needs import needs
from treedump import dump

from partialroot.errors import BootError, BusyError, ConflictError, UsageError
from partialroot.host.linux import boot as module
from partialroot.host.linux import bundle, network
from partialroot.host.linux import halt as halting
from partialroot.host.linux.boot import Booted, attend, boot
from partialroot.host.linux.halt import halt
from partialroot.host.linux.oci import bundle_config, host_name
from partialroot.host.linux.processes import zone_processes
from partialroot.model import Start, ZoneSettings

__all__ = ["bootable", "make_bootable"]  # fixtures

ALLOWED = 0x200405FB  # oci.CAPABILITIES, as bits
NO_VETH = "this kernel has no virtual Ethernet devices"


def words(zone: Zone) -> list[str]:
    return [process.command for process in zone_processes(zone.root)]


class Clock:
    """The time that halting a zone takes as far as it waits: however slow the machine is, it is the same."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        time.sleep(seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(halting, "monotonic", made.monotonic)
    monkeypatch.setattr(halting, "sleep", made.sleep)
    return made


@contextmanager
def only_commands(scratch: Path, *names: str) -> Iterator[None]:
    """Have only some commands on the PATH."""
    from plumbum import local

    place = scratch / "commands"
    place.mkdir()
    for name in names:
        (place / name).symlink_to(local.which(name))
    with local.env(PATH=str(place)):
        yield


@needs("root", "runc", "veth")
class TestRunc:
    """A zone as it should be."""

    def test_it_serves_a_page(self, bootable: Zone) -> None:
        booted = bootable.boot(SERVE)
        assert page(booted.address, "/etc/motd") == "a page\n"
        assert (booted.runtime, booted.not_isolated, booted.warnings) == ("runc", (), ())
        processes = {process.pid: process for process in zone_processes(bootable.root)}
        process = processes[booted.pid]  # a child of it may still be answering
        assert process.command.startswith("busybox httpd") or SERVE in process.command

    def test_it_cannot_write_what_it_shares(self, bootable: Zone) -> None:
        tries = "echo x >/usr/share/victim; touch /usr/new; rm -f /usr/share/victim; touch /tmp/mine"
        assert bootable.asked(tries).count("Read-only file system") == 3
        assert bootable.victim.read_text() == "the host's\n"
        assert (bootable.root / "tmp/mine").exists()

    def test_it_sees_only_its_own_processes(self, bootable: Zone) -> None:
        seen = bootable.asked("busybox ps -o comm").split()
        assert set(seen) == {"COMMAND", "sh", "busybox"}

    def test_it_sees_no_device_of_the_host(self, bootable: Zone) -> None:
        seen = bootable.asked("busybox find /dev -type b; busybox ls /sys/class/net").split()
        assert {"eth0", "lo"} <= set(seen)
        assert not [name for name in seen if name.startswith("/dev")]

    def test_its_host_name_is_its_zonepath_s(self, bootable: Zone) -> None:
        assert bootable.asked("busybox hostname") == "zone\n"

    def test_halt_leaves_nothing(self, bootable: Zone) -> None:
        bootable.configure(SERVE)
        before = dump(bootable.path)
        booted = boot(bootable.path)
        page(booted.address, "/etc/motd")
        assert len(left_behind(bootable)) >= 4  # the judge sees a container, a device, a route, a mount
        assert halt(bootable.path) is True
        assert left_behind(bootable) == []
        assert dump(bootable.path) == before
        assert halt(bootable.path) is False

    def test_a_zone_that_runs_is_not_booted_again(self, bootable: Zone) -> None:
        bootable.boot("exec busybox sleep 1000")
        until_it_runs(bootable, "busybox sleep 1000")
        with pytest.raises(BusyError, match="the zone runs already"):
            boot(bootable.path)
        assert words(bootable) == ["busybox sleep 1000"]

    def test_a_first_process_that_went_into_a_chroot_is_still_the_zone_s(self, bootable: Zone) -> None:
        (bootable.root / "srv/bin").mkdir()
        (bootable.root / "srv/bin/busybox").write_bytes((bootable.root / "bin/busybox").read_bytes())
        (bootable.root / "srv/bin/busybox").chmod(0o755)
        bootable.boot("exec busybox chroot /srv /bin/busybox sleep 1000")
        until_it_runs(bootable, "/bin/busybox sleep 1000")
        assert halt(bootable.path) is True

    def test_after_a_crash_it_boots_again(self, bootable: Zone) -> None:
        booted = bootable.boot("busybox sleep 1000")
        os.kill(booted.pid, signal.SIGKILL)
        booted.wait()
        again = boot(bootable.path)
        assert again.address == booted.address
        halt(bootable.path)
        assert left_behind(bootable) == []

    def test_halt_tidies_up_after_a_crash(self, bootable: Zone) -> None:
        booted = bootable.boot("busybox sleep 1000")
        os.kill(booted.pid, signal.SIGKILL)
        booted.wait()
        assert halt(bootable.path) is False
        assert left_behind(bootable) == []

    def test_a_container_that_someone_else_started_is_halted_too(self, bootable: Zone) -> None:
        bootable.configure("busybox sleep 1000")
        name = f"partialroot-test-{os.getpid()}"
        with subprocess.Popen(["runc", "run", "--bundle", bootable.path, name]) as run:
            while not any("busybox sleep" in one for one in words(bootable)):  # before, it is the runtime
                assert run.poll() is None
                time.sleep(0.01)
            with pytest.raises(BusyError):
                boot(bootable.path)
            assert halt(bootable.path) is True
            assert run.wait(PATIENCE) == 137

    def test_two_zones_at_once(self, make_bootable: Callable[[str], Zone]) -> None:
        zones = [make_bootable(name) for name in ("one", "two")]
        for zone in zones:
            (zone.root / "etc/motd").write_text(zone.path.name)
        booted = [zone.boot(SERVE) for zone in zones]
        assert [page(one.address, "/etc/motd") for one in booted] == ["one", "two"]

    def test_the_address_can_be_chosen(self, make_bootable: Callable[[str], Zone]) -> None:
        first, second = make_bootable("one"), make_bootable("two")
        booted = first.boot(SERVE, address="10.213.9.2/24")
        assert booted.address == "10.213.9.2"
        assert page("10.213.9.2", "/etc/motd") == "a page\n"
        with pytest.raises(ConflictError):
            second.boot(SERVE, address="10.213.9.2")
        assert left_behind(second) == []

    def test_without_virtual_devices(self, bootable: Zone, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(network, "why_no_pair", lambda: NO_VETH)
        with pytest.raises(BootError, match=NO_VETH):
            bootable.boot(SERVE, address="10.213.9.2")
        booted = bootable.boot(SERVE)
        (warning,) = booted.warnings
        assert NO_VETH in warning
        fetch = ["busybox", "wget", "-qO-", "http://127.0.0.1:8000/etc/motd"]
        reach = f"nsenter --net=/proc/{booted.pid}/ns/net"
        assert reach in warning
        fetched: list[str] = []

        def answers() -> bool:
            done = subprocess.run([*reach.split(), *fetch], capture_output=True, text=True)
            fetched.append(done.stdout)
            return done.returncode == 0

        until(answers, "the page")
        assert fetched[-1] == "a page\n"

    def test_the_host_s_network_where_the_profile_wants_it(self, bootable: Zone) -> None:
        bootable.configure(SERVE, network="host")
        booted = boot(bootable.path)
        assert page(None, "/etc/motd") == "a page\n"
        assert "network" in " ".join(booted.not_isolated)

    @pytest.mark.parametrize("setuid", [False, True])
    def test_setuid_programs_work_only_where_the_profile_says_so(self, bootable: Zone, setuid: bool) -> None:
        look = "busybox grep NoNewPrivs /proc/self/status; busybox grep ' /usr ' /proc/mounts"
        privileges, mount = bootable.asked(look, setuid=setuid).splitlines()
        options = mount.split()[3].split(",")
        assert (privileges.split()[1], "nosuid" in options) == (("0", False) if setuid else ("1", True))
        assert {"ro", "nodev"} <= set(options)

    def test_a_read_only_root(self, bootable: Zone, capfd: pytest.CaptureFixture[str]) -> None:
        (bootable.root / "run/app").mkdir()
        bootable.configure("touch /etc/new; touch /tmp/new /run/app/new && echo ready", read_only=True)
        attend(boot(bootable.path, foreground=True))
        printed = capfd.readouterr()
        assert (printed.out, "/etc/new: Read-only file system" in printed.err) == ("ready\n", True)
        assert not (bootable.root / "run/app/new").exists()

    def test_a_zone_that_only_waits(self, bootable: Zone, clock: Clock) -> None:
        settings = ZoneSettings(Start("test", pause=True))
        bootable.write(dict(bundle_config(settings, host_name(bootable.path), (USR,), MACHINE)))
        booted = boot(bootable.path)
        halt(bootable.path)
        assert clock.seconds < 9, "it waited for the grace to end"
        assert booted.wait() == 0

    def test_what_it_prints_fills_only_its_own_log(self, bootable: Zone) -> None:
        booted = bootable.boot("busybox yes; echo full >/tmp/full; busybox sleep 1000")
        said(bootable.root / "tmp/full")
        assert booted.log is not None
        assert booted.log.stat().st_size <= 16 << 20


@needs("root", "runc", "veth")
class TestStopping:
    """How a zone ends."""

    def boot_ready(self, zone: Zone, script: str) -> Booted:
        """Boot with a shell script that writes /tmp/ready when it hears signals."""
        booted = zone.boot(script)
        until((zone.root / "tmp/ready").exists, "it hears signals")
        return booted

    def test_processes_are_asked_first(self, bootable: Zone) -> None:
        hear = "trap 'echo bye >/tmp/bye; exit 0' TERM; echo >/tmp/ready"
        self.boot_ready(bootable, f"{hear}; while :; do busybox sleep 0.05; done")
        assert halt(bootable.path, PATIENCE) is True
        assert (bootable.root / "tmp/bye").read_text() == "bye\n"

    def test_a_first_process_that_cannot_hear_is_not_waited_for(self, bootable: Zone, clock: Clock) -> None:
        bootable.boot("exec busybox sleep 1000")
        halt(bootable.path)
        assert clock.seconds < 9, "it waited for the grace to end"

    def test_others_are_waited_for_even_then(self, bootable: Zone) -> None:
        slow = "trap 'busybox sleep 1; echo bye >/tmp/bye; exit 0' TERM; echo >/tmp/ready"
        script = f"({slow}; while :; do busybox sleep 0.05; done) & while :; do wait; done"
        self.boot_ready(bootable, script)
        halt(bootable.path, PATIENCE)
        assert (bootable.root / "tmp/bye").exists()

    def test_who_does_not_want_to_end_is_killed(self, bootable: Zone, clock: Clock) -> None:
        script = "trap : TERM; echo >/tmp/ready; while :; do busybox sleep 0.05; done"
        booted = self.boot_ready(bootable, script)
        halt(bootable.path, grace=1)
        assert 1 <= clock.seconds < 9
        assert booted.wait() == 128 + signal.SIGKILL


@needs("root", "runc", "veth")
class TestFailing:
    """Zones that cannot run say why, and leave nothing."""

    @pytest.fixture
    def patience(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let a busy machine take its time until a command ends: nothing waits longer than that takes."""
        monkeypatch.setattr(module, "FIRST_BREATH", PATIENCE)

    def test_where_one_runtime_works_the_others_are_not_tried(self, bootable: Zone) -> None:
        config = bootable.configure("")
        config["process"]["args"] = ["/bin/missing"]
        bootable.write(config)
        with pytest.raises(BootError, match=r": runc cannot start it: .*/bin/missing.*[Nn]o such file"):
            boot(bootable.path)
        assert left_behind(bootable) == []

    @pytest.mark.usefixtures("patience")
    @pytest.mark.parametrize("runtime", ["runc", "bwrap"])
    def test_a_command_that_is_not_there(self, bootable: Zone, runtime: str) -> None:
        config = bootable.configure("")
        config["process"]["args"] = ["/bin/missing"]
        bootable.write(config)
        before = dump(bootable.path)
        with pytest.raises(BootError, match=r"/bin/missing.*[Nn]o such file"):
            boot(bootable.path, runtime=runtime)
        assert left_behind(bootable) == []
        assert dump(bootable.path) == before

    @pytest.mark.usefixtures("patience")
    def test_a_command_that_ends_at_once(self, bootable: Zone) -> None:
        with pytest.raises(BootError) as caught:
            bootable.boot("echo so sorry >&2; printf '\\033[31mred'; exit 7", runtime="runc")
        assert "exit code 7: so sorry | ?[31mred" in caught.value.message
        assert left_behind(bootable) == []

    @pytest.mark.usefixtures("patience")
    def test_the_last_words_are_only_the_last(self, bootable: Zone) -> None:
        with pytest.raises(BootError) as caught:
            bootable.boot("busybox seq 100000; exit 1", runtime="runc")
        assert caught.value.message.endswith("99996 | 99997 | 99998 | 99999 | 100000")

    @pytest.mark.parametrize("name", ["usr", "proc", "dev"])
    def test_a_mount_point_that_the_zone_made_a_symlink(self, bootable: Zone, name: str) -> None:
        (bootable.root / name).rmdir()
        (bootable.root / name).symlink_to("/etc")
        with pytest.raises(BootError, match="no directory any more"):
            bootable.boot(SERVE)

    def test_what_cannot_be_booted_at_all(self, bootable: Zone) -> None:
        with pytest.raises(BootError, match="no bundle"):
            boot(bootable.path)
        bootable.write({})
        with pytest.raises(BootError, match="name nothing to start"):
            boot(bootable.path)
        (bootable.path / "config.json").write_text("[")
        with pytest.raises(BootError, match="no OCI configuration"):
            boot(bootable.path)

    def test_a_home_that_another_zone_took_away(
        self, bootable: Zone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The last zone to be halted removes the directory of all, which the next may just have looked at."""
        home, left = tmp_path / "home", [3]

        def vanishing(mode: int) -> bool:
            if left[0]:
                left[0] -= 1
                home.rmdir()
            return stat.S_ISDIR(mode)

        monkeypatch.setattr(bundle, "_run_home", lambda: home)
        monkeypatch.setattr(bundle, "S_ISDIR", vanishing)
        made = bundle.Bundle(bootable.path)
        made.make_run()
        assert (made.run.is_dir(), left) == (True, [0])
        made.remove_run()
        assert not home.exists()

    def test_a_runtime_that_does_not_exist(self, bootable: Zone) -> None:
        bootable.configure(SERVE)
        with pytest.raises(UsageError, match="no runtime 'docker'"):
            boot(bootable.path, runtime="docker")


ATTENDING = """
import sys
from pathlib import Path
from partialroot.host.linux.boot import attend, boot
booted = boot(Path(sys.argv[1]), foreground=True)
def wait():
    print("waits", flush=True)
    return booted.wait()
sys.exit(attend(booted._replace(wait=wait)))
"""


@needs("root", "runc", "veth")
class TestForeground:
    """A zone that has our terminal."""

    def test_its_exit_code_and_words_are_ours(
        self, bootable: Zone, capfd: pytest.CaptureFixture[str]
    ) -> None:
        booted = bootable.boot("echo hello; exit 7", foreground=True)
        assert booted.log is None
        assert attend(booted) == 7
        assert capfd.readouterr().out == "hello\n"
        assert left_behind(bootable) == []

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_signals_halt_it(self, bootable: Zone, number: signal.Signals) -> None:
        bootable.configure("busybox sleep 1000")
        command = [sys.executable, "-c", ATTENDING, str(bootable.path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as attending:
            assert attending.stdout is not None
            assert attending.stdout.readline() == "waits\n"
            attending.send_signal(number)
            assert attending.wait(PATIENCE) == 130
        assert left_behind(bootable) == []


INTERRUPTED = """
import importlib, os, signal, sys
from partialroot.__main__ import command
place, name = sys.argv.pop(1), sys.argv.pop(1)
module = importlib.import_module(place)
really = getattr(module, name)
def interrupted(*words, **more):
    os.kill(os.getpid(), signal.SIGINT)
    return really(*words, **more)
setattr(module, name, interrupted)
command()
"""


# A terminal's interrupt is for all processes of a command: here each that is forked has one at once.
FORKED = """
import os, signal, sys
from pathlib import Path
from partialroot.host.linux.boot import boot
os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), signal.SIGINT))
try:
    boot(Path(sys.argv[1]))
except KeyboardInterrupt:
    print("undone")
"""


@needs("root", "runc", "veth")
def test_an_interrupt_is_not_for_the_processes_that_boot_forks(bootable: Zone) -> None:
    bootable.configure("exec busybox sleep 1000")
    line = [sys.executable, "-c", FORKED, str(bootable.path)]
    said = subprocess.run(
        line, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(CHECKOUT)}
    )
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")
    until_it_runs(bootable, "busybox sleep 1000")


@needs("root", "runc", "veth", "glibc", "busybox")
@pytest.mark.parametrize(
    "where", ["partialroot.host.linux.network attach", "partialroot.cli.operating say_losses"]
)
def test_a_zone_in_the_foreground_ends_with_the_command(scratch: Path, store: Path, where: str) -> None:
    """Also where it is interrupted before it waits: while it starts the zone, or says that it did."""
    profile, zone = scratch / "sleep.toml", scratch / "zone"
    profile.write_text('programs = ["busybox"]\n[start]\ncommand = ["/bin/busybox", "sleep", "1000"]\n')
    partialroot("populate", zone, profile, "--store", store)
    words = ["boot", "--foreground", zone, "--store", store]
    line = [sys.executable, "-c", INTERRUPTED, *where.split(), *map(str, words)]
    done = subprocess.run(
        line, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(CHECKOUT)}
    )
    assert (done.returncode, "partialroot: error: interrupted" in done.stderr) == (1, True), done.stderr
    assert zone_processes(zone / "root") == ()
    assert left_behind(Zone(zone, scratch)) == []
    partialroot("remove", zone, "--store", store)


class TestFallingBack:
    """What boots where runc does not."""

    @pytest.mark.parametrize("runtime", ["bwrap", "chroot"])
    @needs("root", "bwrap", "setpriv", "mount")
    def test_boot_returns_when_the_first_process_is_in_the_zone(self, bootable: Zone, runtime: str) -> None:
        """However long that takes: before, nobody would find it to halt it."""
        subprocess.run(
            ["mount", "--bind", "-o", "ro", f"{bootable.path}/image/usr", f"{bootable.root}/usr"], check=True
        )

        timers: list[Timer] = []

        def delay(name: str, pid: int) -> None:
            os.kill(pid, signal.SIGSTOP)
            until(lambda: ") T " in Path(f"/proc/{pid}/stat").read_text(), "it is stopped")
            timers.append(Timer(0.6, os.kill, (pid, signal.SIGCONT)))
            timers[0].start()

        bootable.configure("exec busybox sleep 1000")
        booted = boot(bootable.path, runtime=runtime, watch=delay)
        timers[0].join()
        assert [process.pid for process in zone_processes(bootable.root)] == [booted.pid]
        halt(bootable.path, grace=0)
        assert left_behind(bootable) == []

    @needs("root", "runc", "bwrap", "veth")
    def test_bwrap_where_runc_is_not_installed(self, bootable: Zone, scratch: Path) -> None:
        with only_commands(scratch, "bwrap", "mount"):
            booted = bootable.boot(
                f"(echo x >/usr/new; echo x >/proc/sys/kernel/domainname) 2>/tmp/said; {SERVE}"
            )
        assert booted.runtime == "bwrap"
        assert page(booted.address, "/etc/motd") == "a page\n"
        assert booted.address is not None
        assert "runc is not installed (as root: apt install runc)" in booted.warnings[0]
        assert booted.not_isolated
        assert (bootable.root / "tmp/said").read_text().count("Read-only file system") == 2
        halt(bootable.path)
        assert left_behind(bootable) == []

    @needs("root", "bwrap", "veth")
    def test_bwrap_gives_no_other_rights(self, bootable: Zone) -> None:
        text = bootable.asked("busybox cat /proc/self/status", runtime="bwrap")
        status = dict(line.split(":\t") for line in text.splitlines())
        assert int(status["CapEff"], 16) == ALLOWED
        assert status["NoNewPrivs"] == "1"

    @needs("bwrap", "userns", "busybox")
    def test_in_a_user_namespace(self, bootable: Zone) -> None:
        def work() -> tuple[str, str, tuple[str, ...], list[str]]:
            booted = bootable.boot(SERVE)
            served = page(booted.address, "/etc/motd")
            halt(bootable.path)
            return booted.runtime, served, booted.not_isolated, left_behind(bootable)

        runtime, served, not_isolated, left = in_child(in_user_namespace, work)
        assert (runtime, served, left) == ("bwrap", "a page\n", [])
        assert "network: the zone shares this host's" in " ".join(not_isolated)

    @needs("root", "mount", "setpriv")
    def test_chroot_is_the_last(self, bootable: Zone, scratch: Path) -> None:
        subprocess.run(["mount", "--bind", bootable.path / "image/usr", bootable.root / "usr"], check=True)
        script = "busybox [ -d /usr/share ] && exec busybox sleep 1000"
        with only_commands(scratch, "chroot", "env", "setpriv", "mount"):
            booted = bootable.boot(script)
        assert booted.runtime == "chroot"
        assert [name in " ".join(booted.warnings) for name in ("runc", "bubblewrap")] == [True, True]
        assert any("never for tenants" in loss for loss in booted.not_isolated)
        status = dict(
            line.split(":\t") for line in Path(f"/proc/{booted.pid}/status").read_text().splitlines()
        )
        assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == ALLOWED
        assert status["NoNewPrivs"] == "1"
        assert booted.pid in {process.pid for process in zone_processes(bootable.root)}
        halt(bootable.path)
        assert not zone_processes(bootable.root)
        assert left_behind(bootable) == []

    @needs("root", "setpriv", "busybox")
    def test_chroot_needs_the_shared_directories(self, bootable: Zone) -> None:
        with pytest.raises(BootError, match="shared directories mounted") as caught:
            bootable.boot(SERVE, runtime="chroot")
        assert caught.value.hint == f"partialroot mount {bootable.path}"

    def test_chroot_has_no_address(self, bootable: Zone) -> None:
        with pytest.raises(BootError, match="chroot shares the host's network"):
            bootable.boot(SERVE, runtime="chroot", address="10.213.9.2")

    def test_where_nothing_works(self, bootable: Zone, scratch: Path) -> None:
        with only_commands(scratch), pytest.raises(BootError) as caught:
            bootable.boot(SERVE)
        for package in ("runc", "bubblewrap"):
            assert f"apt install {package}" in caught.value.message
        assert left_behind(bootable) == []
