"""``scripts/quickstart`` as newcomers meet it: with many rights and few, without runc, stopped half-way.

Each run has a network namespace of its own, so that neither the host's ports nor other tests matter.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from bootable import PATIENCE
from needs import needs, require
from spaces import LoopFs

QUICKSTART = Path(__file__).resolve().parent.parent / "scripts/quickstart"
SECONDS = 10 * PATIENCE
WITHOUT_SYS_ADMIN = ("setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin")

Run = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = needs("glibc")


def command(*before: str | Path) -> list[str]:
    """Return the quickstart's command line behind some others."""
    return [*map(str, before), sys.executable, str(QUICKSTART), "--no-install"]


def netless(words: list[str], setup: str = "") -> list[str]:
    """Return a command that runs another in a network namespace with nothing but a loopback."""
    return ["unshare", "-n", "sh", "-ec", f"ip link set lo up; {setup} exec {shlex.join(words)}"]


def left_behind(output: str) -> set[str]:
    """Return what is left of the folder that a quickstart names: itself, mounts and processes in it."""
    folder = re.search(r"populate (\S+)/zone ", output)
    assert folder, output
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    processes = subprocess.check_output(["ps", "-eo", "pid=,args="], text=True).splitlines()
    left = {line for line in (*mounts, *processes) if folder[1] in line}
    return left | ({folder[1]} if Path(folder[1]).exists() else set())


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A function that runs the quickstart behind other commands, and checks that nothing of it is left.

    Unless ``packs``, its gzip packs nothing: that would be most of its time.
    """
    require("veth")
    quick = tmp_path / "quick"
    quick.mkdir()
    (quick / "gzip").write_text("#!/bin/sh\nexec cat\n")
    (quick / "gzip").chmod(0o755)

    def run_it(
        *words: str | Path, setup: str = "", path: str = os.environ["PATH"], packs: bool = False
    ) -> subprocess.CompletedProcess[str]:
        line = netless(command(*words), setup)
        environment = os.environ | {"PATH": path if packs else f"{quick}:{path}"}
        done = subprocess.run(line, capture_output=True, text=True, timeout=SECONDS, env=environment)
        assert not left_behind(done.stdout)
        return done

    return run_it


SAID = (
    r"^\d+ files in [\d.]+ s \(.*\):$",
    r"^[\d.]+ \w+ shared, [\d.]+ \w+ private$",
    r"^Verified: ",
    r"^The same tree packed and unpacked as tar.gz: [\d.]+ s, \d+ times as long$",
    r"^All removed again",
)
SERVED = (r"^HTTP/1\.[01] 200 ", r"<[^>]+>", r"^process \d+: .*(node|python)")


def said(done: subprocess.CompletedProcess[str], *expected: str) -> str:
    """Check that the quickstart succeeded and said all it must; return its output."""
    assert done.returncode == 0, done.stdout + done.stderr
    for line in (*SAID, *expected):
        assert re.search(line, done.stdout, re.MULTILINE), f"{line} not in:\n{done.stdout}{done.stderr}"
    return done.stdout


@needs("root", "mount", "runc")
def test_as_root(run: Run) -> None:
    output = said(run(packs=True), *SERVED, "^Booted by runc, process ")
    assert "NOT " not in output


@needs("root", "mount", "runc", "setpriv")
def test_a_port_that_is_taken(run: Run) -> None:
    bound_to_us = "setpriv --pdeathsig KILL"  # the shell becomes the quickstart: the listener ends with it
    listener = f"{bound_to_us} {sys.executable} -m http.server 8000 >/dev/null 2>&1 &"
    listener += "until ss --no-header --listening --tcp --numeric | grep -q ':8000 '; do sleep 0.05; done;"
    said(run(setup=listener), *SERVED, r"port=8001$")


@needs("userns")
def test_as_root_of_a_user_namespace(run: Run) -> None:
    said(run("unshare", "-r"), rf"^NOT BOOTED: .+; .+$|{SERVED[0]}")


@needs("root", "setpriv")
def test_without_cap_sys_admin(run: Run) -> None:
    said(run(*WITHOUT_SYS_ADMIN), *SERVED, "^  NOT ISOLATED: ")


def path_without(folder: Path, *tools: str) -> str:
    """Return a PATH that has all commands of this system but some."""
    folder.mkdir()
    for place in ("/usr/bin", "/usr/sbin", "/bin", "/sbin"):
        for tool in os.listdir(place):
            if tool not in tools and not (folder / tool).is_symlink():
                (folder / tool).symlink_to(f"{place}/{tool}")
    return str(folder)


@needs("root", "mount")
def test_without_runc(run: Run, tmp_path: Path) -> None:
    done = run(path=path_without(tmp_path / "bin", "runc"))
    output = said(done, *SERVED, r"^Runtime: no runc here .*apt-get install runc", "^  NOT ISOLATED: ")
    assert "Booted by runc" not in output


@needs("userns")
def test_where_nothing_can_boot(run: Run, tmp_path: Path) -> None:
    path = path_without(tmp_path / "bin", "runc", "bwrap", "chroot")
    output = said(run("unshare", "-r", path=path), r"^NOT BOOTED: .+; .*apt-get install runc")
    assert output.splitlines()[-1].startswith("NOT BOOTED: ")


OVERLAY = """
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" none "$1/root"
mount -t proc none "$1/root/proc"
mount --rbind /sys "$1/root/sys"
mount --rbind /dev "$1/root/dev"
mount --bind "$1/run" "$1/root/run"
shift; exec "$@"
"""


@needs("root", "overlay", "ext4", "runc")
def test_on_an_overlay(run: Run, loop_fs: LoopFs) -> None:
    """The overlay's upper directory shows all that was written: nothing new may be left there.

    It has a /run of its own: in the system's, others make and remove at the same time.
    """
    top = loop_fs("ext4", "2G")
    for name in ("upper", "work", "root", "run"):
        (top / name).mkdir()
    own_mounts = ("unshare", "-m", "--propagation", "private", "sh", "-ec", OVERLAY, "sh", top)
    said(run(*own_mounts, "chroot", top / "root"), *SERVED)
    upper = top / "upper"
    written = [path.relative_to(upper) for path in upper.rglob("*")]
    assert not [path for path in written if not (Path("/", path).is_dir() and (upper / path).is_dir())]
    assert not (top / "run/partialroot").exists()


@needs("root", "mount", "runc", "veth")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize("moment", ["$ partialroot populate", "Booted by"])
def test_stopped_in_the_middle(number: signal.Signals, moment: str) -> None:
    with subprocess.Popen(netless(command()), stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        output = ""
        while moment not in output and (line := started.stdout.readline()):
            output += line
        started.send_signal(number)
        output += started.stdout.read()
        assert started.wait(SECONDS) == 130
    assert not left_behind(output)
