"""Read-only binds, on real mounts: what they are, never less even for a moment, and hostile roots."""

import errno
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from bootable import PATIENCE
from children import beside, in_child, in_mount_namespace, in_user_and_mount_namespace, in_user_namespace
from moments import descriptors
from needs import needs
from swapper import rounds
from treedump import dump

from partialroot.errors import ApplyError, BusyError, PartialRootError
from partialroot.host.linux.mountinfo import Mount, read
from partialroot.host.linux.mounts import bind_readonly, state, unbind
from partialroot.paths import RootPath

pytestmark = needs("root", "mount")

USR = RootPath("/usr")
Mounter = Callable[..., Path]


class Zone:
    """An image with one directory, and a root with the mount point for it."""

    def __init__(self, place: Path) -> None:
        self.place, self.image, self.root = place, place / "image", place / "zone/root"
        (self.image / "usr/bin").mkdir(parents=True)
        (self.image / "usr/bin/tool").write_text("tool\n")
        (self.root / "usr").mkdir(parents=True)

    def bind(self, at: RootPath = USR) -> None:
        bind_readonly(self.image / "usr", self.root, at)

    def mount(self) -> Mount:
        """Return the mount at /usr."""
        found = read().at(self.root / "usr")
        assert found is not None
        return found

    def state(self) -> str:
        return state(self.root, USR, self.image, read())


@pytest.fixture
def zone(scratch: Path) -> Zone:
    return Zone(scratch)


@contextmanager
def nothing_mounted() -> Iterator[None]:
    """Make sure that no mount is added or lost inside, and no descriptor left open."""
    before, count = read(), descriptors()
    yield
    assert read() == before
    assert descriptors() == count


def test_a_bind_is_read_only_without_devices_private_and_complete(zone: Zone) -> None:
    os.mknod(zone.image / "usr/null", 0o20666, os.makedev(1, 3))
    before = dump(zone.image / "usr")
    zone.bind()
    assert dump(zone.root / "usr") == before
    assert {"ro", "nodev"} <= set(zone.mount().options) and zone.mount().propagation == ()
    with pytest.raises(OSError, match="Read-only"):
        (zone.root / "usr/bin/tool").write_text("changed")
    with pytest.raises(PermissionError):
        (zone.root / "usr/null").read_bytes()
    assert zone.state() == "present"


def test_submounts_of_the_source_are_not_bound(zone: Zone, mounted: Mounter) -> None:
    mounted(zone.image / "usr/bin")
    (zone.image / "usr/bin/hidden").touch()
    zone.bind()
    assert os.listdir(zone.root / "usr/bin") == ["tool"]
    assert [mount.point for mount in read().below(zone.root)] == [f"{zone.root}/usr"]


def test_what_is_mounted_later_in_a_shared_source_does_not_appear(scratch: Path, mounted: Mounter) -> None:
    """With mount(8)'s ``-o bind,ro`` it does: the last line shows that the test can fail."""
    zone = zone_on_shared_mount(scratch, mounted)
    (zone.place / "naive").mkdir()
    zone.bind()
    subprocess.run(["mount", "--bind", "-o", "ro", zone.image / "usr", zone.place / "naive"], check=True)
    assert zone.mount().propagation == ()
    mounted(zone.image / "usr/bin")
    (zone.image / "usr/bin/writable").touch()
    assert os.listdir(zone.root / "usr/bin") == ["tool"]
    assert os.listdir(zone.place / "naive/bin") == ["writable"]


def zone_on_shared_mount(place: Path, mounted: Mounter) -> Zone:
    """Return a zone on a shared mount, as systemd's / is one."""
    subprocess.run(["mount", "--make-shared", mounted(place)], check=True)
    return Zone(place)


def test_what_another_namespace_mounts_in_its_copy_stays_there(scratch: Path, mounted: Mounter) -> None:
    zone = zone_on_shared_mount(scratch, mounted)
    go, done = os.pipe(), os.pipe()

    def mount_in_the_copy() -> None:
        os.read(go[0], 1)
        subprocess.run(["mount", "-t", "tmpfs", "none", zone.root / "usr/bin"], check=True)
        os.write(done[1], b"1")
        os.read(go[0], 1)

    with beside(in_mount_namespace, mount_in_the_copy):
        zone.bind()
        os.write(go[1], b"1")
        os.read(done[0], 1)
        assert os.listdir(zone.root / "usr/bin") == ["tool"]
        assert unbind(zone.root, USR)
    for descriptor in (*go, *done):
        os.close(descriptor)


def test_a_bind_is_never_seen_writable(zone: Zone) -> None:
    """Another process reads mountinfo without pause while binds come and go, until it saw many of them."""
    answer, tell = os.pipe()
    with beside(lambda: None, lambda: os.write(tell, watch(zone.root / "usr", sightings=50))):
        while not select.select([answer], [], [], 0)[0]:
            zone.bind()
            unbind(zone.root, USR)
        assert os.read(answer, 1000) == b"good"
    os.close(answer)
    os.close(tell)


def watch(point: Path, sightings: int) -> bytes:
    """Look at a mount point until a mount was seen there often, or a bad one once; return what was seen."""
    while sightings:
        found = [mount for mount in read() if mount.point == str(point)]
        if any(not {"ro", "nodev"} <= set(mount.options) for mount in found):
            return repr(found).encode()
        sightings -= bool(found)
    return b"good"


@needs("strace")
def test_a_bind_is_complete_before_it_is_attached(zone: Zone, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from partialroot.paths import RootPath;"
        "from partialroot.host.linux.mounts import bind_readonly as bind;"
        "bind(Path(sys.argv[1]), Path(sys.argv[2]), RootPath('/usr'))"
    )
    log = tmp_path / "log"
    calls = "trace=open_tree,mount_setattr,move_mount,mount,umount2"
    command = [sys.executable, "-c", program, f"{zone.image}/usr", str(zone.root)]
    home = {"PYTHONPATH": str(Path(__file__).parents[1])}
    subprocess.run(["strace", "-qq", "-e", calls, "-o", log, *command], env=os.environ | home, check=True)
    first, second, third, fourth = log.read_text().splitlines()
    assert first.startswith("open_tree(") and "OPEN_TREE_CLONE" in first and "AT_RECURSIVE" not in first
    assert second.startswith("mount_setattr(") and "MOUNT_ATTR_RDONLY|MOUNT_ATTR_NODEV" in second
    assert "MS_PRIVATE" in second
    assert third.startswith("move_mount(") and ', "", ' in third and "MOVE_MOUNT_T_EMPTY_PATH" in third
    assert fourth.startswith("mount_setattr(") and "MS_PRIVATE" in fourth


def test_rm_rf_of_the_zonepath_leaves_image_and_source(zone: Zone) -> None:
    (zone.root / "etc").mkdir()
    before = dump(zone.image)
    zone.bind()
    subprocess.run(["rm", "-rf", zone.root.parent], stderr=subprocess.DEVNULL, check=False)
    assert dump(zone.image) == before
    assert os.listdir(zone.root) == ["usr"]


# --- hostile roots ----------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["{outside}", "../../outside", "/", "usr", "missing"])
@pytest.mark.parametrize("at", ["/usr", "/deep/down/usr", "/deep/usr"])
def test_a_symlink_in_the_way_is_refused(zone: Zone, at: str, target: str) -> None:
    outside = zone.place / "outside"
    (outside / "usr").mkdir(parents=True)
    planted = zone.root / at.split("/")[1]
    with suppress(FileNotFoundError):
        planted.rmdir()
    planted.symlink_to(target.format(outside=outside))
    with nothing_mounted(), pytest.raises(ApplyError, match="a symlink is in the way"):
        zone.bind(RootPath(at))


@pytest.mark.parametrize("kind", ["file", "fifo", "socket", "device", "absent"])
def test_what_is_no_directory_is_refused(zone: Zone, kind: str) -> None:
    place = zone.root / "usr"
    place.rmdir()
    make: dict[str, Callable[[], object]] = {
        "file": place.touch,
        "fifo": lambda: os.mkfifo(place),
        "socket": lambda: os.mknod(place, 0o140600),
        "device": lambda: os.mknod(place, 0o60600, os.makedev(7, 0)),
        "absent": lambda: None,
    }
    make[kind]()
    with nothing_mounted(), pytest.raises(ApplyError, match=r"no directory is in the way|no such directory"):
        zone.bind()
    assert not unbind(zone.root, USR)


def test_a_root_that_is_a_symlink_is_refused(zone: Zone) -> None:
    zone.root.rename(zone.place / "moved")
    zone.root.symlink_to(zone.place / "moved")
    with nothing_mounted(), pytest.raises(ApplyError):
        zone.bind()


def test_a_racing_swapper_never_gets_a_mount_outside_of_the_root(zone: Zone) -> None:
    """The tenant, in its own mount namespace, swaps the mount point for symlinks and renames it."""
    outside = zone.place / "outside"
    outside.mkdir()
    outcomes: set[str] = set()
    with beside(in_mount_namespace, lambda: swap_for_ever(zone.root, outside)):
        for _ in rounds(outcomes, {"bound", "a symlink is in the way"}):
            outcomes.add(one_race(zone, outside))


def swap_for_ever(root: Path, outside: Path) -> None:
    """Swap, until killed: a directory, a symlink, another directory."""
    usr, away, other = str(root / "usr"), str(root / "away"), str(root / "other")
    os.mkdir(other)
    while True:
        with suppress(OSError):
            os.rename(usr, away)
        with suppress(OSError):
            os.symlink(outside, usr)
        with suppress(OSError):
            os.unlink(usr)
        with suppress(OSError):
            os.rename(other, usr)
        with suppress(OSError):
            os.rename(usr, other)
        with suppress(OSError):
            os.rename(away, usr)


def one_race(zone: Zone, outside: Path) -> str:
    """Bind once; return how it went, with nothing mounted outside and nothing mounted any more."""
    try:
        zone.bind()
        outcome = "bound"
    except ApplyError as error:
        outcome = error.message.rsplit(": ")[-1]
        assert not read().below(zone.root)
    assert not read().below(outside)
    unbind_wherever(zone)
    return outcome


def unbind_wherever(zone: Zone) -> None:
    """Unmount all below the root, which the swapper moves about meanwhile."""
    deadline = time.monotonic() + PATIENCE
    while mounts := read().below(zone.root):
        assert time.monotonic() < deadline
        with suppress(PartialRootError):
            unbind(zone.root, RootPath(mounts[0].point.removeprefix(str(zone.root))))


# --- states and unmounting --------------------------------------------------------------------------


def test_the_states(zone: Zone) -> None:
    assert zone.state() == "absent"
    zone.bind()
    assert zone.state() == "present"
    assert unbind(zone.root, USR) and zone.state() == "absent"
    assert not unbind(zone.root, USR)


@pytest.mark.parametrize("options", ["bind", "bind,ro", "bind,nodev"])
def test_a_bind_that_is_not_as_ours_is_foreign(zone: Zone, options: str) -> None:
    subprocess.run(["mount", "-o", options, zone.image / "usr", zone.root / "usr"], check=True)
    assert zone.state() == "foreign"


def test_another_image_is_foreign(zone: Zone, mounted: Mounter) -> None:
    zone.bind()
    assert state(zone.root, USR, zone.place / "image2", read()) == "foreign"
    (zone.image / "usr").rename(zone.image / "old")
    assert zone.state() == "foreign"
    shutil.rmtree(zone.image / "old")
    assert zone.state() == "foreign"
    (zone.image / "usr").mkdir()
    assert zone.state() == "foreign"
    assert unbind(zone.root, USR)
    mounted(zone.root / "usr", "-o", "ro,nodev")
    assert zone.state() == "foreign"


def test_an_image_on_a_mount_of_its_own_is_present(scratch: Path, mounted: Mounter) -> None:
    zone = Zone(mounted(scratch))
    zone.bind()
    assert zone.state() == "present"


def test_the_same_name_on_another_file_system_is_foreign(scratch: Path, mounted: Mounter) -> None:
    for name in ("a", "b"):
        (scratch / name).mkdir()
    zone, other = Zone(mounted(scratch / "a")), Zone(mounted(scratch / "b"))
    bind_readonly(other.image / "usr", zone.root, USR)
    assert zone.state() == "foreign"
    assert state(zone.root, USR, other.image, read()) == "present"


@needs("btrfs")
def test_an_image_in_a_subvolume_is_present(loop_fs: Callable[[str], Path]) -> None:
    top = loop_fs("btrfs")
    subprocess.run(["btrfs", "-q", "subvolume", "create", top / "sub"], check=True)
    zone = Zone(top / "sub")
    zone.bind()
    assert zone.state() == "present"


def test_nothing_is_bound_over_a_mount(zone: Zone) -> None:
    zone.bind()
    with nothing_mounted(), pytest.raises(ApplyError, match="something is mounted there already"):
        zone.bind()


def test_a_source_that_is_not_there_or_a_symlink_is_refused(zone: Zone) -> None:
    with nothing_mounted(), pytest.raises(ApplyError, match="there is no such directory") as caught:
        bind_readonly(zone.image / "lib", zone.root, USR)
    assert caught.value.path == str(zone.image / "lib")
    (zone.image / "lib").symlink_to("usr")
    with nothing_mounted(), pytest.raises(ApplyError):
        bind_readonly(zone.image / "lib", zone.root, USR)


def test_a_bind_in_use_is_busy(zone: Zone) -> None:
    zone.bind()
    with open(zone.root / "usr/bin/tool"), nothing_mounted(), pytest.raises(BusyError, match="in use"):
        unbind(zone.root, USR)
    (zone.root / "usr").stat()
    assert unbind(zone.root, USR)


def test_a_symlink_to_a_mount_is_not_followed_to_unmount_it(zone: Zone, mounted: Mounter) -> None:
    outside = zone.place / "outside"
    outside.mkdir()
    mounted(outside)
    (zone.root / "usr").rmdir()
    (zone.root / "usr").symlink_to(outside)
    with nothing_mounted():
        assert not unbind(zone.root, USR)


@needs("userns")
def test_without_the_right_to_mount_it_says_so(zone: Zone) -> None:
    def refused() -> str:
        with nothing_mounted(), pytest.raises(ApplyError) as caught:
            zone.bind()
        return caught.value.message

    assert "may not mount" in in_child(in_user_namespace, refused)


@needs("userns")
def test_in_a_user_namespace_with_its_own_mounts(zone: Zone) -> None:
    """It mounts there as everywhere, and does not take a mount of the outside for unmounted."""

    def bind_and_unbind() -> str:
        zone.bind(RootPath("/own"))
        assert unbind(zone.root, RootPath("/own"))
        with pytest.raises(ApplyError) as caught:
            unbind(zone.root, USR)
        return caught.value.message

    (zone.root / "own").mkdir()
    zone.bind()
    assert "locked" in in_child(in_user_and_mount_namespace, bind_and_unbind)


def test_no_descriptor_is_left_open(zone: Zone) -> None:
    with nothing_mounted():
        zone.bind()
        assert unbind(zone.root, USR)


def test_a_failing_last_step_leaves_nothing_mounted(zone: Zone, monkeypatch: pytest.MonkeyPatch) -> None:
    from partialroot.host.linux import mounts

    def moved(tree: int, top: int, at: RootPath) -> None:
        assert read().at(zone.root / "usr")
        raise OSError(errno.ESTALE, "moved")

    monkeypatch.setattr(mounts, "_confirm", moved)
    with nothing_mounted(), pytest.raises(ApplyError, match="moved away"):
        zone.bind()
