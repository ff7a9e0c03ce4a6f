"""``verify --watch``: what a zone looks for in vain, and that nothing else is told."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bootable import PATIENCE, until
from command import CHECKOUT, Done, partialroot
from needs import needs
from test_learn_lines import TOPS, make

from partialroot.host.linux.processes import zone_processes
from partialroot.learn.lesson import Known, Source
from partialroot.learn.missed import missed
from partialroot.learn.trace import Lookup, Trace, Use
from partialroot.model import Profile
from partialroot.nodes import Item
from partialroot.paths import RootPath
from partialroot.plan.policy import Excludes
from partialroot.source.packages.base import NoPackages

Zone = Callable[..., "Watched"]

SLEEP = f"sleep 1000.{os.getpid()}"
"""What the zones of this process do at the end, and nobody else's."""


class Watched:
    """A zone that runs a shell script and then sleeps, its store, and a probe that waits for the sleep."""

    def __init__(self, path: Path, store: Path) -> None:
        self.path, self._store = path, store
        self.asleep = f"pgrep --full --exact '{SLEEP}'"

    def watch(self, *words: str | Path, probe: str = "", code: int | None = 0) -> Done:
        words = ("verify", "--watch", self.path, "--store", self._store, *words)
        done = partialroot(*words, "--probe", probe or self.asleep, "--wait", "60", code=code)
        assert not zone_processes(self.path / "root"), "it was halted"
        return done


@pytest.fixture
def zone(scratch: Path, store: Path) -> Iterator[Zone]:
    """A function that populates a zone with a shell script to run, and more lines for its profile."""

    def populate(script: str, more: str = "", *, code: int = 0) -> Watched:
        profile = scratch / "app.toml"
        command = json.dumps(["/bin/sh", "-c", f"{script}; exec {SLEEP}"])
        profile.write_text(f'uses = ["base"]\n{more}\n[start]\ncommand = {command}\n')
        partialroot("populate", scratch / "zone", profile, "--store", store, "-q", code=code)
        return Watched(scratch / "zone", store)

    yield populate
    if (scratch / "zone").exists():
        partialroot("remove", scratch / "zone", "--store", store, code=None)


def lines(done: Done) -> list[str]:
    return [line.partition("  # ")[0] for line in done.out.splitlines()]


@needs("root", "glibc", "mount", "runc", "strace", "veth")
class TestZones:
    """Zones that are run for it."""

    def test_nothing_is_said_where_nothing_is_lacking(self, zone: Zone) -> None:
        done = zone("cat /etc/hosts /no/such; ls /tmp").watch()
        assert (done.out, done.err) == ("", "")

    @pytest.mark.parametrize("runtime", ["runc", "bwrap", "chroot"])
    def test_what_is_lacking_is_a_line_to_paste(self, zone: Zone, runtime: str) -> None:
        """Whatever runs the zone: also what its first program asks for first."""
        watched = zone("cd /tmp; cat /etc/services; cat ../etc/services; seq 2")
        done = watched.watch("--runtime", runtime, code=5)
        assert lines(done) == ['programs = ["seq"]', 'files = ["/etc/services"]']
        assert 'files = ["/etc/services"]  # 2 times, by cat' in done.out

    def test_a_line_that_was_pasted_is_what_was_lacking(self, zone: Zone) -> None:
        pasted = "\n".join(lines(zone("cat /etc/services; seq 2").watch(code=5)))
        assert zone("cat /etc/services; seq 2", pasted).watch().out == ""

    def test_json_of_a_secret_a_file_left_out_on_purpose_and_a_directory_to_write_to(
        self, zone: Zone
    ) -> None:
        script = "cat /etc/shadow /etc/services; echo x >/var/cache/x"
        document = zone(script, 'exclude = ["/etc/services"]').watch("--json", code=5).document
        secret, directory = document["findings"]
        assert secret == {
            "actual": "a secret: it holds password hashes",
            "expected": 'secrets = ["/etc/shadow"]',
            "kind": "lookup",
            "path": "/etc/shadow",
            "severity": "error",
            "zonepath": document["zones"][0]["zonepath"],
        }
        assert directory["expected"] == 'directories."/var/cache" = {}'

    def test_a_probe_means_the_zone_s_own_network(self, zone: Zone, store: Path) -> None:
        """A server that listens on the zone's loopback only, and looks for something when it is asked."""
        server = "import http.server as h, os; s = h.SimpleHTTPRequestHandler; f = s.do_GET; "
        server += 's.do_GET = lambda one: (os.path.exists("/etc/services"), f(one)); '
        server += 'h.HTTPServer((\\"127.0.0.1\\", 8000), s).serve_forever()'
        watched = zone(
            f"exec python3 -c '{server}'".replace('\\"', '"'),
            'programs = ["python3"]\nfiles = ["/usr/lib/python3.[0-9]*"]',
        )
        assert 'files = ["/etc/services"]' in lines(watched.watch(probe="http://127.0.0.1:8000/", code=5))
        words = ("verify", "--watch", watched.path, "--probe", "http://127.0.0.1:8001/", "--wait", "0.2")
        assert "did not succeed" in partialroot(*words, "--store", store, code=None).err

    @pytest.mark.parametrize("late", ["", "sleep 1; "])
    def test_a_zone_that_cannot_run_is_told_why(self, zone: Zone, store: Path, late: str) -> None:
        """What it looked for last is most likely the reason; without any, the failure is all there is."""
        words = ("verify", "--watch", "--wait", "0", "--for", "60", "--store", store)
        done = partialroot(*words, zone(f"{late}cat /etc/services || exit 3").path, code=5)
        assert lines(done) == ['files = ["/etc/services"]']
        assert ", with exit code 3: cat: /etc/services: No such file" in done.err
        assert (
            ", with exit code 4: it said nothing"
            in partialroot(*words, zone(f"{late}exit 4").path, code=1).err
        )

    def test_a_running_zone_is_left_alone(self, zone: Zone, store: Path) -> None:
        watched = zone("cat /etc/services")
        partialroot("boot", watched.path, "--store", store)
        try:
            done = partialroot("verify", "--watch", watched.path, "--store", store, code=3)
            assert "the zone is running" in done.err and zone_processes(watched.path / "root")
        finally:
            partialroot("halt", "--grace", "0", watched.path, "--store", store)

    @pytest.mark.parametrize("runtime", ["runc", "chroot"])
    def test_without_a_tracer_nothing_runs(
        self, zone: Zone, store: Path, scratch: Path, runtime: str
    ) -> None:
        watched, commands = zone("cat /etc/services"), scratch / "commands"
        commands.mkdir()
        for name in ("runc", "chroot", "env", "setpriv", "mount"):
            (commands / name).symlink_to(str(shutil.which(name)))
        words = ("verify", "--watch", watched.path, "--runtime", runtime, "--store", store)
        done = partialroot(*words, code=2, before=("env", f"PATH={commands}"))
        assert "strace is not installed" in done.err and not zone_processes(watched.path / "root")

    def test_an_interrupt_ends_the_watch_and_its_findings_are_told(
        self, zone: Zone, store: Path, scratch: Path
    ) -> None:
        watched = zone("cat /etc/services")
        asked = scratch / "asked"  # before it is, an interrupt is one of a boot
        probe = f"sh -c '{watched.asleep.replace(chr(39), chr(34))} && : >{asked}; exit 1'"
        words = ["verify", "--watch", str(watched.path), "--store", str(store), "--probe", probe]
        process = subprocess.Popen(
            [sys.executable, "-m", "partialroot", *words, "--wait", "1000"],
            env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        until(asked.exists, "the zone sleeps")
        process.send_signal(signal.SIGINT)
        assert "/etc/services" in process.communicate(timeout=PATIENCE)[0] and process.returncode == 5
        assert not zone_processes(watched.path / "root")

    def test_options_of_watch_alone(self, zone: Zone, store: Path) -> None:
        done = partialroot("verify", "/zone", "--probe", "true", "--store", store, code=2)
        assert "--probe, --for and --runtime go with --watch" in done.err


# --- which lookups count ----------------------------------------------------------------------------


def told(root: Path, *lookups: str, paths: tuple[str, ...] = (), exclude: str = "/none") -> list[str]:
    """Return what is missed after lookups: ``path``, ``+path`` (found), ``!path`` (written), ``2:path``."""
    source = Source(make(root), NoPackages(), tuple(map(RootPath, TOPS)))
    profile = Profile("a", "a", exclude=(Item(exclude, "a:1"),))
    known = Known(frozenset(map(RootPath, paths)), profile, Excludes(source.tree, profile.exclude))
    made = []
    for text in lookups:
        number, _, rest = text.rpartition(":")
        path = rest.lstrip("+!")
        use = Use.WRITE if "!" in rest else Use.READ
        made.append(Lookup(path, use, "" if "+" in rest else "ENOENT", "app", int(number or 1)))
    found = missed(Trace(tuple(made)), known, source)
    return sorted([*found.files, *found.directories])


SOURCE = (
    "/etc/a",
    "/usr/lib/x/mod.so",
    "/opt/x/mod.so",
    "/var/lib/app/db",
    "/srv/app/db",
    "/proc/1",
    "/tmp/t",
    "/run/r/s",
)


@pytest.mark.parametrize(
    ("lookups", "paths", "wanted"),
    [
        (["/etc/a"], (), ["/etc/a"]),
        (["/etc/../etc/./a"], (), ["/etc/a"]),
        (["/etc/b", "/proc/1", "/etc/ld.so.cache"], (), []),  # nobody has it, or the kernel or linker does
        (["/etc/a"], ("/etc/a",), []),  # it is there: something else was wrong
        (["/etc/a", "+/etc/a"], (), []),  # it came later
        (["/usr/lib/x/mod.so", "+/opt/x/mod.so"], (), []),  # a search path
        (["/usr/lib/x/mod.so", "2:+/opt/x/mod.so"], (), ["/usr/lib/x/mod.so"]),  # of another process
        (["+/opt/x/mod.so", "/usr/lib/x/mod.so"], (), ["/usr/lib/x/mod.so"]),  # found before
        (["/var/lib/app/db"], ("/var/lib/app",), []),  # the zone's own state
        (["/var/lib/app/db"], ("/var/lib",), ["/var/lib/app/db"]),
        (["/run/r/s", "/tmp/t"], ("/tmp",), ["/run/r/s"]),
        (["/srv/app/db"], ("/srv/app",), ["/srv/app/db"]),
        (["/srv/app/db", "!+/srv/app/log"], ("/srv/app",), []),  # the zone writes there itself
        (["!/var/lib/app/new"], (), ["/var/lib/app"]),  # what is lacking is the directory
        (["!/etc/a"], ("/etc",), []),
    ],
)
def test_which_lookups_are_told(
    tmp_path: Path, lookups: list[str], paths: tuple[str, ...], wanted: list[str]
) -> None:
    make(tmp_path, *SOURCE)
    assert told(tmp_path, *lookups, paths=paths) == wanted


def test_excluded_paths_sockets_and_devices_are_not_told(tmp_path: Path) -> None:
    import os
    import socket

    make(tmp_path, "/srv/left/out", "/srv/x/")
    os.mkfifo(tmp_path / "srv/fifo")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "srv/socket"))
    assert told(tmp_path, "/srv/left/out", "/srv/fifo", "/srv/socket", "/srv/x", exclude="/srv/left") == [
        "/srv/x"
    ]
