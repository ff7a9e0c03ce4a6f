"""Trees are removed whatever is in them, and nothing outside of them is."""

import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from children import as_nobody, in_child
from needs import needs
from spaces import LoopFs
from treedump import dump

from partialroot.zone import fs
from partialroot.zone.dirs import opened
from partialroot.zone.removal import DEEP, refuse_undeletable, remove


@pytest.fixture
def at(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, fs.DIRECTORY)
    yield fd
    os.close(fd)


def nested(top: Path, depth: int) -> None:
    """Make directories deeper than any path may be long, with a file in each."""
    top.mkdir()
    fd = os.open(top, fs.DIRECTORY)
    for _ in range(depth):
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        os.mkdir("below", dir_fd=fd)
        below = os.open("below", fs.DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)


@pytest.mark.parametrize("depth", [0, 1, DEEP, DEEP + 1, 200, 3000])
def test_trees_of_any_depth(at: int, tmp_path: Path, depth: int) -> None:
    nested(tmp_path / "tree", depth)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 2 * DEEP + 20, hard))
    try:
        remove(at, "tree")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert os.listdir(tmp_path) == []


def test_two_branches_that_are_both_too_deep(at: int, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    for name in ("one", "two", "three"):
        nested(tmp_path / "tree" / name, 3 * DEEP)
    remove(at, "tree")
    assert os.listdir(tmp_path) == []


@needs("root", "mount", "btrfs")
def test_what_was_moved_up_meanwhile_is_found_on_btrfs(loop_fs: LoopFs) -> None:
    """Its directories show what was in them when they were opened, until they are rewound."""
    top = loop_fs("btrfs")
    nested(top / "tree", 3 * DEEP)
    with opened(str(top)) as at:
        remove(at, "tree")
    assert os.listdir(top) == []


def test_symlinks_are_removed_not_what_they_lead_to(at: int, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "d").mkdir(parents=True)
    (outside / "d/file").write_text("stays")
    tree = tmp_path / "tree"
    tree.mkdir()
    for name, target in (("a", outside), ("b", "../outside/d"), ("c", "c"), ("d", "/"), ("e", "..")):
        (tree / name).symlink_to(target)
    os.link(outside / "d/file", tree / "second")
    before = dump(outside, times=False)
    remove(at, "tree")
    assert dump(outside, times=False) == before
    assert os.listdir(tmp_path) == ["outside"]


def test_a_symlink_itself(at: int, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    remove(at, "link")
    remove(at, "nothing")
    assert os.listdir(tmp_path) == ["real"]


@needs("root")
def test_odd_things(at: int, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    os.mkfifo(tree / "fifo")
    os.mknod(tree / "device", 0o20666, os.makedev(1, 3))
    for name in (b"new\nline", b"\xff\xfe", b"-rf", b"\x1b[2J", b"*"):
        (tree / os.fsdecode(name)).mkdir()
        (tree / os.fsdecode(name) / "x").touch()
    remove(at, "tree")
    assert os.listdir(tmp_path) == []


@needs("root", "mount")
def test_nothing_in_a_mount_is_removed(at: int, tmp_path: Path, mounted: Callable[[Path], Path]) -> None:
    (tmp_path / "tree/mount").mkdir(parents=True)
    mounted(tmp_path / "tree/mount")
    (tmp_path / "tree/mount/precious").touch()
    with pytest.raises(OSError, match="is a mount point"):
        remove(at, "tree")
    assert (tmp_path / "tree/mount/precious").exists()


@needs("root", "mount")
def test_nothing_in_a_bind_of_the_same_file_system_is_removed(at: int, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/file").touch()
    (tmp_path / "tree/mount").mkdir(parents=True)
    subprocess.run(["mount", "--bind", tmp_path / "precious", tmp_path / "tree/mount"], check=True)
    try:
        with pytest.raises(OSError, match="is a mount point"):
            remove(at, "tree")
    finally:
        subprocess.run(["umount", tmp_path / "tree/mount"], check=True)
    assert (tmp_path / "precious/file").exists()


@needs("root", "chattr")
@pytest.mark.parametrize("flag", ["+i", "+a"])
@pytest.mark.parametrize("name", ["tree/d/file", "tree/d"])
def test_what_cannot_be_removed_is_known_before(scratch: Path, flag: str, name: str) -> None:
    (scratch / "tree/d").mkdir(parents=True)
    (scratch / "tree/d/file").touch()
    fd = os.open(scratch / "tree", fs.DIRECTORY)
    refuse_undeletable(fd)
    subprocess.run(["chattr", flag, scratch / name], check=True)
    try:
        with pytest.raises(OSError, match="immutable or append-only") as failure:
            refuse_undeletable(fd)
        assert f"tree/{failure.value.filename}" == name
    finally:
        subprocess.run(["chattr", "-ia", scratch / name], check=True)
        os.close(fd)


@needs("root")
def test_an_owner_removes_his_own_closed_directories(tmp_path: Path) -> None:
    tree = tmp_path / "home/tree"
    (tree / "closed/below").mkdir(parents=True)
    (tree / "closed/below/file").touch()
    for path in (tmp_path / "home", tree, tree / "closed", tree / "closed/below"):
        os.chown(path, 65534, 65534)
    (tree / "closed/below").chmod(0o500)
    (tree / "closed").chmod(0)
    at = os.open(tmp_path / "home", fs.DIRECTORY)
    in_child(as_nobody, lambda: remove(at, "tree"))
    os.close(at)
    assert os.listdir(tmp_path / "home") == []
