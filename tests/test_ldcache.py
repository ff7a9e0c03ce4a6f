"""The linker's cache: judged by ldconfig, and by the linker itself in a root of its own."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from needs import needs
from objects import Workshop

from partialroot.closure.ldcache import Cache, Library, build, parse

HERE = 0x303
"""The flags of x86_64."""


def printed(cache: Path) -> list[str]:
    """Return the entries that ldconfig sees in a cache."""
    run = subprocess.run(["ldconfig", "-p", "-C", cache], capture_output=True, text=True, check=True)
    return [line.strip() for line in run.stdout.splitlines() if " => " in line]


@needs("glibc")
def test_the_systems_cache_reads_as_by_ldconfig() -> None:
    cache = Path("/etc/ld.so.cache")
    ours = [(one.name, one.path) for one in parse(cache.read_bytes())]
    theirs = [tuple(line.partition(" (")[0::2]) for line in printed(cache)]
    assert ours == [(name, rest.rpartition(" => ")[2]) for name, rest in theirs]
    assert len(ours) > 10


@needs("glibc")
def test_what_we_build_reads_as_by_ldconfig(tmp_path: Path) -> None:
    entries = parse(Path("/etc/ld.so.cache").read_bytes())
    cache = tmp_path / "cache"
    cache.write_bytes(build(entries))
    assert printed(cache) == printed(Path("/etc/ld.so.cache"))
    assert parse(build(reversed(entries))) != ()
    assert parse(build(entries)) == entries


@needs("glibc", "gcc", "root")
@pytest.mark.parametrize("style", ["new", "compat", "old"])
def test_all_forms_ldconfig_writes(tmp_path: Path, style: str) -> None:
    shop = Workshop(tmp_path / "root", tmp_path)
    for name in ("liba.so.1", "libb10.so.9", "libb9.so.10"):
        shop.library(f"/opt/lib/{name}", soname=name)
    shop.library("/opt/lib/glibc-hwcaps/x86-64-v2/liba.so.1", soname="liba.so.1")
    shop.cache("/opt/lib", style=style)
    found = {(one.name, one.path, one.hwcaps) for one in parse((shop.root / "etc/ld.so.cache").read_bytes())}
    plain = {(name, f"/opt/lib/{name}", None) for name in ("liba.so.1", "libb10.so.9", "libb9.so.10")}
    assert plain <= found
    better = ("liba.so.1", "/opt/lib/glibc-hwcaps/x86-64-v2/liba.so.1", "x86-64-v2")
    assert (better in found) is (
        style == "new"
    )  # ldconfig's compat form has offsets that glibc cannot follow


@needs("glibc", "gcc", "root")
def test_the_linker_takes_what_we_build(tmp_path: Path) -> None:
    """Many names, so that its binary search needs our order; a better library where the cache says so."""
    shop = Workshop(tmp_path / "root", tmp_path)
    names = [
        f"lib{word}{number}.so.{number}" for word in ("a", "ab", "z-") for number in (0, 1, 2, 9, 10, 11, 100)
    ]
    for name in names:
        shop.library(f"/opt/{name}", soname=name)
    shop.library("/opt/glibc-hwcaps/x86-64-v2/liba1.so.1", soname="liba1.so.1")
    shop.program("/usr/bin/all", names)
    better = Library("liba1.so.1", "/opt/glibc-hwcaps/x86-64-v2/liba1.so.1", HERE, "x86-64-v2")
    entries = [*(Library(name, f"/opt/{name}", HERE) for name in names), better]
    assert shop.listed("/usr/bin/all")[1] == set(names)
    (shop.root / "etc/ld.so.cache").write_bytes(build(entries))
    assert shop.listed("/usr/bin/all")[1] == set()
    (shop.root / "etc/ld.so.cache").write_bytes(build(entries[:-1]))
    assert shop.listed("/usr/bin/all") == ({f"/opt/{name}" for name in names}, set())


def test_entries_for_better_processors_come_first_and_keep_their_names() -> None:
    plain = Library("liba.so", "/opt/liba.so", HERE)
    levels = [plain._replace(path=f"/opt/{level}", hwcaps=level) for level in ("x86-64-v2", "x86-64-v3")]
    assert parse(build([plain, *levels])) == (*levels, plain)


def test_big_endian() -> None:
    entry = Library("libc.so.6", "/lib/libc.so.6", 0x403, "z14", little=False)
    assert parse(build([entry])) == (entry,)


def test_nothing_is_a_cache_too() -> None:
    assert parse(build([])) == ()


LIBRARIES = st.builds(
    Library,
    name=st.text("lib019.so-", min_size=1, max_size=9),
    path=st.text("/aé", min_size=1, max_size=9),
    flags=st.sampled_from([3, 0x303, 0xA03]),
    hwcaps=st.none() | st.sampled_from(["x86-64-v2", "x86-64-v4", "power9"]),
    legacy=st.just(0),
    little=st.just(True),
)


@given(st.lists(LIBRARIES, max_size=30))
def test_what_is_built_is_what_is_read(libraries: list[Library]) -> None:
    read = parse(build(libraries))
    assert sorted(read, key=repr) == sorted(libraries, key=repr)
    assert parse(build(read)) == read
    for name in {"lib", "\ud800", "lib\0/", *(one.name for one in read)}:
        assert Cache(build(read)).named(name) == tuple(one for one in read if one.name == name)


SAMPLE = build([Library(f"lib{n}.so", f"/x/lib{n}.so", 3, "power9" if n % 2 else None) for n in range(9)])


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_mutated_bytes_are_read_or_not(data: st.DataObject) -> None:
    changed = bytearray(SAMPLE)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(SAMPLE) - 1))
        size = data.draw(st.sampled_from([1, 4, 8]))
        changed[at : at + size] = data.draw(st.binary(min_size=size, max_size=size))
    cut = bytes(changed[: data.draw(st.integers(0, len(changed)))])
    for one in parse(cut):
        assert one.name
        assert one.path
        assert Cache(cut).named(one.name) == tuple(each for each in parse(cut) if each.name == one.name)


@given(st.sampled_from([b"ld.so-1.7.0\0", b"glibc-ld.so.cache1.1", b""]), st.binary(max_size=200))
def test_arbitrary_bytes_are_read_or_not(magic: bytes, data: bytes) -> None:
    parse(magic + data)
