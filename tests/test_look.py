"""Reading what somebody hostile writes to: everything is shown, nothing is followed, nothing blocks."""

import os
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from children import as_nobody, in_child
from hypothesis import given
from hypothesis import strategies as st
from needs import needs
from ready import scratch
from swapper import rounds, swapping

from partialroot.nodes import FileType, Node
from partialroot.paths import safe_name
from partialroot.zone import fs, look

__all__ = ["scratch"]  # a fixture

pytestmark = pytest.mark.hostile


@contextmanager
def opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, fs.DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def walked(path: Path) -> dict[str, look.Found]:
    with opened(path) as root:
        return {str(found.path): found for found in look.walk(root)}


def node(path: Path) -> Node:
    return Node.of(os.lstat(path))


@pytest.fixture(autouse=True)
def no_descriptor_is_left_open() -> Iterator[None]:
    """Some may be closed meanwhile: what earlier tests left as garbage."""
    before = set(os.listdir("/proc/self/fd"))
    yield
    assert set(os.listdir("/proc/self/fd")) <= before


@needs("root")
def test_directories_above_need_only_be_passed(scratch: Path) -> None:
    """As it is for a user below the home of another."""
    scratch.chmod(0o711)
    (scratch / "open").mkdir(mode=0o755)
    in_child(as_nobody, lambda: os.close(fs.open_directory(scratch / "open")))
    with pytest.raises(OSError):
        fs.open_directory(scratch / "open/nothing")


# --- walking ------------------------------------------------------------------------------------------


def test_walk_shows_what_find_shows(source: Path) -> None:
    expected = {f"/{path.relative_to(source)}": node(path) for path in source.rglob("*")}
    found = walked(source)
    assert {path: one.node._replace(target=None) for path, one in found.items()} == expected
    assert found["/usr/bin/salute"].node.target == "/etc/alternatives/salute"
    assert not any(one.closed for one in found.values())


def test_parents_come_first_and_their_descriptors_are_right(source: Path) -> None:
    seen = {"/"}
    with opened(source) as root:
        for found in look.walk(root):
            assert str(found.path.parent) in seen
            seen.add(str(found.path))
            beside = os.stat(found.path.name, dir_fd=found.parent, follow_symlinks=False)
            assert beside.st_ino == found.node.ino


def test_a_walk_can_be_done_twice_and_given_up(source: Path) -> None:
    with opened(source) as root:
        first = [found.path for found in look.walk(root)]
        walk = look.walk(root)
        for _ in range(10):
            next(walk)
        walk.close()
        assert [found.path for found in look.walk(root)] == first


def test_what_is_refused_is_shown_and_not_entered(source: Path) -> None:
    with opened(source) as root:
        paths = {str(found.path) for found in look.walk(root, lambda found: found.path.name != "etc")}
    assert "/etc" in paths
    assert not any(path.startswith("/etc/") for path in paths)


LINKS = {
    "up": "..",
    "root": "/",
    "secret": "/etc/shadow",
    "self": "self",
    "proc": "/proc/self/root",
    "long": "a/" * 2000,
}


@pytest.mark.parametrize("target", LINKS.values(), ids=LINKS.keys())
def test_symlinks_are_not_followed(tmp_path: Path, target: str) -> None:
    (tmp_path / "top").mkdir()
    (tmp_path / "outside").write_text("no")
    (tmp_path / "top/self").symlink_to(target)
    found = walked(tmp_path / "top")
    assert {path: one.node.target for path, one in found.items()} == {"/self": target}


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


SPECIAL: dict[FileType, Callable[[Path], object]] = {
    FileType.FIFO: os.mkfifo,
    FileType.SOCKET: a_socket,
    FileType.CHAR: lambda path: os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3)),
    FileType.BLOCK: lambda path: os.mknod(path, stat.S_IFBLK | 0o666, os.makedev(7, 250)),
}


@needs("root")
@pytest.mark.parametrize("kind", SPECIAL)
def test_special_files_are_shown_and_never_opened(tmp_path: Path, kind: FileType) -> None:
    SPECIAL[kind](tmp_path / "special")
    found = walked(tmp_path)["/special"]
    assert found.node.type is kind
    with opened(tmp_path) as parent:
        with pytest.raises(OSError):
            look.open_directory(parent, "special", found.node)
        as_file = found.node._replace(type=FileType.FILE)
        with pytest.raises(OSError, match=look.REPLACED):
            look.open_file(parent, "special", as_file)


NAMES = [
    b"new\nline",
    b"\x1b[2J\x1b]0;title\x07",
    b"caf\xe9",
    b" ",
    b"-rf",
    b"*",
    b"a" * 255,
    "\u202egnp".encode(),
]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_data(tmp_path: Path, name: bytes) -> None:
    (tmp_path / os.fsdecode(name)).mkdir()
    (tmp_path / os.fsdecode(name) / "file").write_text("x")
    assert set(walked(tmp_path)) == {"/" + os.fsdecode(name), f"/{os.fsdecode(name)}/file"}


def nest(top: Path, depth: int) -> None:
    """Make directories one in the other; their whole path is too long for the kernel, and for rm(1)."""
    here = os.open(top, fs.DIRECTORY)
    for _ in range(depth):
        os.mkdir("d" * 50, dir_fd=here)
        below = os.open("d" * 50, fs.DIRECTORY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


@needs("mount")
def test_deep_trees_are_shown(scratch: Path) -> None:
    nest(scratch, 250)
    found = walked(scratch)
    assert len(found) == 250
    assert not any(one.closed for one in found.values())


@needs("mount")
def test_deeper_ones_end_somewhere(scratch: Path) -> None:
    nest(scratch, 400)
    found = list(walked(scratch).values())
    assert [one.closed for one in found] == [""] * look.MAX_DEPTH + [look.TOO_DEEP]


@needs("mount")
def test_other_mounts_are_shown_and_not_entered(tmp_path: Path, mounted: Callable[[Path], Path]) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    mounted(tmp_path / "a/b")
    (tmp_path / "a/b/hidden").write_text("x")
    found = walked(tmp_path)
    assert set(found) == {"/a", "/a/b"}
    assert found["/a/b"].closed == look.OTHER_MOUNT


@needs("mount")
def test_a_bind_of_the_same_file_system_is_another_mount(tmp_path: Path, run: Callable[..., None]) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_text("x")
    (tmp_path / "top/at").mkdir(parents=True)
    run("mount", "--bind", tmp_path / "outside", tmp_path / "top/at")
    try:
        found = walked(tmp_path / "top")
    finally:
        run("umount", tmp_path / "top/at")
    assert set(found) == {"/at"}
    assert found["/at"].closed == look.OTHER_MOUNT


@pytest.fixture
def run() -> Callable[..., None]:
    import subprocess

    def run(*command: str | Path) -> None:
        subprocess.run(command, check=True)

    return run


def test_what_vanishes_is_left_out(tmp_path: Path) -> None:
    for number in range(2000):
        (tmp_path / str(number)).mkdir()
    with opened(tmp_path) as root:
        walk = look.walk(root)
        first = next(walk)
        for place in tmp_path.iterdir():
            if place.name != first.path.name:
                place.rmdir()
        assert len(list(walk)) < 1999
        assert not first.closed


# --- a tenant who swaps names between check and use ---------------------------------------------------


def test_a_swapped_directory_leads_nowhere(tmp_path: Path) -> None:
    """A directory is exchanged with a symlink to one outside, all the time."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("secret")
    (tmp_path / "top/swapped").mkdir(parents=True)
    (tmp_path / "top/swapped/own").write_text("own")
    (tmp_path / "top/other").symlink_to(tmp_path / "outside")
    naive: set[str] = set()
    with swapping(tmp_path / "top/swapped", tmp_path / "top/other"), opened(tmp_path / "top") as root:
        for _ in rounds(naive, {"secret"}):  # the race is real: whoever goes by the path gets outside
            for found in look.walk(root):
                assert found.path.name != "secret"
            naive |= set(os.listdir(tmp_path / "top/swapped"))


def test_a_swapped_file_is_not_read(tmp_path: Path) -> None:
    """A file is exchanged with a symlink to a secret, all the time."""
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "top").mkdir()
    (tmp_path / "top/swapped").write_text("own")
    (tmp_path / "top/other").symlink_to(tmp_path / "secret")
    outcomes: set[str] = set()
    seen: set[str] = set()
    with swapping(tmp_path / "top/swapped", tmp_path / "top/other"), opened(tmp_path / "top") as root:
        for _ in rounds(seen, {"naive: secret", "own"}):  # the race is real: who goes by the path reads it
            outcomes |= {content(found) for found in look.walk(root) if found.node.type is FileType.FILE}
            seen |= {*outcomes, f"naive: {(tmp_path / 'top/swapped').read_text()}"}
    assert outcomes <= {"own", look.REPLACED, "Too many levels of symbolic links"}


def content(found: look.Found) -> str:
    """Return a found file's content, or why it could not be read."""
    try:
        descriptor = look.open_file(found.parent, found.path.name, found.node)
    except OSError as error:
        return str(error.strerror)
    with open(descriptor) as file:
        return file.read()


@pytest.mark.parametrize("replacement", ["file", "symlink", "fifo", "directory", "nothing"])
def test_what_took_the_place_of_a_file_is_not_opened(tmp_path: Path, replacement: str) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "kept").write_text("other")  # so that the inode is not used again
    seen = node(tmp_path / "file")
    (tmp_path / "file").rename(tmp_path / "old")
    makers: dict[str, Callable[[Path], object]] = {
        "file": lambda path: path.write_text("new"),
        "symlink": lambda path: path.symlink_to("old"),
        "fifo": os.mkfifo,
        "directory": os.mkdir,
        "nothing": lambda path: None,
    }
    makers[replacement](tmp_path / "file")
    with opened(tmp_path) as parent:
        with pytest.raises(OSError):
            look.open_file(parent, "file", seen)
        with open(look.open_file(parent, "old", seen)) as file:
            assert file.read() == "old"


# --- contents, attributes, names ----------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 5, 1 << 20, (1 << 20) + 1])
def test_sha256_is_of_exactly_the_size_that_was_seen(tmp_path: Path, size: int) -> None:
    import hashlib

    data = os.urandom(size)
    (tmp_path / "file").write_bytes(data)
    sums = []
    for expected in (size, size + 1, size - 1):
        with open(tmp_path / "file", "rb") as file:
            sums.append(look.sha256(file.fileno(), expected))
    assert sums == [hashlib.sha256(data).hexdigest(), "", ""]


def test_a_file_without_an_end_is_not_read_to_it() -> None:
    with open("/dev/zero", "rb") as endless:
        assert look.sha256(endless.fileno(), 10) == ""


@needs("xattr")
def test_xattrs_are_those_of_the_name_itself(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("x")
    os.setxattr(tmp_path / "outside", "user.a", b"1")
    (tmp_path / "link").symlink_to("outside")
    (tmp_path / "dir").mkdir()
    os.setxattr(tmp_path / "dir", "user.b", b"2")
    with opened(tmp_path) as parent:
        assert look.xattrs(parent, "outside") == (("user.a", b"1"),)
        assert look.xattrs(parent, "dir") == (("user.b", b"2"),)
        assert look.xattrs(parent, "link") == ()
        with pytest.raises(FileNotFoundError):
            look.xattrs(parent, "nothing")


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("/usr/bin/caf\u00e9", "/usr/bin/caf\u00e9"),
        ("a b", "a b"),
        ("a\nb", "a\\nb"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\x9b31m", "\\x9b31m"),
        ("a\\nb", "a\\\\nb"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("caf\udce9", "caf\\udce9"),
        ("a\u00a0b", "a\\xa0b"),
    ],
)
def test_safe_names(name: str, safe: str) -> None:
    assert safe_name(name) == safe


@given(st.text(), st.text(alphabet="\\nx\n\udc80", max_size=6), st.text(alphabet="\\nx\n\udc80", max_size=6))
def test_safe_names_are_printable_and_tell_names_apart(any_name: str, one: str, other: str) -> None:
    assert safe_name(any_name).isprintable()
    assert (safe_name(one) == safe_name(other)) == (one == other)
