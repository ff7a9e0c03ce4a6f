"""What the host offers: on real file systems, with fewer rights, and with nothing left behind."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from children import (
    NOBODY,
    as_nobody,
    in_child,
    in_user_and_mount_namespace,
    in_user_namespace,
    without_sys_admin,
    without_syscall,
)
from needs import needs
from treedump import differences, dump

from partialroot.host.linux import syscalls
from partialroot.host.linux.facts import existing, probe
from partialroot.host.linux.mountinfo import parse, read
from partialroot.model import Entry, FileType, HostFacts, Layer, Node, Selection, ZoneSettings
from partialroot.paths import RootPath

Mounter = Callable[..., Path]
LoopFs = Callable[..., Path]

TYPES = {0o100000: FileType.FILE, 0o040000: FileType.DIR, 0o120000: FileType.SYMLINK}
COPIES_UP = "overlay copies a file up instead of linking it"


def make_source(top: Path) -> Path:
    """Make a source: two shared programs, one of them setuid, and a private file."""
    for name, size in (("usr/bin/tool", 3000), ("usr/bin/big", 9000), ("usr/bin/su", 10), ("etc/conf", 20)):
        file = top / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x" * size)
        file.chmod(0o755)
    (top / "usr/bin/su").chmod(0o4755)
    return top


def selection(source: Path) -> Selection:
    """Select all of a source; /usr is shared."""
    found = [Path(where, name) for where, dirs, files in os.walk(source) for name in dirs + files]
    return Selection(
        profiles=("all",),
        source=source,
        platform="linux",
        entries=tuple(entry(source, path) for path in sorted(found)),
        missing=(),
        warnings=(),
        tops=(RootPath("/usr"),),
        settings=ZoneSettings(),
    )


def entry(source: Path, file: Path) -> Entry:
    """Return the entry of one file."""
    path, status = RootPath("/" + str(file.relative_to(source))), file.lstat()
    type_, mode = TYPES[status.st_mode & 0o170000], status.st_mode & 0o7777
    node = Node(
        type_,
        mode,
        status.st_uid,
        status.st_gid,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_dev,
        status.st_ino,
        status.st_nlink,
    )
    layer = Layer.SHARED if path.is_below("/usr") else Layer.PRIVATE
    return Entry(path, type_, mode, status.st_uid, status.st_gid, layer, (), source=path, node=node)


def facts(source: Path, store: Path, *zonepaths: Path) -> HostFacts:
    """Probe, and make sure that it left nothing behind."""
    with nothing_changed(source, existing(store), *map(existing, zonepaths)):
        return probe(selection(source), store, zonepaths)


@contextmanager
def nothing_changed(*places: Path) -> Iterator[None]:
    """Make sure that the trees are as they were (but for directories' times), and no mount came or went."""
    before, mounts, descriptors = dumps(places), read(), len(os.listdir("/proc/self/fd"))
    yield
    assert not differences(before, dumps(places))
    assert (read(), len(os.listdir("/proc/self/fd"))) == (mounts, descriptors)


def dumps(places: tuple[Path, ...]) -> list[str]:
    """Dump trees; the times of directories go with what is made and removed in them."""
    lines = [f"{place}{line}" for place in places for line in dump(place)]
    return [line.partition(" mtime=")[0] if " dir " in line else line for line in lines]


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
    assert found.clones == found.root_clones == found.links == found.root_links == {str(top): ""}
    assert found.link_max >= 65535
    assert found.free_image[1] > 1000
    apart = facts(source, top / "store", scratch / "zone")
    assert apart.clones == {str(top): ""}
    assert apart.root_clones == {str(top): "on another file system"}
    assert apart.links == {str(top): ""}
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


# --- fewer rights -----------------------------------------------------------------------------------


def open_to_all(place: Path) -> tuple[Path, Path]:
    """Return a source of root's, and a directory of nobody's beside it."""
    place.chmod(0o755)
    source, home = make_source(place / "source"), place / "home"
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)
    return source, home


@needs("root")
def test_who_is_nobody_cannot_link_files_of_root(scratch: Path) -> None:
    source, home = open_to_all(scratch)
    found = in_child(as_nobody, lambda: facts(source, home / "store", home / "zone"))
    (reason,) = found.links.values()
    assert "fs.protected_hardlinks" in reason
    assert found.image_home == home / "store/images"
    assert found.lost_owners == {(0, 0)}
    assert "may not mount" in found.no_mount


@needs("root")
def test_who_is_nobody_can_link_its_own_files(scratch: Path) -> None:
    _, home = open_to_all(scratch)
    source = make_source(home / "source")
    for file in source.rglob("*"):
        os.chown(file, NOBODY, NOBODY)
    found = in_child(as_nobody, lambda: facts(source, home / "store", home / "zone"))
    assert set(found.links.values()) == {""}
    assert not found.lost_owners


@needs("root")
def test_one_file_of_root_among_ones_own_forbids_links(scratch: Path) -> None:
    _, home = open_to_all(scratch)
    source = make_source(home / "source")
    for file in source.rglob("*"):
        os.chown(file, NOBODY, NOBODY)
    os.chown(source / "usr/bin/big", 0, 0)
    found = in_child(as_nobody, lambda: facts(source, home / "store", home / "zone"))
    assert set(found.links.values()) != {""}
    assert found.lost_owners == {(0, 0)}


@needs("root")
def test_where_nothing_can_be_written_every_answer_says_so(scratch: Path) -> None:
    source, home = open_to_all(scratch)
    found = in_child(as_nobody, lambda: facts(source, scratch / "store", home / "zone"))
    for reason in (*found.links.values(), *found.clones.values(), found.no_mount):
        assert reason == f"nothing can be written in {scratch}: Permission denied"
    assert "cannot be written" not in " ".join(found.root_clones.values())
    assert found.lost_owners == {(0, 0)}


@needs("root")
def test_unreadable_files_are_not_cloned(scratch: Path) -> None:
    source, home = open_to_all(scratch)
    for file in source.rglob("usr/bin/*"):
        file.chmod(0o711)
    chosen = selection(source)
    found = in_child(as_nobody, lambda: probe(chosen, home / "store", [home / "zone"]))
    assert set(found.clones.values()) == {"its files cannot be read"}


@needs("root", "userns")
def test_root_of_a_user_namespace(scratch: Path) -> None:
    source = make_source(scratch / "source")
    os.chown(source / "etc/conf", 0, 42)
    found = in_child(in_user_namespace, lambda: facts(source, scratch / "store", scratch / "zone"))
    assert set(found.links.values()) == {""}
    assert "may not mount" in found.no_mount
    assert found.lost_owners == {(0, NOBODY)}


@needs("root", "userns")
def test_root_of_a_user_namespace_with_its_own_mounts(scratch: Path) -> None:
    source = make_source(scratch / "source")
    found = in_child(in_user_and_mount_namespace, lambda: facts(source, scratch / "store", scratch / "zone"))
    assert found.no_mount == ""
    assert set(found.links.values()) == {""}


@needs("root", "mount")
def test_without_cap_sys_admin_all_but_mounts(scratch: Path) -> None:
    source = make_source(scratch / "source")
    os.chown(source / "etc/conf", 12, 42)
    found = in_child(without_sys_admin, lambda: facts(source, scratch / "store", scratch / "zone"))
    assert "may not mount" in found.no_mount
    assert set(found.links.values()) == {""}
    assert not found.lost_owners


# --- mounts -----------------------------------------------------------------------------------------


@needs("root", "mount")
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["-o", "remount,exec"], ""),
        (["-o", "remount,noexec"], "mounted noexec"),
        (["--make-unbindable"], "must not be bound"),
    ],
)
def test_a_store_that_cannot_be_mounted_from(
    scratch: Path, mounted: Mounter, options: list[str], reason: str
) -> None:
    source = make_source(scratch / "source")
    (scratch / "place").mkdir()
    place = mounted(scratch / "place")
    subprocess.run(["mount", *options, place], check=True)
    found = probe(replace(selection(source), tops=()), place / "store", [])
    assert reason in found.no_mount and bool(reason) == bool(found.no_mount)


@needs("root", "mount")
@pytest.mark.parametrize("call", ["openat2", "open_tree", "mount_setattr", "move_mount"])
@pytest.mark.parametrize(
    ("error", "reason"), [(errno.EPERM, "may not mount"), (errno.ENOSYS, "lacks the system calls")]
)
def test_a_container_that_forbids_one_of_the_calls(scratch: Path, call: str, error: int, reason: str) -> None:
    source, number = make_source(scratch / "source"), getattr(syscalls, call.upper())
    found = in_child(
        lambda: without_syscall(number, error), lambda: facts(source, scratch / "store", scratch / "zone")
    )
    assert reason in found.no_mount
    assert set(found.links.values()) == {""}


def test_in_a_chroot_there_are_no_mounts(scratch: Path) -> None:
    source = make_source(scratch / "source")
    chrooted = parse("40 27 0:5 / /proc rw - proc proc rw")
    found = probe(selection(source), scratch / "store", [], chrooted)
    assert "chroot" in found.no_mount
    assert found.mount_points == ("/",) and found.links == {"/": ""}


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
    assert probe(replace(selection(source), tops=()), large / "store", []).free_image == (80 << 20, 3999)


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
