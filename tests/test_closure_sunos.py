"""What illumos' dynamic linker and kernel take, on roots of handmade objects."""

from pathlib import Path

import pytest
import sunelf
from hypothesis import given
from hypothesis import strategies as st
from objects import make_elf
from sunelf import DEFERRED, Need
from sunroot import SunRoot, config, lazy

from partialroot.closure import Closure
from partialroot.closure.elf import Abi, read_elf
from partialroot.closure.linker.sunos_bound import bound_at_start
from partialroot.errors import Missing, SourceError
from partialroot.nodes import Reason
from partialroot.paths import RootPath

MAIN = "/usr/bin/main"


@pytest.fixture
def zone(tmp_path: Path) -> SunRoot:
    return SunRoot(tmp_path)


def lacks(found: Closure) -> list[tuple[str, str]]:
    return [(one.name, one.severity) for one in found.missing]


def why(found: Closure, path: str) -> tuple[Reason, ...]:
    return found.reasons[RootPath(path)]


# --- search ------------------------------------------------------------------------------------------


def test_a_program_gets_the_default_directories_in_order(zone: SunRoot) -> None:
    zone.program(MAIN, ["liba.so.1", "libb.so.1"])
    for path in ("/lib/liba.so.1", "/usr/lib/liba.so.1", "/usr/lib/libb.so.1"):
        zone.library(path)
    assert set(zone.closed(MAIN).reasons) == {
        *(MAIN, "/lib/ld.so.1", "/usr/lib/ld.so.1", "/lib/liba.so.1", "/usr/lib/libb.so.1")
    }


def test_64_bit_programs_pass_the_literal_links(zone: SunRoot) -> None:
    zone.program(MAIN, ["liba.so.1", "libb.so.1"], bits=64)
    zone.library("/lib/amd64/liba.so.1", bits=64)
    zone.library("/usr/lib/amd64/libb.so.1", bits=64)
    found = zone.closed(MAIN)
    assert set(found.reasons) >= {
        *("/lib/64", "/usr/lib/64", "/lib/amd64/liba.so.1", "/usr/lib/amd64/libb.so.1"),
    }
    assert [one.path for one in found.objects if one.rule == "needed"] == [
        "/lib/64/liba.so.1",
        "/usr/lib/64/libb.so.1",
    ]


def test_lib_comes_before_usr_lib_in_64_bits(zone: SunRoot) -> None:
    zone.program(MAIN, ["liba.so.1"], bits=64)
    for path in ("/lib/amd64/liba.so.1", "/usr/lib/amd64/liba.so.1"):
        zone.library(path, bits=64)
    assert {path for path in zone.closed(MAIN).reasons if "liba" in path} == {"/lib/amd64/liba.so.1"}


def test_objects_of_other_machines_are_passed_over(zone: SunRoot) -> None:
    zone.program(MAIN, ["liba.so.1"], runpath="/opt")
    zone.file("/opt/liba.so.1", make_elf(bits=32, machine=40), 0o755)
    zone.library("/lib/liba.so.1")
    assert RootPath("/lib/liba.so.1") in zone.closed(MAIN).reasons


def test_nothing_behind_the_end_of_the_dynamic_section_counts(zone: SunRoot) -> None:
    """As ld leaves room there for what is to be added later (elf.c, elf_new_lmp)."""
    made = bytearray(make_elf(bits=32, machine=3, entries=[(1, "libend.so.1"), (1, "libbehind.so.1")]))
    first, behind, strings, size, end = (made[at : at + 8] for at in range(len(made) - 40, len(made), 8))
    made[-40:] = strings + size + first + end + behind
    zone.file("/opt/liba.so.1", bytes(made), 0o755)
    assert lacks(zone.closed("/opt/liba.so.1")) == [("libend.so.1", "error")]


def test_what_does_not_fit_is_passed_over(zone: SunRoot) -> None:
    zone.program(MAIN, ["liba.so.1", "libb.so.1", "libc.so.1"], runpath="/opt")
    zone.library("/opt/liba.so.1", bits=64)
    zone.library("/lib/liba.so.1")
    zone.file("/opt/libb.so.1", "no object")
    zone.library("/lib/libb.so.1")
    (zone.root / "opt/libc.so.1").mkdir()
    found = zone.closed(MAIN)
    assert {"/lib/liba.so.1", "/lib/libb.so.1", "/lib/libc.so.1"} <= set(found.reasons)
    assert not any(path.startswith("/opt") for path in found.reasons)
    assert found.missing == ()


def test_paths_are_not_inherited(zone: SunRoot) -> None:
    zone.program(MAIN, ["liba.so.1"], runpath="/opt")
    zone.library("/opt/liba.so.1", ["libb.so.1"])
    zone.library("/opt/libb.so.1")
    assert zone.closed(MAIN).missing == (Missing("libb.so.1", "/opt/liba.so.1", "error", None),)


@pytest.mark.parametrize(("tags", "taken"), [((15, 29), "/two"), ((29, 15), "/one")])
def test_of_rpath_and_runpath_the_last_counts(zone: SunRoot, tags: tuple[int, int], taken: str) -> None:
    paths = {15: "/one", 29: "/two"}
    entries = [(1, "liba.so.1"), *((tag, paths[tag]) for tag in tags)]
    zone.file(MAIN, make_elf(bits=32, machine=3, kind=2, interpreter="/lib/ld.so.1", entries=entries), 0o755)
    zone.library("/one/liba.so.1")
    zone.library("/two/liba.so.1")
    assert RootPath(f"{taken}/liba.so.1") in zone.closed(MAIN).reasons


def test_a_need_has_two_tags(zone: SunRoot) -> None:
    """DT_USED (0x7ffffffe) is DT_NEEDED: elf.c, elf_new_lmp."""
    zone.program(MAIN, ["liba.so.1"], entries=[(0x7FFFFFFE, "libb.so.1")])
    zone.library("/lib/liba.so.1")
    assert lacks(zone.closed(MAIN)) == [("libb.so.1", "error")]


def test_one_name_can_be_two_objects(zone: SunRoot) -> None:
    """Sonames and what is loaded play no role: every object searches for itself."""
    zone.program(MAIN, ["liba.so.1", "libb.so.1"], runpath="/opt/one")
    zone.library("/opt/one/liba.so.1", soname="libx.so.1")
    zone.library("/opt/one/libb.so.1", ["liba.so.1", "libx.so.1"], runpath="/opt/two")
    zone.library("/opt/two/liba.so.1")
    found = zone.closed(MAIN)
    assert {"/opt/one/liba.so.1", "/opt/two/liba.so.1"} <= set(found.reasons)
    assert lacks(found) == [("libx.so.1", "error")]


def test_what_others_have_loaded_is_a_last_resort_and_said(zone: SunRoot) -> None:
    zone.program(MAIN, ["liba.so.1", "libb.so.1"], runpath="/opt")
    zone.library("/opt/liba.so.1")
    zone.library("/opt/libb.so.1", ["liba.so.1"])
    found = zone.closed(MAIN)
    assert lacks(found) == [("liba.so.1 (only because /opt/liba.so.1 is loaded by others)", "warning")]
    assert Reason("needed", "/opt/libb.so.1") in why(found, "/opt/liba.so.1")


def test_no_default_directories(zone: SunRoot) -> None:
    zone.library("/opt/liba.so.1", ["libb.so.1"], no_default=True)
    zone.library("/lib/libb.so.1")
    assert lacks(zone.closed("/opt/liba.so.1")) == [("libb.so.1", "error")]


def test_names_with_a_slash_are_not_searched(zone: SunRoot) -> None:
    zone.program(MAIN, ["/opt/liba.so.1", "sub/libb.so.1", "/opt/libc64.so.1"])
    zone.library("/opt/liba.so.1")
    zone.library("/lib/sub/libb.so.1")
    zone.library("/opt/libc64.so.1", bits=64)
    found = zone.closed(MAIN)
    assert RootPath("/opt/liba.so.1") in found.reasons
    assert lacks(found) == [("sub/libb.so.1", "error"), ("/opt/libc64.so.1", "error")]


@pytest.mark.parametrize(
    ("runpath", "directory"),
    [
        ("$ORIGIN/../lib", "/opt/app/lib"),
        ("/opt/$OSNAME/$OSREL", "/opt/SunOS/5.11"),
        ("/usr/platform/$PLATFORM/lib", "/usr/platform/i86pc/lib"),
        ("/opt/$MACHINE", "/opt/i86pc"),
        ("/opt/$ISALIST/lib", "/opt/pentium_pro/lib"),
        ("/opt/$OSNAME/$ISALIST/$ISALIST", "/opt/$OSNAME/$ISALIST/$ISALIST"),
        ("relative::;/opt/semicolon", "/opt/semicolon"),
        ("/opt/$nothing", "/opt/$nothing"),
        ("/opt/${ORIGIN}", "/opt/${ORIGIN}"),
    ],
)
def test_tokens(zone: SunRoot, runpath: str, directory: str) -> None:
    """$ORIGIN is where the object really is, whatever link led to it; braces mean nothing."""
    zone.program("/opt/app/bin/main", ["liba.so.1"], runpath=runpath)
    zone.link(MAIN, "../../opt/app/bin/main")
    zone.library(f"{directory}/liba.so.1")
    found = zone.closed(MAIN)
    assert found.missing == ()
    assert RootPath(f"{directory}/liba.so.1") in found.reasons


def test_the_best_of_the_instruction_sets_that_fits(zone: SunRoot) -> None:
    zone.program(MAIN, ["/opt/$ISALIST/liba.so.1"])
    zone.library("/opt/amd64/liba.so.1", bits=64)
    zone.library("/opt/i386/liba.so.1")
    zone.library("/opt/i86/liba.so.1")
    found = {path for path in zone.closed(MAIN).reasons if path.startswith("/opt")}
    assert found == {"/opt/i386/liba.so.1"}


def test_origin_in_a_need_is_where_the_object_really_is(zone: SunRoot) -> None:
    zone.program("/opt/app/bin/main", ["$ORIGIN/../lib/liba.so.1"])
    zone.link("/opt/main", "app/bin/main")
    zone.library("/opt/app/lib/liba.so.1", ["$ORIGIN/libb.so.1"])
    zone.library("/opt/app/real/libb.so.1")
    zone.link("/opt/app/lib/libb.so.1", "../real/libb.so.1")
    zone.program(MAIN, ["/opt/link/libc1.so.1"])
    zone.link("/opt/link/libc1.so.1", "../real/libc1.so.1")
    zone.library("/opt/real/libc1.so.1", ["$ORIGIN/libd.so.1"])
    zone.library("/opt/real/libd.so.1")
    found = zone.closed("/opt/main", MAIN)
    assert found.missing == ()
    assert {"/opt/app/lib/liba.so.1", "/opt/app/real/libb.so.1", "/opt/real/libd.so.1"} <= set(found.reasons)


@pytest.mark.parametrize("token", ["$CAPABILITY", "$HWCAP"])
def test_all_of_a_capability_directory(zone: SunRoot, token: str) -> None:
    zone.program(MAIN, [f"/opt/{token}"])
    zone.library("/opt/a.so.1")
    zone.library("/opt/b.so.1")
    zone.library("/opt/c.so.1", bits=64)
    zone.file("/opt/README", "none")
    found = zone.closed(MAIN)
    assert {one.path: one.variant for one in found.objects if one.path.startswith("/opt")} == {
        "/opt/a.so.1": False,
        "/opt/b.so.1": True,
    }


def test_what_is_excluded_is_not_found(zone: SunRoot) -> None:
    zone.program(MAIN, ["liba.so.1", "libb.so.1"])
    for path in ("/lib/liba.so.1", "/lib/libb.so.1", "/usr/lib/libb.so.1"):
        zone.library(path)
    found = zone.closed(MAIN, excluded=["/lib/liba.so.1", "/lib/libb.so.1"])
    assert lacks(found) == [("liba.so.1 (excluded)", "warning")]
    assert RootPath("/usr/lib/libb.so.1") in found.reasons


# --- when: lazy, deferred, lean ------------------------------------------------------------------------


def test_an_eager_lack_is_an_error_a_lazy_one_a_warning(zone: SunRoot) -> None:
    zone.program(MAIN, ["liba.so.1", lazy("libb.so.1"), Need("libc2.so.1", DEFERRED)])
    assert lacks(zone.closed(MAIN)) == [
        ("liba.so.1", "error"),
        ("libb.so.1", "warning"),
        ("libc2.so.1", "warning"),
    ]


def test_a_scope_of_symbols_changes_nothing(zone: SunRoot) -> None:
    zone.program(MAIN, [Need("liba.so.1", LAZY_GROUP), Need("libb.so.1", 0x2)])
    assert lacks(zone.closed(MAIN)) == [("liba.so.1", "warning"), ("libb.so.1", "error")]


def test_below_a_lazy_need_nothing_is_an_error(zone: SunRoot) -> None:
    zone.program(MAIN, [lazy("liba.so.1")])
    zone.program("/usr/bin/other", ["liba.so.1"])
    zone.library("/lib/liba.so.1", ["libnone.so.1"])
    assert lacks(zone.closed(MAIN)) == [("libnone.so.1", "warning")]
    assert lacks(zone.closed(MAIN, "/usr/bin/other")) == [("libnone.so.1", "error")]


def test_what_is_lazy_here_and_eager_there_is_eager(zone: SunRoot) -> None:
    zone.program(MAIN, [lazy("liba.so.1"), "libb.so.1"])
    zone.library("/lib/liba.so.1", ["libnone.so.1"])
    zone.library("/lib/libb.so.1", ["liba.so.1"])
    assert lacks(zone.closed(MAIN)) == [("libnone.so.1", "error")]


def test_lean_leaves_lazy_needs_out_unless_named(zone: SunRoot) -> None:
    zone.program(MAIN, ["libc.so.1", lazy("liba.so.1"), lazy("libnone.so.1")])
    zone.library("/lib/liba.so.1", [lazy("libb.so.1")])
    zone.library("/lib/libb.so.1")
    lean = zone.closed(MAIN, lean=True)
    assert not {"/lib/liba.so.1", "/lib/libb.so.1"} & set(lean.reasons)
    assert lean.missing == ()
    assert "/lib/liba.so.1" in zone.closed(MAIN, "/lib/liba.so.1", lean=True).reasons
    assert {"/lib/liba.so.1", "/lib/libb.so.1"} <= set(zone.closed(MAIN).reasons)


# --- all bound at start-up -----------------------------------------------------------------------------

LAZY_GROUP, LAZY_DEFERRED = 0x1 | 0x2, 0x1 | DEFERRED  # DF_P1_*: the symbols' scope makes no difference
NOW_BY = {"DF_1_NOW": [], "DF_BIND_NOW": [(30, 0x8)], "DT_BIND_NOW": [(24, 0)]}


@pytest.mark.parametrize("how", NOW_BY)
def test_what_is_bound_at_start_up_is_not_lazy(zone: SunRoot, how: str) -> None:
    zone.program(
        MAIN,
        [
            lazy("liba.so.1"),
            lazy("libnone.so.1"),
            Need("libd.so.1", DEFERRED),
            Need("libd.so.1", LAZY_DEFERRED),
        ],
        now=how == "DF_1_NOW",
        entries=NOW_BY[how],
    )
    zone.library("/lib/liba.so.1")
    zone.library("/lib/libd.so.1")
    found = zone.closed(MAIN, lean=True)
    assert why(found, "/lib/liba.so.1") == (Reason("needed", MAIN),)
    assert RootPath("/lib/libd.so.1") not in found.reasons
    assert lacks(found) == lacks(zone.closed(MAIN)) == [("libnone.so.1", "error")]


def test_who_binds_all_has_all_below_bound(zone: SunRoot) -> None:
    """The mode is handed down (analyze.c, update_mode): to what is loaded lazily, and was loaded before."""
    zone.program(MAIN, ["liba.so.1", "libb.so.1"])
    zone.library("/lib/liba.so.1", [lazy("libc1.so.1")])
    zone.library("/lib/libb.so.1", [lazy("liba.so.1")])
    zone.library("/lib/libc1.so.1", [lazy("libc2.so.1")])
    zone.library("/lib/libc2.so.1")
    below = {"/lib/libc1.so.1", "/lib/libc2.so.1"}
    assert not below & set(zone.closed(MAIN, lean=True).reasons)
    zone.library("/lib/libb.so.1", [lazy("liba.so.1")], now=True)
    assert below <= set(zone.closed(MAIN, lean=True).reasons)


def test_one_program_that_binds_all_changes_nothing_for_others(zone: SunRoot) -> None:
    zone.program(MAIN, ["liba.so.1"], now=True)
    zone.program("/usr/bin/other", ["liba.so.1"])
    zone.library("/lib/liba.so.1", [lazy("libnone.so.1")])
    assert lacks(zone.closed("/usr/bin/other")) == [("libnone.so.1", "warning")]
    assert lacks(zone.closed("/usr/bin/other", MAIN)) == [("libnone.so.1", "error")]
    assert lacks(zone.closed("/usr/bin/other", lean=True)) == []


def test_the_configuration_can_make_all_programs_bind_all(zone: SunRoot) -> None:
    zone.program(MAIN, [lazy("liba.so.1")])
    zone.library("/lib/liba.so.1")
    zone.file("/var/ld/ld.config", config(None, {"LD_BIND_NOW": "1"}))
    assert RootPath("/lib/liba.so.1") in zone.closed(MAIN, lean=True).reasons
    zone.file("/var/ld/ld.config", config(None, {"LD_BIND_NOW": ""}))
    assert RootPath("/lib/liba.so.1") not in zone.closed(MAIN, lean=True).reasons


@pytest.mark.parametrize("bits", [32, 64])
def test_what_data_refers_to_is_bound_at_start_up(zone: SunRoot, bits: int) -> None:
    """Like ls, whose cur_term is a variable of libcurses: without that it does not start."""
    zone.program(
        MAIN,
        ["libc.so.1", lazy("libcalls.so.1"), lazy("libdata.so.1"), Need("libd.so.1", DEFERRED)],
        bits=bits,
        imports=["itself", "call", "cur_term", "later"],
        bound=[
            ("call", "libcalls.so.1", False),
            ("cur_term", "libdata.so.1", True),
            ("later", "libd.so.1", True),
        ],
    )
    place = "/lib" if bits == 32 else "/lib/amd64"
    for name in ("libcalls.so.1", "libdata.so.1", "libd.so.1"):
        zone.library(f"{place}/{name}", bits=bits)
    found = zone.closed(MAIN, lean=True)
    assert RootPath(f"{place}/libdata.so.1") in found.reasons
    assert not {f"{place}/libcalls.so.1", f"{place}/libd.so.1"} & set(found.reasons)
    (zone.root / f"{place[1:]}/libdata.so.1").unlink()
    assert lacks(zone.closed(MAIN, lean=True)) == [("libdata.so.1", "error")]


@given(st.data())
def test_damaged_notes_of_bindings_bind_nothing_or_something(data: st.DataObject) -> None:
    whole = sunelf.make(
        sunelf.Object(
            interpreter="/lib/ld.so.1",
            needs=[lazy("liba.so.1")],
            imports=["symbol"],
            bound=[("symbol", "liba.so.1", True)],
        )
    )
    abi = Abi(32, True, 3)
    assert bound_at_start(whole, abi) == {"liba.so.1"}
    at = data.draw(st.integers(0, len(whole) - 1))
    damaged = whole[:at] + data.draw(st.binary(min_size=1, max_size=8)) + whole[at + 8 :]
    assert all("\0" not in name for name in bound_at_start(damaged, abi))
    assert isinstance(bound_at_start(whole[:at], abi), frozenset)


# --- capabilities --------------------------------------------------------------------------------------

HW_1, SF_1, HW_2, PLAT = 1, 2, 3, 4
SSE2, AVX = 0x1000, 0x20000000


@pytest.mark.parametrize("demand", [(HW_1, AVX), (HW_1, AVX | SSE2), (HW_2, 0x1), (PLAT, 17)])
def test_what_not_every_machine_can_load_comes_with_what_it_loads_instead(
    zone: SunRoot, demand: tuple[int, int]
) -> None:
    zone.program(MAIN, ["liba.so.1"], runpath="/opt/fast:/opt/faster:/opt/plain")
    zone.library("/opt/fast/liba.so.1", capabilities=[demand])
    zone.library("/opt/faster/liba.so.1", capabilities=[demand])
    zone.library("/opt/plain/liba.so.1", capabilities=[(HW_1, SSE2)])
    zone.library("/lib/liba.so.1")
    found = zone.closed(MAIN)
    taken = {one.path: one.variant for one in found.objects if "liba" in one.path}
    assert taken == {
        "/opt/fast/liba.so.1": False,
        "/opt/faster/liba.so.1": True,
        "/opt/plain/liba.so.1": True,
    }
    assert found.missing == ()


def test_what_every_machine_has_is_no_demand(zone: SunRoot) -> None:
    zone.program(MAIN, ["liba.so.1"], runpath="/opt", bits=64)
    zone.library("/opt/liba.so.1", bits=64, capabilities=[(HW_1, 0x3C7F), (SF_1, 0x3)])
    zone.library("/lib/amd64/liba.so.1", bits=64)
    assert RootPath("/lib/amd64/liba.so.1") not in zone.closed(MAIN).reasons


def test_one_object_by_two_names_is_one(zone: SunRoot) -> None:
    zone.program(MAIN, ["liba.so.1"])
    zone.library("/lib/liba.so.1", capabilities=[(HW_1, AVX)])
    zone.link("/usr/lib/liba.so.1", "../../lib/liba.so.1")
    assert RootPath("/usr/lib/liba.so.1") not in zone.closed(MAIN).reasons


def test_demands_of_single_symbols_are_not_the_objects(zone: SunRoot) -> None:
    zone.program(MAIN, ["liba.so.1"], runpath="/opt")
    zone.library("/opt/liba.so.1", capabilities=[(HW_1, SSE2), (0, 0), (HW_1, AVX)])
    zone.library("/lib/liba.so.1")
    assert RootPath("/lib/liba.so.1") not in zone.closed(MAIN).reasons


@pytest.mark.parametrize("restricted", [False, True])
def test_32_bit_addresses_are_for_programs_that_have_them(zone: SunRoot, restricted: bool) -> None:
    demands = [(SF_1, 0x4)]
    zone.program(MAIN, ["liba.so.1"], bits=64, runpath="/opt", capabilities=demands if restricted else [])
    zone.library("/opt/liba.so.1", bits=64, capabilities=demands)
    zone.library("/lib/amd64/liba.so.1", bits=64)
    found = {path for path in zone.closed(MAIN).reasons if "liba" in path}
    assert found == {"/opt/liba.so.1" if restricted else "/lib/amd64/liba.so.1"}


# --- audit ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tag", sunelf.AUDITS.values(), ids=sunelf.AUDITS)
def test_who_watches_comes_along_and_is_told(zone: SunRoot, tag: int) -> None:
    zone.program(MAIN, [], entries=[(tag, "/opt/libwatch.so.1:libnone.so.1")])
    zone.library("/opt/libwatch.so.1", ["liba.so.1"])
    zone.library("/lib/liba.so.1")
    found = zone.closed(MAIN)
    assert why(found, "/opt/libwatch.so.1") == (Reason("needed", MAIN),)
    assert RootPath("/lib/liba.so.1") in found.reasons
    assert found.warnings == (f"{MAIN}: is watched by the audit library /opt/libwatch.so.1:libnone.so.1",)
    assert found.missing == ()


def test_without_who_watches_a_program_runs(zone: SunRoot) -> None:
    zone.program(MAIN, [], entries=[(sunelf.AUDITS["DT_DEPAUDIT"], "libnone.so.1")])
    assert lacks(zone.closed(MAIN)) == [("libnone.so.1", "warning")]


# --- filters -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["DT_FILTER", "DT_SUNW_FILTER"])
def test_filters_are_hard(zone: SunRoot, kind: str) -> None:
    """A whole-object filter has no DT_NEEDED, not even of libc."""
    zone.program(MAIN, ["libf.so.1", "libg.so.1"])
    zone.library("/lib/libf.so.1", filters=[(kind, "libc.so.1")])
    zone.library("/lib/libg.so.1", filters=[(kind, "libnone.so.1")])
    found = zone.closed(MAIN, lean=True)
    assert why(found, "/lib/libc.so.1") == (Reason("filter", "/lib/libf.so.1"),)
    assert lacks(found) == [("libnone.so.1", "error")]


@pytest.mark.parametrize("kind", ["DT_AUXILIARY", "DT_SUNW_AUXILIARY"])
def test_auxiliaries_may_be_absent(zone: SunRoot, kind: str) -> None:
    zone.program(MAIN, ["libf.so.1"])
    name = "/usr/platform/$PLATFORM/lib/libf_psr.so.1"
    zone.library("/lib/libf.so.1", filters=[(kind, name)])
    assert zone.closed(MAIN).missing == ()
    zone.library("/usr/platform/i86pc/lib/libf_psr.so.1")
    found = zone.closed(MAIN)
    assert why(found, "/usr/platform/i86pc/lib/libf_psr.so.1") == (Reason("filter", "/lib/libf.so.1"),)


def test_of_several_filtees_one_must_be_there(zone: SunRoot) -> None:
    zone.program(MAIN, ["libf.so.1"])
    zone.library("/lib/libf.so.1", filters=[("DT_FILTER", "libnone.so.1:libc.so.1")])
    found = zone.closed(MAIN)
    assert found.missing == ()
    assert RootPath("/lib/libc.so.1") in found.reasons


def test_a_filter_of_the_linker_opens_no_file(zone: SunRoot) -> None:
    found = zone.closed("/lib/libc.so.1", "/lib/amd64/libc.so.1")
    assert set(found.reasons) == {"/lib/libc.so.1", "/lib/amd64/libc.so.1"}
    assert found.missing == ()


def test_tags_of_illumos_mean_nothing_elsewhere() -> None:
    """0x6000000f is DT_ANDROID_REL to others."""
    data = make_elf(entries=[(0x6000000F, 1 << 40), (0x7FFFFFFE, 1 << 40)])
    elf = read_elf(data)
    assert elf is not None and elf.needs == ()
    solaris = data[:7] + b"\6" + data[8:]
    with pytest.raises(SourceError, match="a name in it is not there"):
        read_elf(solaris)


def unmark(made: Path) -> None:
    """Make an object one of another linker than illumos' own: without the OS ABI of Solaris."""
    data = bytearray(made.read_bytes())
    assert data[7] == 6
    data[7] = 0
    made.write_bytes(data)


def test_without_a_mark_the_tags_of_illumos_count_all_the_same(zone: SunRoot) -> None:
    """Neither the kernel nor ld.so.1 looks at EI_OSABI (elf.c, elf_verify)."""
    unmark(zone.program(MAIN, ["libf.so.1", "libg.so.1"], entries=[(0x6FFFFEFA, "/opt/ld.config")]))
    unmark(zone.library("/lib/libf.so.1", filters=[("DT_SUNW_FILTER", "libreal.so.1")], imports=["sem_open"]))
    unmark(zone.library("/opt/libreal.so.1", entries=[(0x7FFFFFFE, "libused.so.1")]))
    unmark(zone.library("/opt/libg.so.1", capabilities=[(HW_1, AVX)]))
    zone.library("/lib/libg.so.1")
    zone.library("/lib/libmd.so.1")
    zone.file("/opt/ld.config", config("/opt:/lib"))
    found = zone.closed(MAIN)
    assert why(found, "/opt/libreal.so.1") == (Reason("filter", "/lib/libf.so.1"),)
    assert why(found, "/lib/libmd.so.1") == (Reason("dlopen", "/lib/libf.so.1"),)
    assert {"/opt/libg.so.1", "/lib/libg.so.1"} <= set(found.reasons)
    assert lacks(found) == [("libused.so.1", "error")]


def test_objects_of_other_systems_are_read_as_theirs(zone: SunRoot) -> None:
    """In a global zone there are programs for Linux, too (lx): of those such a tag says nothing."""
    entries = [(0x6000000F, 1 << 40)]
    zone.file(
        "/opt/linux", make_elf(interpreter="/lib64/ld-linux-x86-64.so.2", entries=entries, kind=2), 0o755
    )
    assert not [one for one in zone.closed("/opt/linux").warnings if "damaged" in one]
    zone.file("/opt/liblinux.so", make_elf(entries=entries), 0o755)
    found = zone.closed("/opt/liblinux.so")
    assert [one for one in found.warnings if one.startswith("/opt/liblinux.so: is a damaged ELF file")]


def test_an_unmarked_link_to_isaexec_is_known(zone: SunRoot) -> None:
    unmark(zone.program("/usr/bin/sort", ["libc.so.1"], imports=["isaexec"]))
    zone.program("/usr/bin/i86/sort", ["libc.so.1"])
    assert RootPath("/usr/bin/i86/sort") in zone.closed("/usr/bin/sort").reasons


# --- kernel: interpreter, isaexec, scripts ------------------------------------------------------------


def test_the_kernel_drops_usr_of_an_interpreter(zone: SunRoot) -> None:
    zone.program(MAIN)
    found = zone.closed(MAIN)
    assert why(found, "/lib/ld.so.1") == (Reason("interpreter", MAIN),)
    assert why(found, "/usr/lib/ld.so.1") == (Reason("symlink", "/lib/ld.so.1"),)
    (zone.root / "usr/lib/ld.so.1").unlink()
    assert set(zone.closed(MAIN).reasons) == {MAIN, "/lib/ld.so.1"}


def test_other_spellings_are_literal(zone: SunRoot) -> None:
    zone.library(MAIN, ["libc.so.1"], bits=64, interpreter="/lib/64/ld.so.1")
    found = zone.closed(MAIN)
    assert {"/lib/64", "/lib/amd64/ld.so.1", "/lib/amd64/libc.so.1"} <= set(found.reasons)
    assert RootPath("/usr/lib/amd64/ld.so.1") not in found.reasons


def test_only_two_spellings_lose_usr(zone: SunRoot) -> None:
    zone.library(MAIN, bits=64, interpreter="/usr/lib/64/ld.so.1")
    found = set(zone.closed(MAIN).reasons)
    assert found == {MAIN, "/usr/lib/64", "/usr/lib/amd64/ld.so.1", "/lib/amd64/ld.so.1"}


def test_without_a_linker_in_lib_the_one_in_usr_lib_runs(zone: SunRoot) -> None:
    (zone.root / "usr/lib/ld.so.1").unlink()
    (zone.root / "lib/ld.so.1").rename(zone.root / "usr/lib/ld.so.1")
    zone.program(MAIN)
    found = zone.closed(MAIN, "/usr/lib/ld.so.1")
    assert set(found.reasons) == {MAIN, "/usr/lib/ld.so.1"}
    assert found.missing == ()  # nothing that the linker itself names


def test_without_its_interpreter_the_rest_is_found_all_the_same(zone: SunRoot) -> None:
    for path in ("lib/ld.so.1", "usr/lib/ld.so.1"):
        (zone.root / path).unlink()
    zone.program(MAIN, ["libc.so.1"])
    found = zone.closed(MAIN)
    assert lacks(found) == [("/usr/lib/ld.so.1", "error")]
    assert RootPath("/lib/libc.so.1") in found.reasons


@pytest.mark.parametrize("path", ["/lib/ld.so.1", "/usr/bin/interpreter"])
def test_what_runs_others_must_be_executable(zone: SunRoot, path: str) -> None:
    """For exec(2) of the program, the linker (exec.c, execpermissions) and of a script what it names."""
    zone.program("/usr/bin/interpreter", ["libc.so.1"])
    zone.file(MAIN, "#!/usr/bin/interpreter\n", 0o755)
    assert zone.closed(MAIN).warnings == ()
    (zone.root / path.lstrip("/")).chmod(0o644)
    (warning,) = zone.closed(MAIN).warnings
    assert warning.startswith(f"{path}: cannot be run")


def test_the_linker_itself_needs_nothing(zone: SunRoot) -> None:
    zone.library("/lib/liblddbg.so.4")
    zone.program(MAIN)
    assert set(zone.closed("/lib/ld.so.1").reasons) == {"/lib/ld.so.1"}
    assert RootPath("/lib/liblddbg.so.4") not in zone.closed(MAIN).reasons


def test_set_id_programs_do_not_trust_what_moves(zone: SunRoot) -> None:
    zone.program("/opt/bin/main", ["liba.so.1"], runpath="$ORIGIN/../lib").chmod(0o4755)
    zone.library("/opt/lib/liba.so.1")
    assert lacks(zone.closed("/opt/bin/main")) == [("liba.so.1", "error")]
    zone.program("/opt/bin/main", ["liba.so.1"], runpath="$ORIGIN/../lib:/opt/lib").chmod(0o4755)
    assert zone.closed("/opt/bin/main").missing == ()
    zone.program("/opt/bin/main", ["/opt/lib/libb.so.1"]).chmod(0o4755)
    zone.library("/opt/lib/libb.so.1", ["liba.so.1"], runpath="$ORIGIN")
    assert zone.closed("/opt/bin/main").missing == ()


def test_what_a_set_id_program_does_not_take_is_told(zone: SunRoot) -> None:
    """An error of a library that is there, or another library than everybody sees, is no riddle."""
    zone.library("/opt/lib/liba.so.1")
    zone.program("/opt/bin/main", ["liba.so.1", "libb.so.1"], runpath="/opt/b:$ORIGIN/../lib").chmod(0o4755)
    zone.library("/opt/b/libb.so.1")
    zone.library("/opt/lib/libb.so.1")  # not reached in any program
    told = ("/opt/lib/liba.so.1: is not taken by a set-id program, which trusts no $ORIGIN",)
    found = zone.closed("/opt/bin/main")
    assert lacks(found) == [("liba.so.1", "error")] and found.warnings == told
    zone.library("/lib/liba.so.1")
    found = zone.closed("/opt/bin/main")
    assert found.missing == () and found.warnings == told
    assert RootPath("/opt/lib/liba.so.1") not in found.reasons


def test_beside_a_set_id_program_nothing_is_trusted_that_it_has_not_used(zone: SunRoot) -> None:
    """What counts is where needs were found (analyze.c, load_file): the program itself is none."""
    zone.program("/opt/bin/main", ["liba.so.1"], runpath="$ORIGIN").chmod(0o4755)
    zone.library("/opt/bin/liba.so.1")
    assert lacks(zone.closed("/opt/bin/main")) == [("liba.so.1", "error")]
    zone.program("/opt/bin/main", ["/opt/bin/libb.so.1", "liba.so.1"], runpath="$ORIGIN").chmod(0o4755)
    zone.library("/opt/bin/libb.so.1")
    assert zone.closed("/opt/bin/main").missing == ()


def test_set_id_programs_do_not_trust_needs_by_origin(zone: SunRoot) -> None:
    need = "$ORIGIN/../lib/liba.so.1"
    zone.program("/opt/bin/main", [need, "/opt/lib/libb.so.1"]).chmod(0o4755)
    for name in ("liba.so.1", "libb.so.1"):
        zone.library(f"/opt/lib/{name}")
    found = zone.closed("/opt/bin/main")
    assert lacks(found) == [(need, "error")]
    assert found.warnings == (
        "/opt/lib/liba.so.1: is not taken by a set-id program, which trusts no $ORIGIN",
    )
    zone.program("/opt/bin/main", ["/opt/bin/../lib/libb.so.1", need]).chmod(0o4755)
    assert zone.closed("/opt/bin/main").missing == ()


@pytest.mark.parametrize(("bits", "place"), [(32, "/usr/lib/secure"), (64, "/usr/lib/secure/64")])
def test_each_class_has_its_secure_directories(zone: SunRoot, bits: int, place: str) -> None:
    for directory in ("/usr/lib/secure", "/usr/lib/secure/64"):
        zone.library(f"{directory}/liba.so.1", bits=bits)
        zone.program(f"{directory}/main", ["liba.so.1"], bits=bits, runpath="$ORIGIN").chmod(0o4755)
        expected = [] if directory == place else [("liba.so.1", "error")]
        assert lacks(zone.closed(f"{directory}/main")) == expected


def test_set_id_programs_trust_secure_directories_and_preload_nothing(zone: SunRoot) -> None:
    zone.program("/usr/lib/secure/main", ["liba.so.1"], runpath="$ORIGIN").chmod(0o2755)
    zone.library("/usr/lib/secure/liba.so.1")
    zone.library("/lib/libp.so.1")
    zone.file("/var/ld/ld.config", config(variables={"LD_PRELOAD": "libp.so.1"}))
    found = zone.closed("/usr/lib/secure/main")
    assert found.missing == ()
    assert RootPath("/lib/libp.so.1") not in found.reasons


def test_the_kernel_expands_origin_in_an_interpreter(zone: SunRoot) -> None:
    zone.library("/opt/bin/main", ["libc.so.1"], interpreter="$ORIGIN/../lib/ld.so.1")
    zone.library("/opt/lib/ld.so.1")
    found = zone.closed("/opt/bin/main")
    assert found.missing == ()
    assert why(found, "/opt/lib/ld.so.1") == (Reason("interpreter", "/opt/bin/main"),)


@pytest.mark.parametrize("mode", [0o4755, 0o2755])
def test_the_kernel_expands_nothing_for_a_set_id_program(zone: SunRoot, mode: int) -> None:
    zone.library("/opt/bin/main", ["libc.so.1"], interpreter="$ORIGIN/../lib/ld.so.1").chmod(mode)
    zone.library("/opt/lib/ld.so.1")
    found = zone.closed("/opt/bin/main")
    assert lacks(found) == [("$ORIGIN/../lib/ld.so.1", "error")]
    assert found.warnings == ("/opt/bin/main: is not run: it is set-id, and names its linker by $ORIGIN",)


def isaexec(zone: SunRoot, path: str) -> None:
    """Make a program that is a link to isaexec."""
    original = zone.root / "usr/lib/isaexec"
    if not original.exists():
        zone.program("/usr/lib/isaexec", ["libc.so.1"], imports=["isaexec"])
    (zone.root / path[1:]).hardlink_to(original)


def test_a_link_to_isaexec_runs_the_best_there_is(zone: SunRoot) -> None:
    isaexec(zone, "/usr/bin/sort")
    zone.program("/usr/bin/i86/sort", ["libc.so.1"])
    assert why(zone.closed("/usr/bin/sort"), "/usr/bin/i86/sort") == (Reason("isaexec", "/usr/bin/sort"),)
    zone.program("/usr/bin/amd64/sort", ["libc.so.1"], bits=64)
    found = zone.closed("/usr/bin/sort")
    assert {"/lib/libc.so.1", "/usr/bin/amd64/sort", "/lib/amd64/libc.so.1"} <= set(found.reasons)
    assert RootPath("/usr/bin/i86/sort") not in found.reasons
    found = zone.closed("/usr/bin/sort", excluded=["/usr/bin/amd64/sort"])
    assert RootPath("/usr/bin/i86/sort") in found.reasons


def test_isaexec_with_nothing_to_run_is_a_lack(zone: SunRoot) -> None:
    isaexec(zone, "/usr/bin/sort")
    zone.file("/usr/bin/i86/sort", "not executable")
    assert lacks(zone.closed("/usr/bin/sort")) == [("/usr/bin/amd64/sort", "error")]
    assert zone.closed("/usr/lib/isaexec").missing == ()


def test_a_link_to_a_link_is_run_by_its_real_name(zone: SunRoot) -> None:
    isaexec(zone, "/usr/bin/ksh93")
    zone.link("/usr/bin/jsh", "ksh93")
    zone.program("/usr/bin/i86/ksh93")
    assert RootPath("/usr/bin/i86/ksh93") in zone.closed("/bin/jsh").reasons


def test_a_copy_of_isaexec_is_known_by_what_it_calls(zone: SunRoot) -> None:
    zone.program("/usr/bin/sort", ["libc.so.1"], imports=["isaexec"])
    assert zone.closed("/usr/bin/sort").missing == ()
    zone.program("/usr/bin/i86/sort")
    assert RootPath("/usr/bin/i86/sort") in zone.closed("/usr/bin/sort").reasons


def test_a_script_through_bin(zone: SunRoot) -> None:
    zone.program("/usr/bin/i86/ksh93")
    zone.link("/usr/bin/sh", "i86/ksh93")
    zone.file("/etc/rc", "#!/bin/sh -x more words\n", 0o755)
    found = zone.closed("/etc/rc")
    assert {"/bin", "/usr/bin/sh", "/usr/bin/i86/ksh93", "/lib/ld.so.1"} <= set(found.reasons)
    assert why(found, "/usr/bin/i86/ksh93") == (Reason("script", "/etc/rc"),)


def test_env_gets_one_word(zone: SunRoot) -> None:
    zone.program("/usr/bin/env")
    zone.program("/usr/bin/node")
    zone.file("/opt/app", "#!/usr/bin/env node --flag\n", 0o755)
    assert RootPath("/usr/bin/node") in zone.closed("/opt/app").reasons


@pytest.mark.parametrize(
    ("head", "name"),
    [
        ("#!/usr/bin/main", None),
        ("#!/usr/bin/none\r\n", "/usr/bin/none\r"),
        ("#! \t/usr/bin/none\n", "/usr/bin/none"),
        ("#!\n", None),
        ("#!/" + "x" * 1022 + "\n", None),
        ("#!/" + "x" * 1020 + "\n", "/" + "x" * 1020),
    ],
)
def test_what_the_kernel_reads_of_a_script(zone: SunRoot, head: str, name: str | None) -> None:
    zone.file("/opt/script", head, 0o755)
    assert [one.name for one in zone.closed("/opt/script").missing] == ([] if name is None else [name])


# --- ld.config -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("marked", [True, False])
def test_a_configuration_replaces_the_default_directories(zone: SunRoot, marked: bool) -> None:
    zone.program(MAIN, ["liba.so.1", "libb.so.1"])
    zone.library("/opt/lib/liba.so.1")
    zone.library("/usr/lib/libb.so.1")
    zone.file("/var/ld/ld.config", config("/lib:/opt/lib", marked=marked))
    found = zone.closed(MAIN)
    assert lacks(found) == [("libb.so.1", "error")]
    assert why(found, "/var/ld/ld.config") == (Reason("needed", "/opt/lib/liba.so.1"),)


def test_a_configuration_that_changes_nothing_stays_out(zone: SunRoot) -> None:
    zone.program(MAIN, ["libc.so.1"])
    zone.file("/var/ld/ld.config", config("/lib:/usr/lib:/opt/lib"))
    assert RootPath("/var/ld/ld.config") not in zone.closed(MAIN).reasons


def test_what_an_object_finds_by_its_own_path_needs_no_configuration(zone: SunRoot) -> None:
    zone.program(MAIN, ["liba.so.1"], runpath="/opt/")
    zone.library("/opt/liba.so.1")
    zone.file("/var/ld/ld.config", config("/lib:/usr/lib:/srv"))
    found = zone.closed(MAIN)
    assert RootPath("/var/ld/ld.config") not in found.reasons
    assert "/opt/liba.so.1" in [one.path for one in found.objects]


def test_each_class_has_its_configuration(zone: SunRoot) -> None:
    zone.program(MAIN, ["liba.so.1"], bits=64)
    zone.library("/opt/64/liba.so.1", bits=64)
    zone.file("/var/ld/ld.config", config("/opt/64"))
    assert lacks(zone.closed(MAIN)) == [("liba.so.1", "error")]
    zone.file("/var/ld/64/ld.config", config("/opt/64", bits=64))
    found = zone.closed(MAIN)
    assert found.missing == ()
    assert {"/var/ld/64", "/var/ld/amd64/ld.config"} <= set(found.reasons)


@pytest.mark.parametrize(("bits", "place"), [(32, "/var/ld"), (64, "/var/ld/amd64")])
def test_variables_of_a_configuration(zone: SunRoot, bits: int, place: str) -> None:
    """LD_LIBRARY_PATH is before the object's own path; what is preloaded, every program loads."""
    zone.program(MAIN, ["liba.so.1"], runpath="/opt/one", bits=bits)
    for path in ("/opt/one/liba.so.1", "/opt/two/liba.so.1", "/opt/two/libp.so.1"):
        zone.library(path, bits=bits)
    variables = {"LD_LIBRARY_PATH": "/opt/two;/opt/three", "LD_PRELOAD": "libp.so.1"}
    zone.file(f"{place}/ld.config", config(variables=variables, bits=bits))
    found = set(zone.closed(MAIN).reasons)
    assert {"/opt/two/liba.so.1", "/opt/two/libp.so.1", f"{place}/ld.config"} <= found
    assert "/opt/one/liba.so.1" not in found


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"?RLC",
        b"?RLC" + bytes(100),
        config("/opt")[:60],
        config("/opt", bits=64),
        config("/opt", flags=1),
        config("/opt", version=9),
        config("/opt")[:-1],
    ],
)
def test_a_configuration_that_is_damaged_or_for_others_is_ignored(zone: SunRoot, data: bytes) -> None:
    zone.program(MAIN, ["libc.so.1"])
    zone.file("/var/ld/ld.config", data)
    found = zone.closed(MAIN)
    assert found.missing == ()
    assert RootPath("/lib/libc.so.1") in found.reasons


def test_files_from_before_lib_was_searched(zone: SunRoot) -> None:
    zone.program(MAIN, ["libc.so.1"])
    zone.file("/var/ld/ld.config", config("/opt:/usr/lib", flags=0))
    assert zone.closed(MAIN).missing == ()
    zone.file("/var/ld/ld.config", config("/opt:/usr/lib", flags=0x8))
    assert lacks(zone.closed(MAIN)) == [("libc.so.1", "error")]


def test_before_usr_lib_is_where_lib_is_added(zone: SunRoot) -> None:
    zone.program(MAIN, ["liba.so.1", "libb.so.1"])
    zone.file("/var/ld/ld.config", config("/opt:/usr/lib", flags=0))
    for path in ("/opt/liba.so.1", "/lib/liba.so.1", "/lib/libb.so.1", "/usr/lib/libb.so.1"):
        zone.library(path)
    found = {path for path in zone.closed(MAIN).reasons if ".so.1" in path and "ld.so" not in path}
    assert found == {"/opt/liba.so.1", "/lib/libb.so.1"}


def test_alternative_objects_are_warned_of(zone: SunRoot) -> None:
    zone.program(MAIN, ["libc.so.1"])
    zone.file("/var/ld/ld.config", config("/lib:/usr/lib", flags=0xA))
    assert zone.closed(MAIN).warnings == (
        "/var/ld/ld.config: names alternative objects, which are not looked for",
    )


def test_a_program_may_name_its_configuration(zone: SunRoot) -> None:
    entries = [(1, "liba.so.1"), (0x6FFFFEFA, "/opt/ld.config")]
    data = make_elf(bits=32, machine=3, kind=2, interpreter="/lib/ld.so.1", entries=entries)
    zone.file(MAIN, data[:7] + b"\6" + data[8:], 0o755)
    zone.program("/usr/bin/other", ["liba.so.1"])
    zone.library("/opt/liba.so.1")
    zone.file("/opt/ld.config", config("/opt"))
    found = zone.closed(MAIN, "/usr/bin/other")
    assert [(one.name, one.needed_by) for one in found.missing] == [("liba.so.1", "/usr/bin/other")]
    assert RootPath("/opt/ld.config") in found.reasons


# --- all kinds in one walk ------------------------------------------------------------------------------


def test_one_walk_follows_programs_of_several_linkers(zone: SunRoot) -> None:
    loader = make_elf(entries=[]) + b"\0/lib64/\0/usr/lib64/\0glibc-ld.so.cache1.1\0release version 2.39.\0"
    zone.file("/lib64/ld-linux-x86-64.so.2", loader, 0o755)
    zone.file("/lib64/libc.so.6", make_elf(), 0o755)
    entries = [(1, "libc.so.6")]
    zone.file(
        "/opt/linux", make_elf(interpreter="/lib64/ld-linux-x86-64.so.2", entries=entries, kind=2), 0o755
    )
    zone.program(MAIN, ["libc.so.1"], bits=64)
    found = zone.closed("/opt/linux", MAIN)
    assert {"/lib64/libc.so.6", "/lib/amd64/libc.so.1"} <= set(found.reasons)
    assert found.missing == ()
