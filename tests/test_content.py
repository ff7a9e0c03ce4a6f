"""Contents against hashlib and getxattr, what is remembered of them, files that change meanwhile."""

import hashlib
import os
import subprocess
import threading
from pathlib import Path

import pytest
from moments import let_the_clock_tick
from needs import needs

from partialroot.errors import SourceError
from partialroot.nodes import Content, FileType, Node
from partialroot.paths import ROOT, RootPath
from partialroot.source import content, halves, memory
from partialroot.source.content import measure
from partialroot.source.memory import Memory
from partialroot.source.tree import Tree

OLD = 10**18
FILE = RootPath("/file")

Files = list[tuple[RootPath, Node]]


def files(tree: Tree) -> Files:
    return [(path, node) for path, node in tree.walk(ROOT) if node.type is FileType.FILE]


def make(directory: Path, count: int = 1) -> Tree:
    """Make a source of ``count`` old files."""
    for number in range(count):
        place = directory / (f"file{number}" if number else "file")
        place.write_bytes(b"x" * number)
        os.utime(place, ns=(OLD, OLD))
    return Tree(directory)


@pytest.fixture
def database(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where it is remembered what is in files, even in new ones."""
    monkeypatch.setattr(memory, "RECENT_NS", 0)
    return tmp_path_factory.mktemp("store") / "memory"


def run(tree: Tree, database: Path | None) -> dict[RootPath, Content]:
    """Measure as one process would."""
    with Memory(database) as tree.memory:
        return measure(tree, files(tree))


class Blind(Tree):
    """A source whose files must not be opened."""

    def open_node(self, path: RootPath, node: Node) -> int:
        raise AssertionError(f"{path} was opened")


def test_contents_are_what_the_files_hold(source: Path) -> None:
    tree = Tree(source)
    contents = run(tree, None)
    assert len(contents) > 10
    for path, found in contents.items():
        assert found.sha256 == hashlib.sha256(Path(tree.host(path)).read_bytes()).hexdigest()
        assert not found.immutable
    assert {"/usr/share/app/data one", "/usr/share/app/data two", "/usr/bin/rise"} <= contents.keys()


@pytest.mark.parametrize(
    "size", [0, 1, content._CHUNK - 1, content._CHUNK, content._CHUNK + 1, 3 * content._CHUNK]
)
def test_sizes_around_a_chunk(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "file").write_bytes(data)
    assert run(Tree(tmp_path), None) == {FILE: Content(hashlib.sha256(data).hexdigest())}


@needs("xattr")
def test_attributes(tmp_path: Path) -> None:
    tree = make(tmp_path)
    os.setxattr(tmp_path / "file", "user.z", b"\0\xff")
    os.setxattr(tmp_path / "file", "user.a", b"")
    assert run(tree, None)[FILE].xattrs == (("user.a", b""), ("user.z", b"\0\xff"))


@needs("root", "acl", "capability")
def test_acls_and_capabilities_are_kept_but_nothing_trusted(tmp_path: Path, database: Path) -> None:
    tree = make(tmp_path)
    subprocess.run(["setfacl", "-m", "u:12345:r", tmp_path / "file"], check=True)
    capability = bytes.fromhex("0000000200040000000000000000000000000000")
    os.setxattr(tmp_path / "file", "security.capability", capability)
    os.setxattr(tmp_path / "file", "trusted.overlay.opaque", b"y")
    access = os.getxattr(tmp_path / "file", "system.posix_acl_access")
    for _ in range(2):
        xattrs = run(tree, database)[FILE].xattrs
        assert xattrs == (("security.capability", capability), ("system.posix_acl_access", access))


@needs("root", "chattr")
@pytest.mark.parametrize("flag", ["i", "a"])
def test_flags_that_forbid_links(scratch: Path, flag: str) -> None:
    tree = make(scratch)
    subprocess.run(["chattr", f"+{flag}", scratch / "file"], check=True)
    try:
        assert run(tree, None)[FILE].immutable
    finally:
        subprocess.run(["chattr", f"-{flag}", scratch / "file"], check=True)


def test_every_inode_is_read_once(tmp_path: Path) -> None:
    opened = []

    class Counting(Tree):
        def open_node(self, path: RootPath, node: Node) -> int:
            opened.append(path)
            return super().open_node(path, node)

    make(tmp_path)
    os.link(tmp_path / "file", tmp_path / "other")
    assert len(run(Counting(tmp_path), None)) == 2
    assert len(opened) == 1


def test_reading_leaves_the_atime(tmp_path: Path) -> None:
    tree = make(tmp_path, 3)
    os.utime(tmp_path / "file2", ns=(1, OLD))
    run(tree, None)
    assert (tmp_path / "file2").stat().st_atime_ns == 1


@pytest.mark.parametrize("change", ["grows", "shrinks", "is touched"])
def test_a_file_that_changes_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    make(tmp_path)
    file = tmp_path / "file"
    file.write_bytes(b"some")
    os.utime(file, ns=(OLD, OLD))
    sha256 = content._sha256

    def disturbed(descriptor: int, size: int, beginning: bytes) -> str:
        digest = sha256(descriptor, size, beginning)
        os.truncate(file, {"grows": 5, "shrinks": 3, "is touched": 4}[change])
        os.utime(file, ns=(OLD, OLD + (change == "is touched")))
        return digest

    monkeypatch.setattr(content, "_sha256", disturbed)
    with pytest.raises(SourceError, match="changed while it was read") as caught:
        run(Tree(tmp_path), None)
    assert caught.value.path == "/file"


def test_a_file_that_changed_before_it_was_opened(tmp_path: Path) -> None:
    tree = make(tmp_path)
    before = files(tree)
    (tmp_path / "file").write_bytes(b"some")
    with pytest.raises(SourceError, match="changed while it was read"):
        measure(tree, before)


def test_a_file_that_never_ends_is_not_followed() -> None:
    ends, starts = os.pipe()
    with os.fdopen(starts, "wb") as writer, os.fdopen(ends, "rb") as reader:
        writer.write(b"12345678")
        writer.flush()
        assert content._sha256(reader.fileno(), 4, os.read(ends, 3)) == hashlib.sha256(b"12345").hexdigest()


def test_files_that_are_replaced_or_vanish_before(tmp_path: Path) -> None:
    tree = make(tmp_path)
    before = files(tree)
    (tmp_path / "new").touch()
    (tmp_path / "new").rename(tmp_path / "file")
    with pytest.raises(SourceError, match="replaced") as caught:
        measure(tree, before)
    assert caught.value.path == "/file"
    (tmp_path / "file").unlink()
    with pytest.raises(SourceError, match="No such file"):
        measure(tree, before)


@pytest.fixture(params=["alone", "in two processes"])
def processes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure alone, or in two processes however few files there are."""
    monkeypatch.setattr(halves, "is_useful", lambda: True)
    monkeypatch.setattr(content, "MANY", 10**6 if request.param == "alone" else 0)


@pytest.mark.usefixtures("processes")
def test_in_one_process_or_two(tmp_path: Path, database: Path) -> None:
    make(tmp_path, 51)
    first = run(Tree(tmp_path), database)
    assert first == {
        path: Content(hashlib.sha256(tree_data(tmp_path, path)).hexdigest())
        for path, _ in files(Tree(tmp_path))
    }
    assert run(Blind(tmp_path), database) == first


def tree_data(root: Path, path: RootPath) -> bytes:
    return (root / path.relative).read_bytes()


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("number", [2, 3])
def test_a_change_is_noticed_in_either_process(tmp_path: Path, number: int) -> None:
    tree = make(tmp_path, 6)
    before = files(tree)
    (tmp_path / f"file{number}").write_bytes(b"changed")
    with pytest.raises(SourceError, match="changed while it was read") as caught:
        measure(tree, before)
    assert caught.value.path == f"/file{number}"


@needs("root")
@pytest.mark.usefixtures("processes")
def test_files_that_may_not_be_read_are_left_out(scratch: Path) -> None:
    tree = make(scratch, 2)
    scratch.chmod(0o755)
    (scratch / "file").chmod(0o600)
    os.seteuid(65534)
    try:
        assert run(tree, None).keys() == {"/file1"}
    finally:
        os.seteuid(0)
    assert tree.unreadable == {"/file"}


def test_a_second_run_reads_nothing(tmp_path: Path, database: Path) -> None:
    tree = make(tmp_path, 70)
    first = run(tree, database)
    assert len(first) == 70
    assert run(Blind(tmp_path), database) == first


def test_an_equal_size_and_mtime_do_not_deceive(tmp_path: Path, database: Path) -> None:
    make(tmp_path, 2)
    run(Tree(tmp_path), database)
    let_the_clock_tick(tmp_path / "file1")
    (tmp_path / "file1").write_bytes(b"y")
    os.utime(tmp_path / "file1", ns=(OLD, OLD))
    assert run(Tree(tmp_path), database)[RootPath("/file1")].sha256 == hashlib.sha256(b"y").hexdigest()


def test_what_is_new_is_not_remembered(
    tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "RECENT_NS", 3600 * 10**9)
    make(tmp_path)
    run(Tree(tmp_path), database)
    with pytest.raises(AssertionError, match="was opened"):
        run(Blind(tmp_path), database)


def test_what_our_own_links_touched_is_read_once_more(tmp_path: Path, database: Path) -> None:
    make(tmp_path)
    first = run(Tree(tmp_path), database)
    let_the_clock_tick(tmp_path / "file")
    os.link(tmp_path / "file", database.parent / "link")
    with pytest.raises(AssertionError, match="was opened"):
        run(Blind(tmp_path), database)
    assert run(Tree(tmp_path), database) == first == run(Blind(tmp_path), database)


def test_an_inode_that_is_used_again(tmp_path: Path, database: Path) -> None:
    tree = make(tmp_path, 2)
    run(tree, database)
    (path, node), (_, other) = files(tree)
    again = node._replace(ino=other.ino)
    with Memory(database) as tree.memory, pytest.raises(SourceError, match="replaced"):
        measure(tree, [(path, again)])


def test_several_at_once(tmp_path: Path, database: Path) -> None:
    make(tmp_path, 100)
    found: list[dict[RootPath, Content]] = []

    def one() -> None:
        found.append(run(Tree(tmp_path), database))

    threads = [threading.Thread(target=one) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [run(Blind(tmp_path), database)] * 6


def test_a_broken_cache_is_replaced(tmp_path: Path, database: Path) -> None:
    tree = make(tmp_path)
    database.write_bytes(b"no database at all" * 1000)
    assert len(run(tree, database)) == 1
    assert len(run(Blind(tmp_path), database)) == 1
