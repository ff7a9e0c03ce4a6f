"""The one mutator's primitives: what they do, and what they must never do."""

import errno
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from moments import descriptors
from needs import needs
from spaces import LoopFs

from partialroot.zone import fs
from partialroot.zone.dirs import Dirs
from partialroot.zone.removal import remove


@pytest.fixture
def at(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, fs.DIRECTORY)
    yield fd
    os.close(fd)


def filled(at: int, name: str, data: bytes) -> int:
    fd = fs.create(at, name)
    fs.write(fd, data, name)
    return fd


# --- directories --------------------------------------------------------------------------------------


def test_a_directory_of_the_host_is_reached_by_no_symlink(tmp_path: Path) -> None:
    (tmp_path / "real/below").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    os.close(fs.open_directory(tmp_path / "real/below"))
    for path in (tmp_path / "link", tmp_path / "link/below"):
        with pytest.raises(NotADirectoryError):
            fs.open_directory(path)


def test_no_descriptor_is_left_by_a_directory_that_is_not_there(tmp_path: Path) -> None:
    count = descriptors()
    with pytest.raises(FileNotFoundError):
        fs.open_directory(tmp_path / "a/b/c")
    assert descriptors() == count


def test_dirs_below_a_top(at: int, tmp_path: Path) -> None:
    (tmp_path / "a/b/c").mkdir(parents=True)
    (tmp_path / "a/link").symlink_to("b")
    with Dirs(at) as dirs:
        for path in ("/a/b/c", "/a", "/a/b", "/a/b/c"):
            assert os.path.samestat(os.fstat(dirs.fd(path)), os.stat(f"{tmp_path}{path}"))
        assert dirs.fd("") == dirs.fd("/") == at
        with pytest.raises(NotADirectoryError):
            dirs.fd("/a/link/c")
        with pytest.raises(FileNotFoundError):
            dirs.fd("/a/none/c")


def test_dirs_hold_few_descriptors_open(at: int, tmp_path: Path) -> None:
    names = [f"/{number}/below" for number in range(50)]
    for name in names:
        Path(f"{tmp_path}{name}").mkdir(parents=True)
    count = descriptors()
    with Dirs(at, limit=8) as dirs:
        for name in (*names, *names):
            assert os.path.samestat(os.fstat(dirs.fd(name)), os.stat(f"{tmp_path}{name}"))
            assert len(os.listdir("/proc/self/fd")) <= count + 8
    assert descriptors() == count


def test_dirs_as_deep_as_can_be(at: int, tmp_path: Path) -> None:
    path = "/a" * 1900
    with Dirs(at) as dirs:
        for end in range(0, len(path), 2):
            fs.make_directory(dirs.fd(path[:end]), "a")
        assert os.listdir(dirs.fd(path)) == []
    remove(at, "a")  # pytest could not


# --- new files ----------------------------------------------------------------------------------------


def test_nothing_is_ever_opened_over_what_is_there(at: int, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("old")
    (tmp_path / "link").symlink_to("there")
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("there", "link", "dangling"):
        with pytest.raises(FileExistsError):
            fs.create(at, name)
        with pytest.raises(FileExistsError):
            fs.link(str(tmp_path / "there"), at, name)
        with pytest.raises(FileExistsError):
            fs.symlink("x", at, name)
    assert (tmp_path / "there").read_text() == "old"
    assert not (tmp_path / "nowhere").exists()


def test_a_link_to_a_symlink_is_one_to_itself(at: int, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "symlink").symlink_to("file")
    fs.link(str(tmp_path / "symlink"), at, "second")
    assert os.readlink(tmp_path / "second") == "file"
    assert os.stat(tmp_path / "file").st_nlink == 1


def test_link_never_copies_instead(at: int, tmp_path: Path) -> None:
    with pytest.raises(OSError) as failure:
        fs.link("/proc/self/status", at, "copy")
    assert failure.value.errno in (errno.EXDEV, errno.EPERM)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("size", [0, 1, 4096, 1_000_003])
def test_copy_is_whole(at: int, tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "source").write_bytes(data)
    source, fd = os.open(tmp_path / "source", fs.SOURCE), fs.create(at, "copy")
    fs.copy(source, fd, size, "copy")
    assert (tmp_path / "copy").read_bytes() == data
    os.close(source)
    os.close(fd)


@pytest.mark.parametrize("ends_with_hole", [False, True])
def test_holes_stay_holes(at: int, tmp_path: Path, ends_with_hole: bool) -> None:
    size = 64 << 20
    with open(tmp_path / "source", "wb") as file:
        file.seek(16 << 20)
        file.write(b"middle")
        if not ends_with_hole:
            file.seek(size - 3)
            file.write(b"end")
        file.truncate(size)
    source, fd = os.open(tmp_path / "source", fs.SOURCE), fs.create(at, "copy")
    fs.copy(source, fd, size, "copy")
    assert os.fstat(fd).st_size == size
    assert os.fstat(fd).st_blocks == os.fstat(source).st_blocks < size // 512 // 8
    assert os.pread(fd, 6, 16 << 20) == b"middle"
    assert os.pread(fd, 3, size - 3) == (b"\0\0\0" if ends_with_hole else b"end")
    os.close(source)
    os.close(fd)


def test_a_source_that_became_shorter_is_no_copy(at: int, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"short")
    source, fd = os.open(tmp_path / "source", fs.SOURCE), fs.create(at, "copy")
    with pytest.raises(OSError, match="became shorter"):
        fs.copy(source, fd, 4096, "copy")
    os.close(source)
    os.close(fd)


@needs("mount")
@pytest.mark.parametrize("kind", ["btrfs", "xfs"])
def test_clone_shares_blocks(kind: str, loop_fs: LoopFs) -> None:
    top = loop_fs(kind)
    data = os.urandom(1 << 20)
    (top / "source").write_bytes(data)
    subprocess.run(["sync", "--file-system", top], check=True)
    at, source = os.open(top, fs.DIRECTORY), os.open(top / "source", fs.SOURCE)
    free = os.statvfs(top).f_bavail
    fd = fs.create(at, "clone")
    fs.clone(source, fd, "clone")
    subprocess.run(["sync", "--file-system", top], check=True)
    assert (top / "clone").read_bytes() == data
    assert (free - os.statvfs(top).f_bavail) * os.statvfs(top).f_bsize < len(data)
    for one in (fd, source, at):
        os.close(one)


@needs("mount")
def test_clone_never_copies_instead(loop_fs: LoopFs) -> None:
    top = loop_fs("ext4", size="16M")
    (top / "source").write_bytes(b"x" * 4096)
    at, source = os.open(top, fs.DIRECTORY), os.open(top / "source", fs.SOURCE)
    fd = fs.create(at, "clone")
    with pytest.raises(OSError):
        fs.clone(source, fd, "clone")
    assert os.fstat(fd).st_size == 0
    for one in (fd, source, at):
        os.close(one)


# --- metadata -----------------------------------------------------------------------------------------


@needs("root", "capability", "acl", "xattr")
def test_owner_mode_and_xattrs_do_not_undo_each_other(at: int, tmp_path: Path) -> None:
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    acl = bytes.fromhex(
        "0200000001000600ffffffff020004002100000004000400ffffffff10000600ffffffff20000400ffffffff"
    )
    xattrs = (("security.capability", capability), ("system.posix_acl_access", acl), ("user.x", b"\0\xff"))
    fd = filled(at, "file", b"x")
    assert fs.set_meta(fd, fs.Meta(0o6755, (33, 50), 10**18 + 1, xattrs), "file") == []
    found = os.stat(tmp_path / "file")
    assert (found.st_uid, found.st_gid, found.st_mtime_ns) == (33, 50, 10**18 + 1)
    assert stat.S_IMODE(found.st_mode) == 0o6664  # an ACL has the nine bits: its mask is the group's
    assert tuple((name, os.getxattr(fd, name)) for name in sorted(os.listxattr(fd))) == xattrs
    os.close(fd)


@needs("root")
@pytest.mark.parametrize("mode", [0o4755, 0o2755, 0o6711, 0o1644, 0o7777, 0o0000])
def test_all_twelve_bits_survive_a_foreign_owner(at: int, tmp_path: Path, mode: int) -> None:
    fd = filled(at, "file", b"x")
    fs.set_meta(fd, fs.Meta(mode, (33, 33), None), "file")
    assert stat.S_IMODE(os.stat(tmp_path / "file").st_mode) == mode
    os.close(fd)


def test_without_its_owner_a_file_runs_as_nobody_else(at: int, tmp_path: Path) -> None:
    fd = filled(at, "file", b"x")
    fs.set_meta(fd, fs.Meta(0o6755, None, None), "file")
    assert stat.S_IMODE(os.stat(tmp_path / "file").st_mode) == 0o755
    os.close(fd)


def test_an_xattr_that_cannot_be_kept_is_named(at: int) -> None:
    fd = filled(at, "file", b"x")
    meta = fs.Meta(0o644, None, None, (("nonsense.x", b"1"),))
    assert fs.set_meta(fd, meta, "file") == ["nonsense.x"]
    os.close(fd)


@needs("acl")
def test_an_inherited_acl_is_dropped(at: int, tmp_path: Path) -> None:
    subprocess.run(["setfacl", "-m", "d:u:33:rwx", tmp_path], check=True)
    fs.make_directory(at, "plain")
    fs.make_own_directory(at, "own", 0o750)
    assert "system.posix_acl_default" in os.listxattr(tmp_path / "plain")
    assert os.listxattr(tmp_path / "own") == []
    assert stat.S_IMODE(os.stat(tmp_path / "own").st_mode) == 0o750


# --- names, announcements -----------------------------------------------------------------------------


def test_save_replaces_whole_files(at: int, tmp_path: Path) -> None:
    fs.save(at, "file", b"one")
    (tmp_path / "file.new").symlink_to("/etc/passwd")  # of one that was killed; never written through
    fs.save(at, "file", b"two")
    assert (tmp_path / "file").read_bytes() == b"two"
    assert os.listdir(tmp_path) == ["file"]
    assert stat.S_IMODE(os.stat(tmp_path / "file").st_mode) == 0o600


def test_read_follows_no_symlink(at: int, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(OSError, match="symbolic"):
        fs.read(at, "link")
    assert fs.read(at, "nothing") is None


def test_effects_are_announced_before_they_happen(
    at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, bool]] = []
    monkeypatch.setattr(fs, "observe", lambda name, path: seen.append((name, (tmp_path / path).exists())))
    fs.make_directory(at, "directory")
    os.close(fs.create(at, "file"))
    fs.link(str(tmp_path / "file"), at, "link")
    fs.symlink("file", at, "symlink")
    fs.rename(at, "file", at, "renamed")
    fs.unlink(at, "link")
    fs.rmdir(at, "directory")
    assert seen == [
        ("mkdir", False),
        ("create", False),
        ("link", False),
        ("symlink", False),
        ("rename", False),
        ("unlink", True),
        ("rmdir", True),
    ]


def test_every_failure_is_a_sentence_with_path_and_remedy() -> None:
    failure = fs.failed(OSError(errno.ENOSPC, "No space left on device"), "/zones/web/root/etc")
    assert str(failure) == (
        "/zones/web/root/etc: No space left on device (ENOSPC) "
        "(free some bytes or inodes on that file system)"
    )
    assert failure.code == 1
