"""What the host offers: on real file systems, with nothing left behind."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from children import NOBODY
from moments import let_the_clock_tick
from needs import needs
from probing import facts, make_source, selection

from partialroot.host.facts import existing
from partialroot.host.linux.facts import probe
from partialroot.host.linux.mountinfo import read

Mounter = Callable[..., Path]
LoopFs = Callable[..., Path]

COPIES_UP = "overlay copies a file up instead of linking it"


def ctimes(source: Path) -> dict[str, int]:
    return {file.name: file.stat().st_ctime_ns for file in source.rglob("*") if file.is_file()}


# --- links and the image's home ---------------------------------------------------------------------


@needs("ext4")
def test_on_one_ext4(loop_fs: LoopFs) -> None:
    top = loop_fs("ext4")
    source, store = make_source(top / "source"), top / "var/lib/store"
    found = facts(source, store, top / "zones/a")
    assert found.image_home == store / "images"
    assert found.mount_points == (str(top),)
    assert found.links == {str(top): ""}
    assert found.clones == found.root_clones == {str(top): "no reflinks on this file system"}
    assert found.link_max == 65000
    assert not found.lost_owners and not found.no_mount
    assert not (top / "var").exists() and not (top / "zones").exists()


@needs("root", "mount")
def test_a_store_elsewhere_moves_the_images_to_the_top_of_the_sources_mount(
    scratch: Path, mounted: Mounter
) -> None:
    (scratch / "store").mkdir()
    (scratch / "mount").mkdir()
    top, store = mounted(scratch / "mount", "-o", "mode=755"), mounted(scratch / "store")
    source = make_source(top / "source")
    found = facts(source, store, scratch / "zone")
    assert found.image_home == top / ".partialroot/images"
    assert found.links == {str(top): ""}
    assert found.link_max == 2**31 - 1


@needs("root", "mount")
@pytest.mark.parametrize("option", ["mode=777", "mode=1777", f"mode=755,uid={NOBODY}", "ro"])
def test_a_top_that_others_can_write_or_no_one_is_no_home(
    scratch: Path, mounted: Mounter, option: str
) -> None:
    (scratch / "mount").mkdir()
    top = mounted(scratch / "mount", "-o", "mode=755" if option == "ro" else option)
    source = make_source(top / "source")
    if option == "ro":
        subprocess.run(["mount", "-o", "remount,ro", top], check=True)
    found = facts(source, scratch / "store")
    assert found.image_home == scratch / "store/images"
    assert found.links == {str(top): "on another mount"}


@needs("root", "mount")
def test_every_mount_below_the_source_has_its_own_answers(scratch: Path, mounted: Mounter) -> None:
    source = scratch / "source"
    (source / "usr/local").mkdir(parents=True)
    make_source(source)
    local = mounted(source / "usr/local")
    (local / "tool").write_text("x")
    single = source / "usr/bin/big"
    subprocess.run(["mount", "--bind", single, single], check=True)
    found = facts(source, scratch / "store")
    outer = read().holding(scratch).point
    assert found.image_home == scratch / "store/images"
    assert found.links == {outer: "", str(local): "on another mount", str(single): "on another mount"}
    assert found.clones[str(local)] == "on another file system"


@needs("root", "overlay")
def test_an_overlay_is_not_linked_and_not_even_tried(scratch: Path, mounted: Mounter) -> None:
    top = mounted(scratch)
    for name in ("upper", "work", "merged"):
        (top / name).mkdir()
    make_source(top / "lower")
    options = f"lowerdir={top}/lower,upperdir={top}/upper,workdir={top}/work"
    merged = top / "merged"
    subprocess.run(["mount", "-t", "overlay", "-o", options, "none", merged], check=True)
    found = facts(merged, merged / "store")
    assert found.links == {str(merged): COPIES_UP}
    assert found.image_home == merged / "store/images"
    assert not found.no_mount
    assert os.listdir(top / "upper") == []
    assert facts(merged, scratch / "elsewhere").image_home == scratch / "elsewhere/images"
    assert os.listdir(top / "upper") == []


def test_only_the_smallest_plain_file_of_each_kind_is_touched(scratch: Path) -> None:
    source = make_source(scratch / "source")
    (source / "usr/bin/empty").touch(mode=0o755)
    before = ctimes(source)
    let_the_clock_tick(source / "usr/bin/empty")
    facts(source, scratch / "store")
    after = ctimes(source)
    assert {name for name in before if before[name] != after[name]} == {"tool"}


@needs("root", "chattr")
def test_immutable_files_say_nothing_of_the_others(scratch: Path) -> None:
    source = make_source(scratch / "source")
    (source / "usr/bin/alone").write_text("x")
    (source / "usr/bin/alone").chmod(0o711)
    fixed = [source / "usr/bin/tool", source / "usr/bin/alone"]
    subprocess.run(["chattr", "+i", *fixed], check=True)
    try:
        assert set(facts(source, scratch / "store").links.values()) == {""}
    finally:
        subprocess.run(["chattr", "-i", *fixed], check=True)


def test_a_source_with_setuid_files_only_is_not_tried(scratch: Path) -> None:
    source = make_source(scratch / "source")
    for name in ("usr/bin/tool", "usr/bin/big"):
        (source / name).unlink()
    before = ctimes(source)
    let_the_clock_tick(source / "usr/bin/su")
    assert set(facts(source, scratch / "store").links.values()) == {"it has no plain file to try"}
    assert ctimes(source) == before


def test_a_file_that_is_gone_meanwhile_says_nothing(scratch: Path) -> None:
    source = make_source(scratch / "source")
    chosen = selection(source)
    (source / "usr/bin/tool").unlink()
    assert set(probe(chosen, scratch / "store", []).links.values()) == {""}


# --- clones -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [pytest.param(one, marks=needs(one)) for one in ("btrfs", "xfs")])
def test_reflinks_are_found(loop_fs: LoopFs, scratch: Path, kind: str) -> None:
    top = loop_fs(kind)
    source = make_source(top / "source")
    found = facts(source, top / "store", top / "zone")
    assert found.clones == found.root_clones == found.links == {str(top): ""}
    assert found.root_links == {}, "not tried unless asked for"
    assert found.link_max >= 65535
    assert found.free_image[1] > 1000
    apart = facts(source, top / "store", scratch / "zone")
    assert apart.clones == {str(top): ""}
    assert apart.root_clones == {str(top): "on another file system"}
    assert apart.links == {str(top): ""}
    apart = probe(selection(source), top / "store", [scratch / "zone"], into_root=True)
    assert apart.root_links == {str(top): "on another mount"}


@needs("btrfs")
def test_a_subvolume_is_a_place_of_its_own(loop_fs: LoopFs) -> None:
    top = loop_fs("btrfs")
    source = make_source(top / "source")
    subvolume = source / "usr/lib/sub"
    subvolume.parent.mkdir()
    subprocess.run(["btrfs", "-q", "subvolume", "create", subvolume], check=True)
    (subvolume / "deep").mkdir()
    (subvolume / "deep/file").write_text("x")
    found = facts(source, top / "store")
    assert found.mount_points == (str(top), str(subvolume))
    assert found.links == {str(top): "", str(subvolume): "on another mount"}
    assert found.clones == {str(top): "", str(subvolume): ""}


@needs("btrfs")
def test_a_store_in_another_subvolume_is_no_home(loop_fs: LoopFs) -> None:
    top = loop_fs("btrfs")
    source = make_source(top / "source")
    subprocess.run(["btrfs", "-q", "subvolume", "create", top / "var"], check=True)
    found = facts(source, top / "var/store")
    assert found.image_home == top / ".partialroot/images"
    assert found.links == {str(top): ""}


# --- space, and where nothing is yet ----------------------------------------------------------------


@needs("root", "mount")
def test_free_space_is_shared_by_the_zonepaths_of_a_file_system(scratch: Path, mounted: Mounter) -> None:
    source = make_source(scratch / "source")
    for name in ("small", "large"):
        (scratch / name).mkdir()
    small = mounted(scratch / "small", "-o", "size=10M,nr_inodes=1000")
    large = mounted(scratch / "large", "-o", "size=80M,nr_inodes=4000")
    assert facts(source, large / "store", small / "a", small / "b").free_root == (5 << 20, 499)
    found = facts(source, large / "store", small / "a", large / "b")
    assert found.free_root == (10 << 20, 999)
    assert probe(selection(source)._replace(tops=()), large / "store", []).free_image == (80 << 20, 3999)


@needs("btrfs")
def test_a_file_system_without_an_inode_table_has_enough_of_them(loop_fs: LoopFs) -> None:
    top = loop_fs("btrfs")
    assert facts(make_source(top / "source"), top / "store").free_image[1] == sys.maxsize


def test_the_nearest_existing_directory(scratch: Path) -> None:
    (scratch / "file").touch()
    (scratch / "link").symlink_to("/usr")
    assert existing(scratch / "a/b/c") == scratch.resolve()
    assert existing(scratch / "file/a") == scratch.resolve()
    assert existing(scratch / "link/none") == Path("/usr").resolve()
    assert existing(Path("/")) == Path("/")


def test_without_nameless_files(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems have no O_TMPFILE."""
    original, refused = os.open, []

    def without_tmpfile(path: str | Path, flags: int, *more: int, **keywords: int) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            refused.append(path)
            raise OSError(95, "Operation not supported")
        return original(path, flags, *more, **keywords)

    monkeypatch.setattr(os, "open", without_tmpfile)
    source = make_source(scratch / "source")
    assert set(facts(source, scratch / "store").links.values()) == {""}
    assert refused
