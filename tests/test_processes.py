"""Who lives in a zone and who has what mounted, with real processes and namespaces."""

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from bootable import until
from children import as_nobody, beside, die_with_parent, in_child, in_mount_namespace
from needs import needs

from partialroot.host.linux.mounts import bind_readonly
from partialroot.host.linux.processes import other_mounts, zone_processes
from partialroot.paths import RootPath

Mounter = Callable[..., Path]


@pytest.fixture
def root(scratch: Path) -> Path:
    """A zone's root with a directory in it."""
    (scratch / "root/empty").mkdir(parents=True)
    return scratch / "root"


def pids(root: Path) -> set[int]:
    return {process.pid for process in zone_processes(root)}


def in_zone(root: Path) -> Callable[[], None]:
    """Return what makes a process one of a zone: as runc, with a bind of the root and its own mounts."""

    def enter() -> None:
        in_mount_namespace()
        subprocess.run(["mount", "--bind", root, root], check=True)
        os.chroot(root)
        os.chdir("/")

    return enter


def test_a_root_where_no_one_lives(root: Path) -> None:
    assert zone_processes(root) == ()


def test_a_root_that_is_not_there(root: Path) -> None:
    with pytest.raises(FileNotFoundError):
        zone_processes(root / "missing")


@needs("root")
def test_a_process_in_a_chroot(root: Path) -> None:
    with beside(lambda: os.chroot(root), signal.pause) as pid:
        (found,) = zone_processes(root)
        assert found.pid == pid
        assert found.command == " ".join(Path("/proc/self/cmdline").read_text().split("\0")).rstrip()
        assert not pids(root / "empty")
    assert not pids(root)


@needs("root", "mount")
def test_a_process_in_another_mount_namespace(root: Path) -> None:
    with beside(in_zone(root), signal.pause) as pid:
        assert pids(root) == {pid}


@needs("root", "mount")
def test_one_that_hides_in_a_chroot_inside_of_the_zone(root: Path) -> None:
    def zone() -> None:
        if os.fork() == 0:
            die_with_parent()
            os.chroot("/empty")
        signal.pause()

    with beside(in_zone(root), zone) as pid:
        until(lambda: len(pids(root / "empty") - {pid}) == 1, "it hides")
        (child,) = (process.pid for process in zone_processes(root) if process.pid != pid)
        assert os.path.samefile(f"/proc/{child}/root/.", root / "empty")


@needs("root")
def test_the_hosts_processes_are_not_a_chroots(root: Path) -> None:
    """One in a chroot of the host's mount namespace does not make all of the host's processes the zone's."""
    with beside(lambda: os.chroot(root), signal.pause) as pid:
        assert pids(root) == {pid}


@needs("root")
def test_a_dead_one_that_no_one_has_waited_for(root: Path) -> None:
    with beside(lambda: os.chroot(root), lambda: None) as pid:
        until(lambda: " Z " in Path(f"/proc/{pid}/stat").read_text(), "it is dead")
        assert zone_processes(root) == ()


@needs("root")
def test_the_command_is_the_process_own_text(root: Path) -> None:
    busy = ["/bin/sh", "-c", "kill -STOP $$; exit", "\x1b[31mred\n", "\udcff"]
    with subprocess.Popen(busy) as process:
        until(lambda: " T " in Path(f"/proc/{process.pid}/stat").read_text(), "it is stopped")
        found = {one.pid: one.command for one in zone_processes(Path("/"))}
        assert found[process.pid] == " ".join(busy)
        process.kill()


@needs("root")
def test_who_is_nobody_sees_none_but_does_not_fail(root: Path) -> None:
    root.parent.chmod(0o755)
    with beside(lambda: os.chroot(root), signal.pause):
        assert in_child(as_nobody, lambda: zone_processes(root)) == ()
        in_child(as_nobody, lambda: other_mounts(root))


# --- mounts of others -------------------------------------------------------------------------------


@needs("root", "mount")
@pytest.mark.parametrize("name", ["image", "an image\n\\040"])
def test_a_mount_in_any_namespace_is_seen(root: Path, name: str) -> None:
    image = root.parent / name
    (image / "usr").mkdir(parents=True)
    assert other_mounts(image) == ()

    def mount() -> None:
        in_mount_namespace()
        bind_readonly(image / "usr", root, RootPath("/empty"))

    with beside(mount, signal.pause) as pid:
        assert other_mounts(image) == other_mounts(image / "usr") == other_mounts(image.parent) == (pid,)
        assert other_mounts(image / "usr/bin") == other_mounts(root) == ()
        (image / "usr").rmdir()
        assert other_mounts(image) == (pid,)
    assert other_mounts(image) == ()


@needs("root", "mount")
def test_a_mount_in_this_namespace_is_seen_once(root: Path) -> None:
    image = root.parent / "image"
    (image / "usr").mkdir(parents=True)
    bind_readonly(image / "usr", root, RootPath("/empty"))
    with beside(lambda: None, signal.pause):
        assert len(other_mounts(image)) == 1


@needs("root", "mount")
def test_a_longer_name_is_another(root: Path) -> None:
    (root.parent / "image2").mkdir()
    (root.parent / "image").mkdir()
    bind_readonly(root.parent / "image2", root, RootPath("/empty"))
    assert other_mounts(root.parent / "image2")
    assert not other_mounts(root.parent / "image")


@needs("root", "mount")
def test_the_same_name_on_another_file_system_is_another(root: Path, mounted: Mounter) -> None:
    for name in ("a", "b"):
        (root.parent / name).mkdir()
        (mounted(root.parent / name) / "image").mkdir()
    bind_readonly(root.parent / "a/image", root, RootPath("/empty"))
    assert other_mounts(root.parent / "a/image")
    assert not other_mounts(root.parent / "b/image")
