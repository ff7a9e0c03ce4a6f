"""The tree against the kernel's own resolution of paths inside a root: openat2(2), RESOLVE_IN_ROOT."""

import contextlib
import ctypes
import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from needs import needs

from partialroot.errors import SourceError
from partialroot.nodes import FileType
from partialroot.paths import ROOT, RootPath
from partialroot.source.tree import MOST_LINKS, Tree

OPENAT2 = 437
RESOLVE_IN_ROOT = 0x10
NAMES = ("a", "b", "c")


class Kernel:
    """Resolves paths inside a root by system call."""

    def __init__(self, root: Path) -> None:
        self.root = os.path.realpath(root)
        self.descriptor = os.open(root, os.O_PATH | os.O_DIRECTORY)
        self.call = ctypes.CDLL(None, use_errno=True).syscall

    def find(self, path: str, flags: int = 0) -> tuple[str, os.stat_result] | None:
        """Return the real path inside the root and its lstat, None if the path leads nowhere."""
        how = (ctypes.c_uint64 * 3)(os.O_PATH | os.O_CLOEXEC | flags, 0, RESOLVE_IN_ROOT)
        asked = (OPENAT2, self.descriptor, os.fsencode(path), ctypes.byref(how), ctypes.sizeof(how))
        while (found := self.call(*asked)) < 0 and ctypes.get_errno() == errno.EAGAIN:
            pass  # somebody renamed or mounted something meanwhile, so the kernel was not sure
        if found < 0:
            assert ctypes.get_errno() in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
            return None
        try:
            real = os.readlink(f"/proc/self/fd/{found}").removeprefix(self.root.rstrip("/"))
            return real or "/", os.fstat(found)
        finally:
            os.close(found)


@contextlib.contextmanager
def kernel(root: Path) -> Iterator[Kernel]:
    judge = Kernel(root)
    try:
        yield judge
    finally:
        os.close(judge.descriptor)


names = st.sampled_from(NAMES)
inside = st.lists(names, min_size=1, max_size=3).map("/".join)
targets = st.builds(
    lambda start, parts, end: (start + "/".join(parts) + end) or ".",
    st.sampled_from(["", "/", "//", "../"]),
    st.lists(st.sampled_from([*NAMES, *NAMES, "..", "."]), max_size=4),
    st.sampled_from(["", "", "", "/", "/."]),
)
forests = st.lists(
    st.tuples(inside, st.one_of(st.none(), st.just(""), targets, targets)), min_size=1, max_size=14
)


def plant(root: Path, forest: list[tuple[str, str | None]]) -> None:
    """Make directories (None), files ("") and symlinks, each where nothing is in its way."""
    for path, target in forest:
        place = root / path
        with contextlib.suppress(FileExistsError, NotADirectoryError):
            if any(up.is_symlink() for up in [*place.parents][: len(place.parts) - len(root.parts) - 1]):
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            if target is None:
                place.mkdir()
            elif target == "":
                place.touch(exist_ok=False)
            else:
                place.symlink_to(target)


@settings(max_examples=200, deadline=None)
@example([("a", ""), ("b", "a/"), ("c", "a/."), ("d", "a/..")], ["d"])
@example([("a", None), ("b", "a/"), ("c", "b/../b/.")], ["c/b"])
@example([("a", "b"), ("b", "a")], ["a/c"])
@given(forests, st.lists(st.lists(names, max_size=5).map("/".join), min_size=1, max_size=12))
def test_resolves_as_the_kernel_does_inside_the_root(
    forest: list[tuple[str, str | None]], queries: list[str]
) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        plant(root, forest)
        tree = Tree(root)
        with kernel(root) as judge:
            for query in [*queries, *(path for path, _ in forest)]:
                path = RootPath.parse("/" + query)
                agree(tree, judge, path)
                judged = judge.find(path, os.O_NOFOLLOW)
                node = tree.lstat(path)
                assert (node and node.ino) == (judged and judged[1].st_ino)


def agree(tree: Tree, judge: Kernel, path: RootPath) -> None:
    judged = judge.find(path)
    real, node, links = tree.resolve(path)
    if judged is None:
        assert node is None
    else:
        assert node is not None
        assert (real, node.ino, node.dev) == (judged[0], judged[1].st_ino, judged[1].st_dev)
    for link in links:
        place = Path(tree.host(link))
        assert place.is_symlink()
        assert place.parent == place.parent.resolve()
        assert place.is_relative_to(tree.root)


@needs("root")
def test_a_sample_of_this_system_from_the_root() -> None:
    tree = Tree(Path("/"))
    with kernel(Path("/")) as judge:
        paths = [
            *tree.glob("/etc/alternatives/*"),
            *tree.glob("/lib/*-linux-gnu/lib[a-d]*"),
            *tree.glob("/lib*"),
        ]
        assert len(paths) > 20
        for path in paths:
            agree(tree, judge, path)


def test_lstat_is_lstat(source: Path) -> None:
    tree = Tree(source)
    for path, node in tree.walk(ROOT):
        status = os.lstat(f"{source}{path}")
        assert node == tree.lstat(path)
        assert node.mode == stat.S_IMODE(status.st_mode)
        assert node[2:10] == (
            status.st_uid, status.st_gid, status.st_size, status.st_mtime_ns, status.st_ctime_ns,
            status.st_dev, status.st_ino, status.st_nlink,
        )  # fmt: skip
        assert (node.target is not None) == stat.S_ISLNK(status.st_mode)


def test_every_kind_of_file(tmp_path: Path) -> None:
    import socket

    (tmp_path / "file").touch()
    (tmp_path / "dir").mkdir()
    (tmp_path / "symlink").symlink_to("file")
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "socket"))
    for path, node in [*Tree(tmp_path).walk(ROOT)][1:]:
        assert node.type == path.name
    null = Tree(Path("/dev")).lstat(RootPath("/null"))
    assert null
    assert null.type is FileType.CHAR


def test_forty_links_are_followed_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "l0").touch()
    for number in range(1, MOST_LINKS + 2):
        (tmp_path / f"l{number}").symlink_to(f"l{number - 1}")
    tree = Tree(tmp_path)
    with kernel(tmp_path) as judge:
        for number in (MOST_LINKS - 1, MOST_LINKS, MOST_LINKS + 1):
            agree(tree, judge, RootPath(f"/l{number}"))
    found = tree.resolve(RootPath(f"/l{MOST_LINKS}"))
    assert found.links == tuple(f"/l{number}" for number in range(MOST_LINKS, 0, -1))
    assert tree.resolve(RootPath(f"/l{MOST_LINKS + 1}")).node is None


def test_links_that_double_at_each_step_end_soon(tmp_path: Path) -> None:
    (tmp_path / "d0").mkdir()
    for number in range(1, 60):
        (tmp_path / f"d{number}").symlink_to(f"d{number - 1}/../d{number - 1}")
    assert Tree(tmp_path).resolve(RootPath("/d59")).node is None


def test_links_are_told_in_the_order_they_are_passed(tmp_path: Path) -> None:
    (tmp_path / "usr/lib/x").mkdir(parents=True)
    (tmp_path / "lib").symlink_to("/usr/lib")
    (tmp_path / "usr/lib/x/libc.so.6").symlink_to("../../../lib/x/libc-2.so")
    (tmp_path / "usr/lib/x/libc-2.so").touch()
    found = Tree(tmp_path).resolve(RootPath("/lib/x/libc.so.6"))
    assert found.real == "/usr/lib/x/libc-2.so"
    assert found.links == ("/lib", "/usr/lib/x/libc.so.6", "/lib")


def test_nowhere_is_still_a_place_inside_the_root(tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to("../../../../gone/x/../y")
    (tmp_path / "file").touch()
    tree = Tree(tmp_path)
    assert tree.resolve(RootPath("/out")) == ("/gone/y", None, ("/out",))
    assert tree.resolve(RootPath("/file/x")) == ("/file/x", None, ())
    assert tree.resolve(RootPath("/a/b/c")) == ("/a/b/c", None, ())


def test_names_that_are_no_text(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9\n\x1b")
    (tmp_path / name).write_text("x")
    (tmp_path / "link").symlink_to(name)
    tree = Tree(tmp_path)
    assert tree.names(ROOT) == (name, "link")
    assert tree.read(RootPath("/link")) == b"x"
    assert tree.lstat(RootPath("/\ud800")) is None
    assert tree.lstat(RootPath("/" + "n" * 300)) is None
    assert tree.resolve(RootPath("/n" * 5000)).node is None


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    tree = Tree(tmp_path)
    for path, message in (("/fifo", "fifo"), ("/", "dir"), ("/none", "not exist")):
        with pytest.raises(SourceError, match=message):
            tree.read(RootPath(path))


def test_a_file_larger_than_the_limit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"12345")
    tree = Tree(tmp_path)
    assert tree.read(RootPath("/big"), 5) == b"12345"
    with pytest.raises(SourceError, match="larger than 4 bytes"):
        tree.read(RootPath("/big"), 4)


def test_a_file_is_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, read = list[int](), os.read

    def counted(descriptor: int, size: int) -> bytes:
        sizes.append(size)
        return read(descriptor, size)

    monkeypatch.setattr(os, "read", counted)
    for size in (0, 5, 1 << 19):
        (tmp_path / f"{size}").write_bytes(b"x" * size)
        assert Tree(tmp_path).read(RootPath(f"/{size}"), 1 << 20) == b"x" * size
    assert sizes == [1, 6, (1 << 19) + 1]


def test_a_file_that_grows_is_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"12345")
    tree = Tree(tmp_path)
    assert tree.lstat(RootPath("/log"))
    with (tmp_path / "log").open("ab") as log:
        log.write(b"678")
    assert tree.read(RootPath("/log"), 8) == b"12345678"
    with pytest.raises(SourceError, match="larger than 7 bytes"):
        tree.read(RootPath("/log"), 7)


@needs("glibc")
def test_a_file_whose_size_nobody_tells_is_read_to_its_end() -> None:
    version = Path("/proc/version")
    assert version.stat().st_size == 0
    assert Tree(Path("/")).read(RootPath("/proc/version")) == version.read_bytes()
    with pytest.raises(SourceError, match="larger than 3 bytes"):
        Tree(Path("/")).read(RootPath("/proc/version"), 3)


def test_a_file_that_was_replaced_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    tree = Tree(tmp_path)
    assert tree.lstat(RootPath("/file"))
    (tmp_path / "new").write_text("new")
    (tmp_path / "new").rename(tmp_path / "file")
    with pytest.raises(SourceError, match="replaced"):
        tree.read(RootPath("/file"))
    (tmp_path / "file").unlink()
    (tmp_path / "file").symlink_to("/etc/passwd")
    with pytest.raises(SourceError, match="cannot be read"):
        tree.read(RootPath("/file"))


def test_reading_leaves_the_atime(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    os.utime(file, ns=(1, 10**18))
    assert Tree(tmp_path).read(RootPath("/file")) == b"x"
    assert file.stat().st_atime_ns == 1


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Lose root's rights for a while."""
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@needs("root")
def test_what_may_not_be_looked_at_is_absent_but_told() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        root.chmod(0o755)
        (root / "closed").mkdir()
        (root / "closed/file").touch()
        (root / "closed").chmod(0o700)
        (root / "secret").write_text("x")
        (root / "secret").chmod(0o600)
        with as_nobody():
            tree = Tree(root)
            assert tree.lstat(RootPath("/closed/file")) is None
            assert [path for path, _ in tree.walk(ROOT)] == ["/", "/closed", "/secret"]
            with pytest.raises(SourceError, match="may not be read"):
                tree.read(RootPath("/secret"))
        assert tree.unreadable == {"/closed/file", "/closed", "/secret"}


def test_a_root_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("file", "none"):
        with pytest.raises(SourceError, match="not a directory"):
            Tree(tmp_path / name)
    (tmp_path / "link").symlink_to(".")
    assert Tree(tmp_path / "link").root == str(tmp_path)


@pytest.fixture
def garden(tmp_path: Path) -> Tree:
    for path in (
        "usr/lib/a/x.so",
        "usr/lib/b/y.so",
        "usr/lib/.hidden",
        "usr/lib/[",
        "store/image",
        ".partialroot/i",
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    (tmp_path / "lib").symlink_to("usr/lib")
    (tmp_path / "usr/lib/c").symlink_to("b")
    return Tree(tmp_path, hidden=[RootPath("/store")])


def test_walk_is_in_order_and_follows_nothing(garden: Tree) -> None:
    paths = [path for path, _ in garden.walk(ROOT)]
    assert paths == [
        "/", "/lib", "/usr", "/usr/lib", "/usr/lib/.hidden", "/usr/lib/[", "/usr/lib/a", "/usr/lib/a/x.so",
        "/usr/lib/b", "/usr/lib/b/y.so", "/usr/lib/c",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("top", "expected"),
    [
        ("/lib/a", ["/usr/lib/a", "/usr/lib/a/x.so"]),
        ("/lib", ["/lib"]),
        ("/lib/a/x.so", ["/usr/lib/a/x.so"]),
        ("/none", []),
        ("/store", []),
        ("/.partialroot", []),
    ],
)
def test_walk_from(garden: Tree, top: str, expected: list[str]) -> None:
    assert [path for path, _ in garden.walk(RootPath(top))] == expected


def test_walk_of_a_deep_tree(tmp_path: Path) -> None:
    here = tmp_path
    for _ in range(600):
        here = here / "d"
        here.mkdir()
    assert sum(1 for _ in Tree(tmp_path).walk(ROOT)) == 601


@needs("root")
def test_a_walk_sees_all_that_scandir_sees() -> None:
    """Of a directory that others may change: what is the same before and after the walk."""
    before = scanned("/usr/share/doc")
    walked = {path for path, _ in Tree(Path("/")).walk(RootPath("/usr/share/doc"))}
    after = scanned("/usr/share/doc")
    assert before & after <= walked <= before | after
    assert len(before & after) > 300


def scanned(top: str) -> set[str]:
    waiting, seen = [top], {top}
    while waiting:
        with suppress(FileNotFoundError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                seen.add(entry.path)
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
    return seen


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("/lib/*/*.so", ["/lib/a/x.so", "/lib/b/y.so", "/lib/c/y.so"]),
        ("/lib/**/*.so", ["/lib/a/x.so", "/lib/b/y.so"]),
        ("/**/y.so", ["/usr/lib/b/y.so"]),
        ("/lib/a/**", ["/lib/a/x.so"]),
        ("/lib/a/x.so/**", []),
        ("/{lib,usr/lib}/[ab]", ["/lib/a", "/lib/b", "/usr/lib/a", "/usr/lib/b"]),
        ("/lib/?", ["/lib/[", "/lib/a", "/lib/b", "/lib/c"]),
        ("/lib/.h*", ["/lib/.hidden"]),
        ("/lib/*den", ["/lib/.hidden"]),
        ("/usr/lib/[!ab]", ["/usr/lib/[", "/usr/lib/c"]),
        ("/usr/lib/[", ["/usr/lib/["]),
        ("/*", ["/lib", "/usr"]),
        ("/store/*", []),
        ("/.partialroot/*", []),
        ("/usr/lib/../lib/a", []),
        ("/", ["/"]),
    ],
)  # fmt: skip
def test_glob(garden: Tree, pattern: str, expected: list[str]) -> None:
    assert list(garden.glob(pattern)) == expected


def test_a_search_does_not_follow_what_leads_nowhere(tmp_path: Path) -> None:
    """The last of too many links is not resolved by us, so it must not be by the system either."""
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "l0").symlink_to("/")
    for number in range(1, MOST_LINKS + 1):
        (tmp_path / f"l{number}").symlink_to(f"l{number - 1}")
    tree = Tree(tmp_path)
    for top in ("loop", f"l{MOST_LINKS}", "none"):
        for pattern in (f"/{top}/**", f"/{top}/*", f"/{top}/**/l0"):
            assert tree.glob(pattern) == ()
