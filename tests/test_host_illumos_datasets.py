"""Tests of a zone's datasets, with real pools: zfs-fuse in a machine of its own."""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import plumbum  # noqa: F401 -- once, not in each child
import pytest
from children import in_child
from lifecycle.machine import NEEDS, Machine
from needs import require
from spaces import mounts_below

from partialroot.errors import ApplyError, BusyError, ConflictError, PartialRootError, ZonepathError
from partialroot.host.illumos import mnttab
from partialroot.host.illumos.commands import ZFS, run
from partialroot.host.illumos.datasets import ACTIVE, PARENT, Datasets, refuse_shared_dataset

T = TypeVar("T")
WEB, OTHER = Path("/export/zones/web"), Path("/export/zones/other")
TOP = "rpool/export/zones/web"
MARKS = ("mountpoint", "canmount", "zoned", ACTIVE, PARENT)


class Pool:
    """A machine with a pool, in which functions of ours are called."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def __call__(self, work: Callable[[], T]) -> T:
        """Return what ``work`` returns inside the machine; its own errors are raised here."""

        def inside() -> tuple[T | None, PartialRootError | None]:
            try:
                return work(), None
            except PartialRootError as error:
                return None, error

        result, error = in_child(self.machine.enter, inside)
        if error is not None:
            raise error
        return result  # type: ignore[return-value]

    def zfs(self, *words: str) -> None:
        self.machine.run(ZFS, *words)

    def make(self, zonepath: Path = WEB) -> str:
        """Make a zonepath's dataset, as zoneadm does, and a root in it with one file."""
        self.zfs("create", f"rpool{zonepath}")
        name = self(Datasets(zonepath).create)
        self.machine.write(f"{zonepath}/root/etc/file", "one")
        return name

    def names(self, top: str = TOP) -> list[str]:
        """Return the names of the datasets and snapshots below one, without its own."""
        listed = self.machine.datasets("rpool")
        return [row[0].removeprefix(top) for row in listed if row[0].startswith((f"{top}/", f"{top}@"))]

    def marks(self, name: str) -> list[str]:
        return self.machine.datasets(name, *MARKS)[0][1:]

    def read(self, inside: str) -> str:
        return self.machine.path(inside).read_text()


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    require(*NEEDS, "zfs")
    machine = Machine(tmp_path)
    machine.make_pool()
    yield Pool(machine)
    machine.close()
    assert not mounts_below(tmp_path)


def test_a_root_is_made_as_libbe_makes_it(pool: Pool) -> None:
    name = pool.make()
    assert name == f"{TOP}/ROOT/zbe"
    assert pool.marks(f"{TOP}/ROOT") == ["legacy", "on", "on", "-", "-"]
    assert pool.marks(name) == ["legacy", "noauto", "on", "on", "uuid-be1"]
    assert pool.machine.mounts("/export/zones/web") == [f"{WEB}/root"]
    found = pool.machine.path(f"{WEB}/root").stat()
    assert (found.st_mode & 0o7777, found.st_uid) == (0o755, 0)
    active = pool(Datasets(WEB).active)
    assert active and active.name == name
    assert pool(Datasets(WEB).mounted) == name


def test_links_do_not_reach_from_one_dataset_into_another(pool: Pool) -> None:
    """Why there is an image: neither from the source nor from beside the root can a file be linked."""
    pool.make()
    pool.machine.write("/be/usr/bin/node", "node")
    pool.machine.write(f"{WEB}/beside", "beside")
    for source in ("/be/usr/bin/node", f"{WEB}/beside"):
        with pytest.raises(OSError) as caught:
            os.link(pool.machine.path(source), pool.machine.path(f"{WEB}/root/linked"))
        assert caught.value.errno == errno.EXDEV
    image = pool.machine.path("/be/var/image")
    image.mkdir(parents=True)
    os.link(pool.machine.path("/be/usr/bin/node"), image / "node")
    assert (image / "node").stat().st_nlink == 2


def test_the_image_must_lie_in_another_dataset(pool: Pool) -> None:
    pool.make()
    root = WEB / "root"
    pool(lambda: refuse_shared_dataset(root, [Path("/be"), WEB]))
    with pytest.raises(ConflictError, match="could link"):
        pool(lambda: refuse_shared_dataset(root, [Path("/be"), root / "etc"]))
    pool.machine.path("/seen").mkdir()
    pool.machine.run("/usr/sbin/mount", "-F", "lofs", "-o", "ro", f"{WEB}/root/etc", "/seen")
    with pytest.raises(ConflictError):  # a loopback does not hide it
        pool(lambda: refuse_shared_dataset(root, [Path("/seen")]))


def test_plain_directories_are_refused(pool: Pool) -> None:
    pool.machine.path("/export/zones/web").mkdir()
    with pytest.raises(ZonepathError, match="must be a ZFS dataset"):
        pool(Datasets(WEB).create)
    pool.machine.path("/plain/web").mkdir(parents=True)
    with pytest.raises(ZonepathError):
        pool(Datasets(Path("/plain/web")).create)


def test_zones_do_not_live_in_boot_environments(pool: Pool) -> None:
    pool.zfs("create", "-o", "mountpoint=/export/zones/web", "rpool/ROOT/be1/web")
    with pytest.raises(ZonepathError, match="boot environment"):
        pool(Datasets(WEB).create)


def test_names_that_are_taken_are_passed_over(pool: Pool) -> None:
    pool.make()
    pool.zfs("create", f"{TOP}/ROOT/zbe-1")
    pool(Datasets(WEB).unmount)
    assert pool(Datasets(WEB).create) == f"{TOP}/ROOT/zbe-2"
    with pytest.raises(ConflictError, match="several datasets are active"):
        pool(Datasets(WEB).active)


def test_mounting_again_changes_nothing(pool: Pool) -> None:
    name = pool.make()
    assert pool(Datasets(WEB).mount) == name
    pool(Datasets(WEB).unmount)
    assert pool.machine.mounts(str(WEB)) == []
    assert pool(Datasets(WEB).mount) == name
    assert pool.read(f"{WEB}/root/etc/file") == "one"


def test_leftovers_below_the_root_are_unmounted(pool: Pool) -> None:
    pool.make()
    for name in ("usr", "usr/share"):
        pool.machine.path(f"{WEB}/root/{name}").mkdir()
        pool.machine.path(f"/be/{name}").mkdir()
    pool.machine.run("/usr/sbin/mount", "-F", "lofs", "-o", "ro", "/be/usr", f"{WEB}/root/usr")
    pool.machine.run("/usr/sbin/mount", "-F", "lofs", "/etc", f"{WEB}/root/usr/share")
    expected = (f"{WEB}/root/usr/share", f"{WEB}/root/usr")
    assert pool(Datasets(WEB).unmount_below) == expected
    assert pool.machine.mounts(str(WEB)) == [f"{WEB}/root"]


def test_a_root_in_use_stays(pool: Pool) -> None:
    pool.make()
    with pool.machine.path(f"{WEB}/root/etc/file").open(), pytest.raises(BusyError) as caught:
        pool(Datasets(WEB).unmount)
    assert caught.value.path == f"{WEB}/root"


def test_something_else_on_the_root_is_refused(pool: Pool) -> None:
    pool.make()
    pool(Datasets(WEB).unmount)
    pool.machine.run("/usr/sbin/mount", "-F", "lofs", "/etc", f"{WEB}/root")
    with pytest.raises(ConflictError, match="a lofs is mounted"):
        pool(Datasets(WEB).mount)


def test_a_symlink_is_no_mount_point(pool: Pool) -> None:
    pool.make()
    pool(Datasets(WEB).unmount)
    pool.machine.path(f"{WEB}/root").rmdir()
    pool.machine.path(f"{WEB}/root").symlink_to("/etc")
    with pytest.raises(ZonepathError, match="not a directory"):
        pool(Datasets(WEB).mount)


# --- boot environments --------------------------------------------------------------------------------


def test_a_new_boot_environment_gets_a_root_of_its_own(pool: Pool) -> None:
    """New BE, boot, rollback, boot: with no hook run when the BE was made."""
    first = pool.make()
    pool.machine.new_boot_environment("be2", "be1")
    pool.machine.boot_environment("be2")
    second = pool(Datasets(WEB).mount)
    assert second == f"{TOP}/ROOT/zbe-1"
    assert pool.marks(second) == ["legacy", "noauto", "on", "on", "uuid-be2"]
    assert pool(Datasets(WEB).mounted) == second
    assert pool.read(f"{WEB}/root/etc/file") == "one"
    pool.machine.write(f"{WEB}/root/etc/file", "two")

    pool.machine.boot_environment("be1")
    assert pool(Datasets(WEB).mount) == first
    assert pool.read(f"{WEB}/root/etc/file") == "one"
    pool.machine.boot_environment("be2")
    assert pool(Datasets(WEB).mount) == second
    assert pool.read(f"{WEB}/root/etc/file") == "two"


def test_the_root_of_the_nearest_boot_environment_is_cloned(pool: Pool) -> None:
    """be1 -> be2 -> be3, be1 -> be4: the root for be3 comes from be2's, that for be4 from be1's."""
    pool.make()
    for name, origin in (("be2", "be1"), ("be3", "be2"), ("be4", "be1")):
        pool.machine.new_boot_environment(name, origin)
    for name, expected in (("be2", "one"), ("be3", "be2"), ("be4", "one")):
        pool.machine.boot_environment(name)
        pool(Datasets(WEB).mount)
        assert pool.read(f"{WEB}/root/etc/file") == expected
        pool.machine.write(f"{WEB}/root/etc/file", name)


def test_an_activated_boot_environment_finds_its_origin(pool: Pool) -> None:
    """``beadm activate`` promotes: then the old one is a clone of the new."""
    pool.make()
    pool.machine.new_boot_environment("be2", "be1")
    pool.zfs("promote", "rpool/ROOT/be2")
    pool.machine.boot_environment("be2")
    assert pool(Datasets(WEB).mount) == f"{TOP}/ROOT/zbe-1"


def test_a_root_of_strangers_is_better_than_none(pool: Pool) -> None:
    pool.make()
    pool.zfs("create", "rpool/ROOT/be9")
    pool.zfs("set", "org.opensolaris.libbe:uuid=uuid-be9", "rpool/ROOT/be9")
    pool.machine.boot_environment("be9")
    assert pool(Datasets(WEB).mount) == f"{TOP}/ROOT/zbe-1"


def test_without_any_root_there_is_nothing_to_clone(pool: Pool) -> None:
    pool.zfs("create", TOP)
    with pytest.raises(ConflictError, match="no root in any boot environment"):
        pool(Datasets(WEB).mount)


# --- taking away --------------------------------------------------------------------------------------


def test_no_dataset_is_left(pool: Pool) -> None:
    before = pool.machine.datasets()
    pool.make()
    pool(Datasets(WEB).destroy)
    assert pool.machine.datasets() == before
    assert pool.machine.mounts(str(WEB)) == []


def test_what_the_zone_made_in_its_root_goes_with_it(pool: Pool) -> None:
    before = pool.machine.datasets()
    name = pool.make()
    pool.zfs("create", "-o", "canmount=off", f"{name}/data")
    pool.zfs("snapshot", f"{name}/data@mine")
    pool.zfs("snapshot", f"{name}@mine")
    pool(Datasets(WEB).destroy)
    assert pool.machine.datasets() == before


def test_roots_of_other_boot_environments_stay(pool: Pool) -> None:
    """Each is destroyed from its own; that the later one is a clone of the first does not matter."""
    before = pool.machine.datasets()
    pool.make()
    pool.machine.new_boot_environment("be2", "be1")
    pool.machine.boot_environment("be2")
    pool(Datasets(WEB).mount)
    pool.machine.boot_environment("be1")
    pool(Datasets(WEB).destroy)
    assert [name for name in pool.names() if "@" not in name] == ["/ROOT", "/ROOT/zbe-1"]
    pool.machine.boot_environment("be2")
    pool(Datasets(WEB).mount)
    assert pool.read(f"{WEB}/root/etc/file") == "one"
    pool(Datasets(WEB).destroy)
    assert pool.names() == []
    pool.machine.boot_environment("be1")
    pool.zfs("destroy", "-r", "rpool/ROOT/be2")
    pool.zfs("destroy", "rpool/ROOT/be1@be2")
    assert pool.machine.datasets() == before


def test_clones_of_several_snapshots_stay(pool: Pool) -> None:
    name = pool.make()
    for label in ("a", "b"):
        pool.zfs("snapshot", f"{name}@{label}")
        pool.zfs("clone", "-o", "mountpoint=none", f"{name}@{label}", f"rpool/kept-{label}")
    pool(Datasets(WEB).destroy)
    assert pool.names() == []
    kept = [row[0] for row in pool.machine.datasets() if "kept" in row[0] and "@" not in row[0]]
    assert kept == ["rpool/kept-a", "rpool/kept-b"]


def test_zones_are_cloned_by_snapshot(pool: Pool) -> None:
    before = pool.machine.datasets()
    pool.make()
    pool.zfs("create", "rpool/export/zones/other")
    name = pool(lambda: Datasets(OTHER).clone_from(Datasets(WEB), "other_snap"))
    assert name == "rpool/export/zones/other/ROOT/zbe"
    assert pool.marks(name) == ["legacy", "noauto", "on", "on", "uuid-be1"]
    assert pool.read(f"{OTHER}/root/etc/file") == "one"
    pool.machine.write(f"{OTHER}/root/etc/file", "other")
    pool(Datasets(WEB).destroy)
    assert pool.read(f"{OTHER}/root/etc/file") == "other"
    pool(Datasets(OTHER).destroy)
    assert pool.machine.datasets() == before


def test_the_snapshot_goes_with_the_last_clone(pool: Pool) -> None:
    pool.make()
    pool.zfs("create", "rpool/export/zones/other")
    pool(lambda: Datasets(OTHER).clone_from(Datasets(WEB), "other_snap"))
    pool(Datasets(OTHER).destroy)
    assert pool.names() == ["/ROOT", "/ROOT/zbe"]


def test_destroying_twice_is_no_harm(pool: Pool) -> None:
    pool.make()
    pool.zfs("snapshot", f"{TOP}@keep")
    pool(Datasets(WEB).destroy)
    pool(Datasets(WEB).destroy)
    assert pool.names() == ["@keep"]


# --- detach and attach --------------------------------------------------------------------------------


def test_detach_and_attach_are_a_round_trip(pool: Pool) -> None:
    name = pool.make()
    before = pool.machine.datasets(TOP, *MARKS)
    pool(Datasets(WEB).detach)
    assert pool.marks(name)[:3] == [f"{WEB}/root", "on", "off"]
    assert pool(Datasets(WEB).mounted) == name
    assert pool(Datasets(WEB).attach) == name
    assert pool.machine.datasets(TOP, *MARKS) == before
    assert pool.read(f"{WEB}/root/etc/file") == "one"


def test_a_zone_that_came_by_send_and_receive_is_attached(pool: Pool) -> None:
    pool.make()
    pool(Datasets(WEB).detach)
    pool.zfs("create", "rpool/export/zones/other")
    pool.zfs("snapshot", f"{TOP}/ROOT/zbe@sent")
    pool.zfs("create", "-o", "mountpoint=legacy", "rpool/export/zones/other/ROOT")
    command = f"zfs send {TOP}/ROOT/zbe@sent | zfs receive rpool/export/zones/other/ROOT/zbe"
    pool.machine.run("sh", "-c", command)
    with pytest.raises(ConflictError, match="cannot be told"):
        pool(Datasets(OTHER).attach)  # it has no marks, and is not mounted
    pool.zfs("set", f"{PARENT}=elsewhere", "rpool/export/zones/other/ROOT/zbe")
    name = pool(Datasets(OTHER).attach)
    assert pool.marks(name) == ["legacy", "noauto", "on", "on", "uuid-be1"]
    assert pool.read(f"{OTHER}/root/etc/file") == "one"


# --- commands -----------------------------------------------------------------------------------------


def test_commands_inherit_nothing(pool: Pool) -> None:
    said = pool(lambda: run("/usr/bin/env"))
    assert set(said.splitlines()) == {"PATH=/usr/bin:/usr/sbin", "LC_ALL=C"}


def test_what_a_command_says_is_in_the_error(pool: Pool) -> None:
    with pytest.raises(ApplyError, match="dataset does not exist"):
        pool(lambda: run(ZFS, "list", "rpool/nothing"))
    with pytest.raises(ApplyError, match="/usr/sbin/nothing"):
        pool(lambda: run("/usr/sbin/nothing"))


def test_the_mount_table_is_read(pool: Pool) -> None:
    pool.make()
    table = pool(mnttab.read)
    found = table.at(f"{WEB}/root")
    assert found and (found.fstype, found.special) == ("zfs", f"{TOP}/ROOT/zbe")
