"""The closure as a whole, on roots of handmade objects: reasons, severities, damage, order."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from objects import make_elf

from partialroot.closure import Closure, Wanted, closure, ldcache
from partialroot.errors import Missing
from partialroot.nodes import Reason
from partialroot.paths import RootPath
from partialroot.source.tree import Tree

LOADER = "/lib64/ld-linux-x86-64.so.2"
SYSTEM = b"\0/lib64/\0/usr/lib64/\0glibc-ld.so.cache1.1\0release version 2.39.\0"
NEEDED = 1

Make = Callable[..., None]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Make programs and libraries of a system like Fedora, by what they need."""

    def elf(path: str, *needed: str, interpreter: str | None = None, tail: bytes = b"") -> None:
        place = tmp_path / path[1:]
        place.parent.mkdir(parents=True, exist_ok=True)
        entries = [(NEEDED, name) for name in needed]
        place.write_bytes(make_elf(interpreter=interpreter, entries=entries) + tail)
        place.chmod(0o755)

    elf(LOADER, tail=SYSTEM)
    return elf


def closed(root: Path, *wanted: str, severity: str = "error", supplier: str | None = None) -> Closure:
    return closure(
        Tree(root),
        [
            Wanted(RootPath(path), Reason("program", f"p.toml:{number}"), severity)
            for number, path in enumerate(wanted, 1)
        ],
        supplier=lambda name: supplier,
    )


def test_what_is_missing_is_said_with_who_needs_it_and_who_has_it(tmp_path: Path, make: Make) -> None:
    make("/usr/bin/a", "libnone.so", interpreter=LOADER)
    found = closed(tmp_path, "/usr/bin/a", "/usr/bin/none", supplier="libnone1")
    assert found.missing == (
        Missing("libnone.so", "/usr/bin/a", "error", "libnone1"),
        Missing("/usr/bin/none", "p.toml:2", "error", "libnone1"),
    )


def test_a_lack_is_as_bad_as_the_worst_who_needs_it(tmp_path: Path, make: Make) -> None:
    make("/usr/bin/a", "libb.so", interpreter=LOADER)
    make("/usr/bin/c", "libb.so", interpreter=LOADER)
    make("/lib64/libb.so", "libnone.so")
    wanted = [
        Wanted(RootPath("/usr/bin/a"), Reason("glob", "p.toml:1"), "warning"),
        Wanted(RootPath("/usr/bin/c"), Reason("program", "p.toml:2")),
    ]
    assert [one.severity for one in closure(Tree(tmp_path), wanted).missing] == ["error"]
    assert [one.severity for one in closure(Tree(tmp_path), wanted[:1]).missing] == ["warning"]


def test_a_library_alone_may_need_what_its_program_has_loaded(tmp_path: Path, make: Make) -> None:
    """As Java's libraries need libjvm.so, which none of them could find."""
    make("/opt/app/libplugin.so", "libcore.so")
    make("/opt/app/core/libcore.so")
    assert [one.name for one in closed(tmp_path, "/opt/app/libplugin.so").missing] == ["libcore.so"]
    assert closed(tmp_path, "/opt/app/libplugin.so", "/opt/app/core/libcore.so").missing == ()
    make("/usr/bin/a", "libcore.so", interpreter=LOADER)
    assert [one.needed_by for one in closed(tmp_path, "/usr/bin/a", "/opt/app/core/libcore.so").missing] == [
        "/usr/bin/a"
    ]


def test_a_library_alone_brings_no_linker(tmp_path: Path, make: Make) -> None:
    make("/opt/liba.so", "libb.so")
    make("/lib64/libb.so")
    assert set(closed(tmp_path, "/opt/liba.so").reasons) == {"/opt/liba.so", "/lib64/libb.so"}


def test_static_programs_need_nothing(tmp_path: Path, make: Make) -> None:
    make("/usr/bin/static")
    found = closed(tmp_path, "/usr/bin/static")
    assert set(found.reasons) == {"/usr/bin/static"}
    assert found.missing == ()


def test_damage_is_a_warning_and_a_lack_for_who_needs_it(tmp_path: Path, make: Make) -> None:
    make("/usr/bin/a", "libb.so", interpreter=LOADER)
    (tmp_path / "lib64/libb.so").write_bytes(make_elf()[:70])
    found = closed(tmp_path, "/usr/bin/a")
    assert found.warnings == ("/lib64/libb.so: is a damaged ELF file: it ends too early",)
    assert [one.name for one in found.missing] == ["libb.so (/lib64/libb.so is no ELF object, or damaged)"]


def test_a_linker_of_another_kind_is_a_warning(tmp_path: Path, make: Make) -> None:
    make("/usr/bin/a", "libc.musl-x86_64.so.1", interpreter="/lib/ld-uClibc.so.0")
    make("/lib/ld-uClibc.so.0", tail=b"uClibc")
    found = closed(tmp_path, "/usr/bin/a")
    assert found.warnings == ("/usr/bin/a: what its dynamic linker /lib/ld-uClibc.so.0 loads is not known",)
    assert found.reasons[RootPath("/lib/ld-uClibc.so.0")] == (Reason("interpreter", "/usr/bin/a"),)


def test_what_is_no_regular_file_is_not_read(tmp_path: Path, make: Make) -> None:
    make("/usr/bin/a", "libb.so", interpreter=LOADER)
    os.mkfifo(tmp_path / "lib64/libb.so")
    found = closed(tmp_path, "/usr/bin/a", "/lib64/libb.so", "/usr")
    assert [one.name for one in found.missing] == ["libb.so"]


def test_one_reason_for_each_who_needs_it(tmp_path: Path, make: Make) -> None:
    for name in ("a", "b"):
        make(f"/usr/bin/{name}", "libc.so", interpreter=LOADER)
    make("/lib64/libc.so")
    found = closed(tmp_path, "/usr/bin/a", "/usr/bin/b")
    assert found.reasons[RootPath("/lib64/libc.so")] == (
        Reason("needed", "/usr/bin/a"),
        Reason("needed", "/usr/bin/b"),
    )
    assert [(one.path, one.needed_by, one.rule) for one in found.objects] == [
        ("/usr/bin/a", "p.toml:1", "wanted"),
        (LOADER, "/usr/bin/a", "interpreter"),
        ("/lib64/libc.so", "/usr/bin/a", "needed"),
        ("/usr/bin/b", "p.toml:2", "wanted"),
    ]


def test_the_order_of_what_is_wanted_changes_no_path(tmp_path: Path, make: Make) -> None:
    make("/usr/bin/a", "libc.so", "libd.so", interpreter=LOADER)
    make("/usr/bin/b", "libd.so", interpreter=LOADER)
    make("/lib64/libc.so", "libd.so")
    make("/lib64/libd.so")
    one = closed(tmp_path, "/usr/bin/a", "/usr/bin/b")
    other = closed(tmp_path, "/usr/bin/b", "/usr/bin/a")
    assert set(one.reasons) == set(other.reasons)


FILES = ("/usr/bin/a", "/lib64/libb.so", "/lib64/libc.so", LOADER, "/etc/ld.so.cache")


@settings(max_examples=100, suppress_health_check=[*HealthCheck])
@given(data=st.data())
def test_whatever_the_bytes_there_is_a_closure(tmp_path: Path, make: Make, data: st.DataObject) -> None:
    """Everything a linker reads is damaged somewhere: there are lacks and warnings, and no other error."""
    make("/usr/bin/a", "libb.so", "$ORIGIN/libx.so", interpreter=LOADER)
    make("/lib64/libb.so", "libc.so")
    make("/lib64/libc.so")
    make(LOADER, tail=SYSTEM)
    cache = tmp_path / "etc/ld.so.cache"
    cache.parent.mkdir(exist_ok=True)
    cache.write_bytes(ldcache.build([ldcache.Library("libc.so", "/lib64/libc.so", 0x303)]))
    for path in data.draw(st.lists(st.sampled_from(FILES), min_size=1, unique=True)):
        place = tmp_path / path[1:]
        content = bytearray(place.read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            at = data.draw(st.integers(0, len(content) - 1))
            content[at : at + 4] = data.draw(st.binary(min_size=1, max_size=8))
        place.write_bytes(content)
    found = closed(tmp_path, "/usr/bin/a")
    assert RootPath("/usr/bin/a") in found.reasons
    for one in found.cached:
        ldcache.build([one])
