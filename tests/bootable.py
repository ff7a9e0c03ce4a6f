"""A zone made by hand that can be booted: a busybox of its own, and a shared /usr of hard links."""

import json
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from needs import require
from spaces import network_devices

from partialroot.host.linux.boot import Booted, boot
from partialroot.host.linux.halt import halt
from partialroot.host.linux.oci import bundle_config, host_name
from partialroot.host.linux.pause import pause_program
from partialroot.host.linux.processes import zone_processes
from partialroot.model import PAUSE, Start, ZoneSettings
from partialroot.paths import RootPath

USR = RootPath("/usr")
MACHINE = os.uname().machine
PATIENCE = 120  # seconds: a machine may have other things to do
SERVE = "busybox httpd -f -p 8000 -h /"
DIRECTORIES = ("bin", "dev", "etc", "proc", "run", "srv", "sys", "usr")


@dataclass
class Zone:
    """A zonepath, and the file of the host that its shared layer has a hard link to."""

    path: Path
    victim: Path

    @property
    def root(self) -> Path:
        """The zone's own root."""
        return self.path / "root"

    def configure(self, script: str, *, setuid: bool = False, **settings: Any) -> dict[str, Any]:
        """Write the configuration of a zone that starts a shell script, and return it."""
        start = Start("test", ("/bin/sh", "-c", script), setuid=setuid)
        config = bundle_config(ZoneSettings(start, **settings), host_name(self.path), (USR,), MACHINE)
        return self.write(deepcopy(dict(config)))  # zones share parts of it, and a test may change it

    def write(self, config: dict[str, Any]) -> dict[str, Any]:
        """Write a configuration, and return it."""
        (self.path / "config.json").write_text(json.dumps(config))
        return config

    def boot(self, script: str, **how: Any) -> Booted:
        """Boot with a shell script as the first process."""
        self.configure(script)
        return boot(self.path, **how)

    def asked(self, script: str, *, runtime: str = "auto", **settings: Any) -> str:
        """Boot, and return all that a shell script prints inside; the zone then sleeps."""
        self.configure(telling(script), **settings)
        boot(self.path, runtime=runtime)
        return said(self.root / "srv/said")


def telling(script: str) -> str:
    """Return a script that leaves in ``/srv/said`` what another prints, all at once, and then sleeps."""
    return f"({script}) >/srv/part 2>&1; busybox mv /srv/part /srv/said; exec busybox sleep 1000"


@pytest.fixture
def make_bootable(scratch: Path) -> Iterator[Callable[[str], Zone]]:
    """A function that makes a zone of a name; all are halted at the end."""
    require("busybox")
    made: list[Zone] = []

    def make(name: str) -> Zone:
        made.append(_make(scratch / name, scratch / f"{name}.victim"))
        return made[-1]

    yield make
    for zone in made:
        halt(zone.path, grace=0)


@pytest.fixture
def bootable(make_bootable: Callable[[str], Zone]) -> Zone:
    """A zone that can be booted, and is halted at the end."""
    return make_bootable("zone")


def _make(path: Path, victim: Path) -> Zone:
    zone = Zone(path, victim)
    for name in DIRECTORIES:
        (zone.root / name).mkdir(parents=True)
    (zone.root / "tmp").mkdir()
    (zone.root / "tmp").chmod(0o1777)
    path.chmod(0o700)
    shutil.copy(str(shutil.which("busybox")), zone.root / "bin/busybox")
    (zone.root / "bin/sh").symlink_to("busybox")
    (zone.root / "etc/motd").write_text("a page\n")
    (zone.root / PAUSE.relative).write_bytes(pause_program(MACHINE))
    (zone.root / PAUSE.relative).chmod(0o755)
    image = path.with_name(f"{path.name}.image")
    (image / "usr/share").mkdir(parents=True)
    victim.write_text("the host's\n")
    os.link(victim, image / "usr/share/victim")
    (path / "image").symlink_to(image)
    return zone


def page(address: str | None, path: str) -> str:
    """Return a page of the zone's server, which may take a while to listen."""
    url = f"http://{address or '127.0.0.1'}:8000{path}"
    end = time.monotonic() + PATIENCE
    while True:
        try:
            direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with direct.open(url, timeout=PATIENCE) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError:
            raise
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


def said(path: Path) -> str:
    """Return the content of a file, once it is there: whoever writes it renames it to that name."""
    until(path.exists, str(path))
    return path.read_text()


def until(is_so: Callable[[], object], what: str) -> None:
    """Wait until something is so."""
    end = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < end, f"it did not come about: {what}"
        time.sleep(0.01)


def until_it_runs(zone: Zone, command: str) -> None:
    """Wait until the zone's only process is a command: a shell that becomes it has another name first."""

    def commands() -> list[str]:
        return [process.command for process in zone_processes(zone.root)]

    until(lambda: commands() == [command], command)


def left_behind(zone: Zone) -> list[str]:
    """Return what a boot of the zone could leave on the host, of what is there."""
    from partialroot.host.linux.bundle import Bundle

    bundle = Bundle(zone.path)
    groups = os.walk("/sys/fs/cgroup")  # those of others come and go meanwhile
    cgroups = [f"{top}/{bundle.identifier}" for top, names, _ in groups if bundle.identifier in names]
    places = [bundle.run, Path("/run/runc", bundle.identifier)]
    files = ("/proc/self/mountinfo", "/proc/net/route")
    tables = [line for file in files for line in Path(file).read_text().splitlines()]
    named = [line for line in tables if bundle.identifier in line or bundle.device in line]
    devices = sorted({bundle.device} & network_devices())
    return cgroups + [str(place) for place in places if os.path.lexists(place)] + devices + named
