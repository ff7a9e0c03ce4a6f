"""The judge is judged: each thing the dump must see changes its lines."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from needs import needs
from treedump import differences, dump


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with one of each thing."""
    top = tmp_path / "tree"
    (top / "sub").mkdir(parents=True)
    (top / "file").write_text("content")
    (top / "sub" / "other").write_text("other")
    os.link(top / "file", top / "sub" / "second name")
    (top / "link").symlink_to("file")
    os.mkfifo(top / "pipe")
    return top


def test_lines_are_sorted_and_complete(tree: Path) -> None:
    paths = [line.split(" ")[0] for line in dump(tree)]
    assert paths == ["/", "/file", "/link", "/pipe", "/sub", "/sub/other", "/sub/second\\x20name"]
    assert "links=[/file,/sub/second\\x20name]" in dump(tree)[1]


CHANGES: dict[str, Callable[[Path], object]] = {
    "content": lambda top: _same_times(top / "file", lambda: (top / "file").write_text("CONTENT")),
    "mode": lambda top: (top / "file").chmod(0o4755),
    "mtime by a nanosecond": lambda top: os.utime(top / "sub", ns=(0, (top / "sub").stat().st_mtime_ns + 1)),
    "target": lambda top: _replace_link(top / "link", "elsewhere"),
    "xattr": lambda top: os.setxattr(top / "file", "user.mark", b"1"),
    "new name": lambda top: (top / "sub" / "new").touch(),
    "type": lambda top: _to_file(top / "pipe"),
    "split link": lambda top: _split(top / "sub" / "second name"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_shows(tree: Path, change: str) -> None:
    before = dump(tree)
    CHANGES[change](tree)
    assert differences(before, dump(tree))


@needs("root")
def test_owner_and_device_show(tree: Path) -> None:
    before = dump(tree)
    os.chown(tree / "file", 12, 34)
    os.mknod(tree / "null", 0o600 | 0o020000, os.makedev(1, 3))
    changed = differences(before, dump(tree))
    assert any(" 12:34 " in line for line in changed)
    assert any("rdev=1:3" in line for line in changed)


@needs("acl")
def test_acl_shows(tree: Path) -> None:
    import subprocess

    before = dump(tree)
    subprocess.run(["setfacl", "-m", "u:12:r", tree / "file"], check=True)
    assert any("xattr:system.posix_acl_access=" in line for line in differences(before, dump(tree)))


def test_reading_and_linking_from_outside_do_not_show(tree: Path) -> None:
    before = dump(tree)
    (tree / "file").read_text()
    os.link(tree / "sub" / "other", tree.parent / "outside")
    assert dump(tree) == before


def test_skipped_subtrees_leave_no_trace(tree: Path) -> None:
    before = dump(tree, skip=["/sub/store"])
    (tree / "sub" / "store").mkdir()
    (tree / "sub" / "store" / "image").touch()
    assert dump(tree, skip=[tree / "sub" / "store"]) == before


def test_options(tree: Path) -> None:
    assert not any("mtime=" in line for line in dump(tree, times=False))
    assert not any("sha256=" in line for line in dump(tree, contents=False))


@needs("root", "mount")
def test_mounts_are_crossed_or_not(tree: Path, mounted: Callable[[Path], Path]) -> None:
    (mounted(tree / "sub") / "inside").touch()
    assert any(line.startswith("/sub/inside ") for line in dump(tree))
    assert not any(line.startswith("/sub/inside ") for line in dump(tree, cross=False))


def _same_times(path: Path, change: Callable[[], object]) -> None:
    status = path.stat()
    change()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _replace_link(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


def _to_file(path: Path) -> None:
    path.unlink()
    path.touch()


def _split(path: Path) -> None:
    content, status = path.read_bytes(), path.stat()
    path.unlink()
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
