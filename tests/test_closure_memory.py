"""What a closure remembers: it opens no object twice, and notices every change."""

import marshal
import os
from pathlib import Path
from typing import Any

import pytest
import zone_files
from bootable import until
from command import partialroot
from hypothesis import given, settings
from hypothesis import strategies as st
from moments import let_the_clock_tick
from needs import needs
from sunroot import SunRoot
from test_closure import LOADER, Make, make
from test_elf import HANDMADE, elf_files

from partialroot.closure import Closure, Wanted, closure
from partialroot.closure.elf import Elf, read_elf
from partialroot.errors import SourceError
from partialroot.nodes import Node, Reason
from partialroot.paths import RootPath
from partialroot.source import memory
from partialroot.source.memory import Memory
from partialroot.source.tree import Tree

__all__ = ["make"]

OLD = 10**18
WANTED = [Wanted(RootPath(f"/usr/bin/{name}"), Reason("program", "p.toml:1")) for name in ("a", "script")]


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where it is remembered what is in files, even in new ones."""
    monkeypatch.setattr(memory, "RECENT_NS", 0)
    return tmp_path_factory.mktemp("store") / "memory"


@pytest.fixture
def root(tmp_path: Path, make: Make) -> Path:
    """Return a root with a program, its libraries and a script."""
    make("/usr/bin/a", "libb.so", interpreter=LOADER)
    make("/lib64/libb.so", "libc.so")
    make("/lib64/libc.so")
    make("/lib64/libd.so")
    script = tmp_path / "usr/bin/script"
    script.write_text("#!/usr/bin/a\nand so on\n")
    script.chmod(0o755)
    return tmp_path


class Watched(Tree):
    """A source that knows which of its files were opened."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.seen: set[str] = set()

    def open_node(self, path: RootPath, node: Node) -> int:
        self.seen.add(path)
        return super().open_node(path, node)


def run(root: Path, place: Path | None) -> tuple[Closure, set[str]]:
    """Find a closure as one process would; return it, and which files were opened."""
    tree = Watched(root)
    with Memory(place) as tree.memory:
        found = closure(tree, WANTED)
    return found, tree.seen


def test_no_object_is_opened_twice(root: Path, place: Path) -> None:
    first, opened = run(root, place)
    assert {"/usr/bin/a", "/lib64/libb.so", "/lib64/libc.so", "/usr/bin/script"} <= opened
    assert run(root, place) == (first, {LOADER}), "but what is built into the linker is not remembered"


def test_a_change_is_noticed(root: Path, place: Path) -> None:
    run(root, place)
    library = root / "lib64/libb.so"
    before = library.stat()
    let_the_clock_tick(library)
    library.write_bytes(library.read_bytes().replace(b"libc.so\0", b"libd.so\0"))
    os.utime(library, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = library.stat()
    assert (after.st_ino, after.st_size, after.st_mtime_ns) == (
        before.st_ino,
        before.st_size,
        before.st_mtime_ns,
    )
    found, opened = run(root, place)
    assert opened == {LOADER, "/lib64/libb.so", "/lib64/libd.so"}
    assert "/lib64/libd.so" in found.reasons
    assert "/lib64/libc.so" not in found.reasons


def test_a_link_costs_reading_once_more(root: Path, place: Path) -> None:
    first, _ = run(root, place)
    let_the_clock_tick(root / "usr/bin/a")
    os.link(root / "usr/bin/a", root / "usr/bin/again")
    assert run(root, place) == (first, {LOADER, "/usr/bin/a"})
    assert run(root, place) == (first, {LOADER})


def test_what_is_damaged_is_said_every_time(root: Path, place: Path) -> None:
    data = (root / "usr/bin/a").read_bytes()
    (root / "usr/bin/a").write_bytes(data[:70])
    first, _ = run(root, place)
    assert [one for one in first.warnings if "damaged" in one]
    assert run(root, place)[0] == first


def test_a_damaged_memory_changes_nothing(root: Path, place: Path) -> None:
    first, opened = run(root, place)
    place.write_bytes(place.read_bytes()[:-20])
    found, again = run(root, place)
    assert found == first
    assert again <= opened
    assert run(root, place) == (first, {LOADER})


def test_objects_of_illumos(tmp_path: Path, place: Path) -> None:
    zone = SunRoot(tmp_path)
    zone.program("/usr/bin/a", ["libc.so.1"], imports=["sem_open", "getaddrinfo"])
    zone.library("/lib/libmd.so.1")
    zone.file("/etc/netconfig", "")
    first, opened = run(tmp_path, place)
    assert {"/usr/bin/a", "/lib/libc.so.1", "/lib/libmd.so.1"} <= opened
    assert {"/lib/libmd.so.1", "/etc/netconfig"} <= set(first.reasons)
    assert run(tmp_path, place) == (first, set())


def kept(elf: Elf) -> Elf:
    """Return what another process is told of an object."""
    packed: Any = elf.packed
    return Elf.unpacked(marshal.loads(marshal.dumps(packed)))


@needs("glibc")
def test_every_elf_file_of_the_machine_is_remembered_as_it_is() -> None:
    for path in elf_files():
        with open(path, "rb") as file:
            elf = read_elf(file.fileno())
        assert elf is None or kept(elf) == elf


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([*HANDMADE, zone_files.content("/usr/lib/ssh/sshd", 0o755)]),
    st.lists(st.tuples(st.integers(0, 1023), st.integers(0, 255)), max_size=4),
)
def test_odd_objects_are_remembered_as_they_are(data: bytes, damage: list[tuple[int, int]]) -> None:
    changed = bytearray(data)
    for at, byte in damage:
        changed[at % len(changed)] = byte
    try:
        elf = read_elf(bytes(changed))
    except SourceError:
        return
    assert elf is None or kept(elf) == elf


def test_the_command_remembers_in_a_store_of_ours(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = tmp_path_factory.mktemp("store")
    words = ("closure", "/usr/bin/a", "--source", root, "--store", store, "--json")
    first = partialroot(*words).document
    assert [one["path"] for one in first["objects"]]

    def remembers() -> bool:  # what has just changed is not remembered yet
        return bool(partialroot(*words)) and (store / "memory").exists()

    until(remembers, "files are old enough to be remembered")
    assert (store / "memory").stat().st_mode & 0o777 == 0o600
    assert partialroot(*words).document == first
    assert partialroot(*words[:-2], store.with_name("none"), "--json").document == first
    assert not store.with_name("none").exists()
