"""What is remembered from run to run: never wrong, never an error, whatever happens to the file."""

import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moments import let_the_clock_tick
from needs import needs

from partialroot.nodes import FileType, Node
from partialroot.source import memory
from partialroot.source.memory import Memory, kind

VALUES = {f"key {number}": ("text", b"bytes", number, (None, 1.5)) for number in range(40)}
LONG_AGO = 10**18


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "memory"


def page(key: str) -> tuple[str, int]:
    """Spread the keys over some pages."""
    return "page", len(key) + int(key[-1])


def put(file: Path, state: object = "now") -> None:
    """Remember the values, as one process would."""
    with Memory(file) as opened:
        for key, value in VALUES.items():
            opened.put(page(key), key, state, value)


def got(file: Path, state: object = "now") -> dict[str, object]:
    """Return what another process is told, without what it is not."""
    with Memory(file) as opened:
        found = {key: opened.get(page(key), key, state) for key in VALUES}
    return {key: value for key, value in found.items() if value is not None}


def test_what_is_put_is_got_by_later_runs(file: Path) -> None:
    assert got(file) == {}
    put(file)
    assert got(file) == VALUES
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [*file.parent.iterdir()] == [file]


def test_another_state_makes_it_void(file: Path) -> None:
    put(file, (1, 2, 3))
    assert got(file, (1, 2, 3)) == VALUES
    assert got(file, (1, 2, 4)) == {}


def test_what_is_put_is_got_at_once(file: Path) -> None:
    with Memory(file) as opened:
        opened.put(("page",), 1, "now", "value")
        assert opened.get(("page",), 1, "now") == "value"
        assert opened.get(("page",), 2, "now") is None


def test_without_a_file_nothing_is_remembered() -> None:
    with Memory() as opened:
        opened.put(("page",), 1, "now", "value")
        assert opened.get(("page",), 1, "now") is None


def test_new_values_join_the_old_ones(file: Path) -> None:
    put(file)
    with Memory(file) as opened:
        opened.put(page("key 1"), "key 1", "now", "new")
        opened.put(("other",), 7, "now", "other")
    assert got(file) == VALUES | {"key 1": "new"}
    with Memory(file) as opened:
        assert opened.get(("other",), 7, "now") == "other"


def test_what_another_process_wrote_meanwhile_is_kept(file: Path) -> None:
    with Memory(file) as slow:
        assert slow.get(page("key 1"), "key 1", "now") is None
        put(file)
        slow.put(page("key 1"), "mine", "now", "too")
    assert got(file) == VALUES
    with Memory(file) as opened:
        assert opened.get(page("key 1"), "mine", "now") == "too"


def test_a_file_that_is_replaced_while_it_is_read(file: Path) -> None:
    put(file)
    with Memory(file) as reader:
        assert reader.get(page("key 1"), "key 1", "now") == VALUES["key 1"]
        with Memory(file) as writer:
            for key in VALUES:
                writer.put(page(key), key, "then", "changed, and longer" * 100)
        assert {key: reader.get(page(key), key, "now") for key in VALUES} == VALUES


def test_many_at_once(file: Path) -> None:
    threads = [threading.Thread(target=put, args=(file,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got(file) == VALUES
    assert [*file.parent.iterdir()] == [file]


def test_the_oldest_are_forgotten(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MOST_BYTES", 10_000)
    for number in range(30):
        with Memory(file) as opened:
            opened.put(("page", number), number, "now", "x" * 900)
    assert file.stat().st_size < 11_000
    with Memory(file) as opened:
        left = [number for number in range(30) if opened.get(("page", number), number, "now")]
    assert left == list(range(20, 30))


def test_one_page_does_not_grow_without_end(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_MOST_ENTRIES", 10)
    for start in range(0, 30, 5):
        with Memory(file) as opened:
            for number in range(start, start + 5):
                opened.put(("page",), number, "now", "x")
    with Memory(file) as opened:
        assert [number for number in range(30) if opened.get(("page",), number, "now")] == list(range(20, 30))


def test_a_form_of_values_is_a_kind_of_its_own() -> None:
    assert kind("elf", ("a", "b")) == kind("elf", ("a", "b"))
    assert len({kind("elf", ("a", "b")), kind("elf", ("a",)), kind("script", ("a", "b"))}) == 3


# --- files ------------------------------------------------------------------------------------------


OLD = Node(FileType.FILE, 0o644, 0, 0, 5, LONG_AGO, LONG_AGO, dev=50, ino=1000, nlink=1)


def remember(file: Path, one: Node) -> None:
    with Memory(file) as opened:
        opened.put_of(one, "kind", "value")


def recalled(file: Path, one: Node) -> object:
    with Memory(file) as opened:
        return opened.get_of(one, "kind")


def test_files_by_their_identity(file: Path) -> None:
    remember(file, OLD)
    assert recalled(file, OLD) == "value"
    assert recalled(file, OLD._replace(nlink=7, mode=0o600)) == "value"
    with Memory(file) as opened:
        assert opened.get_of(OLD, "other kind") is None


@pytest.mark.parametrize(
    "other",
    [
        OLD._replace(dev=OLD.dev + 1),
        OLD._replace(ino=OLD.ino + 1),
        OLD._replace(size=OLD.size + 1),
        OLD._replace(mtime_ns=OLD.mtime_ns + 1),
        OLD._replace(ctime_ns=OLD.ctime_ns + 1),
        OLD._replace(size=7, mtime_ns=LONG_AGO + 10**9, ctime_ns=LONG_AGO + 10**9),
    ],
    ids=["device", "inode", "size", "mtime", "ctime", "inode used again"],
)
def test_a_file_that_differs_in_anything_is_another(file: Path, other: Node) -> None:
    remember(file, OLD)
    assert recalled(file, other) is None
    assert recalled(file, OLD) == "value"


def test_a_file_rewritten_with_the_same_size_and_mtime(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "RECENT_NS", 0)
    place = file.with_name("file")
    place.write_bytes(b"some")
    os.utime(place, ns=(LONG_AGO, LONG_AGO))
    before = Node.of(os.lstat(place))
    let_the_clock_tick(place)
    remember(file, before)
    assert recalled(file, before) == "value"
    place.write_bytes(b"same")
    os.utime(place, ns=(LONG_AGO, LONG_AGO))
    after = Node.of(os.lstat(place))
    assert (after.ino, after.size, after.mtime_ns) == (before.ino, before.size, before.mtime_ns)
    assert recalled(file, after) is None


def test_a_file_that_may_still_change_unnoticed_is_passed_over(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "RECENT_NS", 1000 * memory.RECENT_NS)  # however long this test takes
    place = file.with_name("file")
    place.touch()
    os.utime(place, ns=(LONG_AGO, LONG_AGO))  # its ctime is now all the same
    remember(file, Node.of(os.lstat(place)))
    assert recalled(file, Node.of(os.lstat(place))) is None


# --- whatever happens to it -------------------------------------------------------------------------


def is_harmless(file: Path) -> None:
    """What is got is right or nothing, and the next run makes the file good again."""
    assert got(file).items() <= VALUES.items()
    put(file)
    assert got(file) == VALUES


def test_every_partial_write(file: Path) -> None:
    put(file)
    data = file.read_bytes()
    for size in range(0, len(data), 17):
        file.write_bytes(data[:size])
        assert got(file).items() <= VALUES.items()
        assert len(got(file)) < len(VALUES)
    is_harmless(file)


@settings(max_examples=150, deadline=None)
@given(damage=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1))
def test_any_damage(tmp_path_factory: pytest.TempPathFactory, damage: list[tuple[float, int]]) -> None:
    file = tmp_path_factory.mktemp("store") / "memory"
    put(file)
    data = bytearray(file.read_bytes())
    for where, byte in damage:
        data[int(where * len(data))] = byte
    file.write_bytes(data)
    is_harmless(file)


@given(st.binary(max_size=200))
@settings(max_examples=50, deadline=None)
def test_bytes_that_we_never_wrote(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    file = tmp_path_factory.mktemp("store") / "memory"
    file.write_bytes(data)
    is_harmless(file)


def test_that_of_another_python(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as other:
        other.setattr(memory, "_MAGIC", memory._MAGIC.replace(b"Python", b"Jython"))
        put(file)
        assert got(file) == VALUES
    assert got(file) == {}
    is_harmless(file)


def link_elsewhere(file: Path) -> None:
    file.rename(file.with_name("elsewhere"))
    file.symlink_to("elsewhere")


def make_fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file, 0o600)


@pytest.mark.hostile
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda file: file.chmod(0o620), id="group may write"),
        pytest.param(lambda file: file.chmod(0o602), id="others may write"),
        pytest.param(link_elsewhere, id="symlink"),
        pytest.param(make_fifo, id="fifo"),
    ],
)
def test_what_others_may_have_written_is_not_read(file: Path, change: Callable[[Path], None]) -> None:
    put(file)
    change(file)
    assert got(file) == {}
    is_harmless(file)
    assert stat.S_IMODE(file.lstat().st_mode) == 0o600
    assert file.is_file() and not file.is_symlink()


@needs("root")
@pytest.mark.hostile
def test_the_file_of_another_user_is_not_read(file: Path) -> None:
    put(file)
    os.chown(file, 12345, 12345)
    assert got(file) == {}
    is_harmless(file)
    assert file.stat().st_uid == 0


@pytest.mark.hostile
@pytest.mark.parametrize("mode", [0o701, 0o710, 0o755, 0o777])
def test_a_directory_that_others_may_enter_is_not_used(file: Path, mode: int) -> None:
    put(file)
    before = file.stat()
    file.parent.chmod(mode)
    assert got(file) == {}
    put(file, "then")
    assert file.stat() == before


@needs("root")
@pytest.mark.hostile
def test_the_directory_of_another_user_is_not_used(file: Path) -> None:
    put(file)
    os.chown(file.parent, 12345, 12345)
    assert got(file) == {}


def test_where_there_is_no_directory_nothing_is_made(file: Path) -> None:
    put(file.parent / "none" / "memory")
    assert [*file.parent.iterdir()] == []
    file.mkdir()
    put(file)
    assert got(file) == {}
    assert [*file.parent.iterdir()] == [file]


def test_a_process_killed_while_it_wrote(file: Path) -> None:
    put(file)
    new = file.with_name("memory.new")
    new.write_bytes(b"half")
    put(file, "then")
    assert new.read_bytes() == b"half", "it may be that of a process that still writes"
    assert got(file) == VALUES
    os.utime(new, (0, 0))
    put(file, "then")
    put(file, "then")
    assert got(file, "then") == VALUES
    assert not new.exists()


def test_a_disk_that_fails(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(file)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, "replace", fail)
        put(file, "then")
    assert got(file) == VALUES
    assert [*file.parent.iterdir()] == [file]


def test_a_full_disk(file: Path) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    put(file)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, before[1]))
    try:
        put(file, "then")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert got(file) == VALUES
    assert [*file.parent.iterdir()] == [file]
