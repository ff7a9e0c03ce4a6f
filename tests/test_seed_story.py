"""The story this project began with, from the first command to the last.

Somebody has an illumos system and wants a small zone that serves a page with node.js. mvi shows how few
files that takes: those of four processes. But it makes an archive of them, which the zone then unpacks. Here
nothing is packed: the files are there already, in the global zone.

The system is Tribblix as its package database has it; zoneadm and zoneadmd are played, ZFS is real. As Linux
cannot run its programs, the page itself is served by the same profile on Linux, at the end.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from bootable import page, until
from branded import STORE, ZONEPATH, Branded
from command import partialroot
from lifecycle.machine import NEEDS
from needs import needs, require
from spaces import mounts_below

MVI_NEEDED = 160  # files, for the same
LIBC = "/lib/libc.so.1"


class Tribblix(Branded):
    """A system with one pool and one boot environment, and node installed from its packages."""

    packages: Path

    def _make_source(self) -> None:
        subprocess.run(["cp", "-a", f"{self.packages}/.", self.path("/be")], check=True)
        self.path("/be/profiles").mkdir(mode=0o755)

    # --- what its administrator sees ------------------------------------------------------------------

    def everything(self) -> list[object]:
        """Return what a zone could leave behind: datasets, mounts, and what is in our store."""
        parts = [self.path(f"{STORE}/{part}") for part in ("images", "zones", "journal", "locks")]
        kept = [name for part in parts if part.exists() for name in os.listdir(part)]
        return [self.datasets("rpool", "mountpoint", "origin"), self.mounts(), kept]

    def processes(self) -> list[str]:
        """Return the names of the processes in the zone."""
        found = []
        for place in Path("/proc").glob("[0-9]*"):
            try:
                if os.readlink(place / "root") == str(self.path(f"{ZONEPATH}/root")):
                    found.append((place / "comm").read_text().strip())
            except OSError:  # it ended, or is nobody's
                continue
        return sorted(found)

    def comes_to_run(self, *names: str) -> None:
        """Wait until just these run in the zone: booting returns before they do."""
        until(lambda: self.processes() == sorted(names), f"{names} run")

    def files(self) -> list[Path]:
        """Return all regular files that the zone can see: its own, and those of the image."""
        tops = (self.path(f"{ZONEPATH}/root"), self.image())
        found = [path for top in tops for path in top.rglob("*") if path.is_file() and not path.is_symlink()]
        return [path for path in found if path.parent != self.image()]  # our own notes in the image

    def upgrade(self, path: str) -> None:
        """Install the next version of a package's file, by rename, as packages do."""
        file = self.path(f"/be{path}")
        fresh = file.with_name(f"{file.name}.fresh")
        shutil.copy2(file, fresh)
        with fresh.open("ab") as end:
            end.write(b"\0the next version")
        fresh.rename(file)


@pytest.fixture
def tribblix(tmp_path: Path, global_zone: Path) -> Iterator[Tribblix]:
    require(*NEEDS, "zfs", "busybox")
    Tribblix.packages = global_zone
    system = Tribblix(tmp_path)
    yield system
    system.close()
    assert not mounts_below(tmp_path)


def test_a_node_zone_lives_and_leaves_nothing(tribblix: Tribblix) -> None:
    """configure, install, boot; the system is upgraded, the zone follows; it goes, and all is as before."""
    before = tribblix.everything()
    as_shipped = tribblix.path(f"/be{LIBC}").read_bytes()

    # A zone with an address of its own in the shared IP stack.
    address = "add net; set physical=e1000g0; set address=192.0.2.7/24; end"
    tribblix.zonecfg("web", f"create -t TRIBpartial; set zonepath={ZONEPATH}; {address}")
    tribblix.zoneadm("web", "install", "-p", "node", "-p", "nonet")

    # It has the files of four processes, fewer than a list made by hand, and each says why it is there.
    files = tribblix.files()
    assert len(files) <= MVI_NEEDED
    assert {"init", "ksh93", "node", "libc.so.1", "server.js"} <= {path.name for path in files}
    why = tribblix.partialroot("explain", ZONEPATH, LIBC).out
    assert "needed" in why and ".toml:" in why

    # What it only reads is the system's own: the same inodes. What it may write is nobody else's.
    image, root = tribblix.image(), tribblix.path(f"{ZONEPATH}/root")
    assert (image / LIBC[1:]).samefile(tribblix.path(f"/be{LIBC}"))
    assert all(path.stat().st_nlink == 1 for path in files if path.is_relative_to(root))

    # It boots. The global zone gives it its address; nothing runs in it but what was asked for.
    tribblix.zoneadm("web", "boot")
    assert tribblix.state("web") == "running"
    assert tribblix.plumbed("web") == ["lo0 127.0.0.1", "e1000g0 192.0.2.7/24"]
    tribblix.comes_to_run("init", "node")
    assert tribblix.path("/run/zones/web.console").read_text() == ""
    assert {f"{ZONEPATH}/root/{top}" for top in ("usr", "lib", "sbin")} <= set(tribblix.mounts())

    # The system gets a new C library. The zone keeps the old one for as long as it runs ...
    tribblix.upgrade(LIBC)
    assert (tribblix.image() / LIBC[1:]).read_bytes() == as_shipped
    (zone,) = json.loads(tribblix.partialroot("status", "--all", "--json", code=5).out)["zones"]
    assert (zone["state"], zone["running"]) == ("stale", True)

    # ... and has the new one when it starts again. What was edited in it stays.
    (root / "srv/www/index.html").write_text("edited in the zone")
    assert "brought up to date" in tribblix.zoneadm("web", "reboot").err
    assert (tribblix.image() / LIBC[1:]).samefile(tribblix.path(f"/be{LIBC}"))
    assert (root / "srv/www/index.html").read_text() == "edited in the zone"
    tribblix.comes_to_run("init", "node")

    # It goes, and pool, mount table and store are as they were.
    tribblix.zoneadm("web", "halt")
    assert tribblix.plumbed("web") == []
    tribblix.zoneadm("web", "uninstall", "-F")
    tribblix.zonecfg("web", "delete")
    assert tribblix.everything() == before


@needs("root", "mount", "veth", "runc", "node", "glibc")
def test_the_page_is_served_on_linux(scratch: Path) -> None:
    """The same three steps where Linux is the global zone, with the profile of the same name."""
    mounts = Path("/proc/self/mountinfo").read_text()
    zonepath, store = scratch / "web", scratch / "store"

    partialroot("populate", zonepath, "node", "--store", store)
    (booted,) = partialroot("boot", zonepath, "--store", store, "--json").document["zones"]
    try:
        assert "This page comes from a zone" in page(booted["address"], "/")
        (zone,) = partialroot("status", zonepath, "--store", store, "--json").document["zones"]
        assert zone["state"] == "current" and len(zone["processes"]) <= 4
        assert any("node" in process["command"] for process in zone["processes"])
    finally:
        partialroot("halt", zonepath, "--store", store)
    partialroot("remove", zonepath, "--store", store)

    assert not zonepath.exists()
    assert [os.listdir(store / part) for part in ("images", "zones", "journal", "locks")] == [[]] * 4
    assert Path("/proc/self/mountinfo").read_text() == mounts
