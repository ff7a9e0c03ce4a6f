"""glibc's search on handmade libraries, judged by the linker itself in a root of its own."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from needs import needs
from objects import Workshop
from sources import add_path

from partialroot.closure import Closure, Wanted, closure, ldcache
from partialroot.nodes import Reason
from partialroot.paths import RootPath
from partialroot.source.tree import Tree

pytestmark = needs("glibc", "gcc", "root")

MAIN = "/usr/bin/main"


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path / "root", tmp_path)


def closed(shop: Workshop, path: str = MAIN, excluded: tuple[str, ...] = ()) -> Closure:
    wanted = [Wanted(RootPath(path), Reason("program", "test.toml:1"))]
    return closure(Tree(shop.root), wanted, excluded=lambda one: one in excluded)


def judge(shop: Workshop, path: str = MAIN) -> Closure:
    """Compare with the linker: the very names it maps, and the names it does not find."""
    found = closed(shop, path)
    tree = Tree(shop.root)
    mapped, absent = shop.listed(path)
    rules = ("needed", "filter")
    chosen = {str(one.path): one.real for one in found.objects if one.rule in rules and not one.variant}
    expected = {tree.resolve(RootPath.parse(name)).real for name in mapped if ".." not in name}
    assert {real for name, real in chosen.items() if ".." not in name} == expected
    assert {name for name in chosen if ".." in name} == {name for name in mapped if ".." in name}
    assert {one.name for one in found.missing} == absent
    return found


def reals(found: Closure, *, variant: bool = False) -> set[str]:
    return {str(one.real) for one in found.objects if one.variant is variant}


def test_rpath_is_inherited_down_the_chain(shop: Workshop) -> None:
    shop.library("/opt/one/liba.so", ["libb.so"])
    shop.library("/opt/one/libb.so", ["libc.so"])
    shop.library("/opt/one/libc.so")
    shop.program(MAIN, ["liba.so"], rpath="/opt/one")
    assert "/opt/one/libc.so" in reals(judge(shop))


def test_runpath_is_for_own_needs_only(shop: Workshop) -> None:
    shop.library("/opt/one/liba.so", ["libb.so"])
    shop.library("/opt/one/libb.so")
    shop.program(MAIN, ["liba.so"], runpath="/opt/one")
    assert [one.name for one in judge(shop).missing] == ["libb.so"]


def test_an_object_with_a_runpath_sees_no_inherited_rpath(shop: Workshop) -> None:
    shop.library("/opt/one/liba.so", ["libb.so"], runpath="/opt/two")
    shop.library("/opt/one/libb.so", ["libc.so"])
    shop.library("/opt/two/libb.so", ["libc.so"])
    shop.library("/opt/one/libc.so")
    shop.program(MAIN, ["liba.so"], rpath="/opt/one")
    assert reals(judge(shop)) >= {"/opt/two/libb.so", "/opt/one/libc.so"}


def test_the_nearest_rpath_comes_first(shop: Workshop) -> None:
    shop.library("/opt/one/liba.so", ["libb.so"], rpath="/opt/two")
    for place in ("one", "two"):
        shop.library(f"/opt/{place}/libb.so")
    shop.program(MAIN, ["liba.so"], rpath="/opt/one")
    assert "/opt/two/libb.so" in reals(judge(shop))


@pytest.mark.parametrize("path", ["$ORIGIN/../lib", "${ORIGIN}/../lib", "/nowhere:$ORIGIN/../lib/"])
def test_origin(shop: Workshop, path: str) -> None:
    shop.library("/opt/app/lib/liba.so")
    shop.program("/opt/app/bin/main", ["liba.so"], runpath=path)
    found = judge(shop, "/opt/app/bin/main")
    assert "/opt/app/lib/liba.so" in reals(found)
    assert "/opt/app/bin" in found.reasons  # the linker walks through it


def test_origin_of_a_symlinked_program_is_where_its_file_is(shop: Workshop) -> None:
    """As the kernel starts it; ``--list`` takes the name it is given, so it is not the judge here."""
    shop.library("/opt/app/lib/liba.so")
    shop.program("/opt/app/bin/main", ["liba.so"], runpath="$ORIGIN/../lib")
    shop.link(MAIN, "../../opt/app/bin/main")
    found = closed(shop)
    assert "/opt/app/lib/liba.so" in reals(found)
    assert found.reasons[RootPath(MAIN)] == (Reason("symlink", "/opt/app/bin/main"),)


def test_origin_of_a_library_is_where_it_was_found(shop: Workshop) -> None:
    shop.library("/opt/app/lib/liba.so", ["libb.so"], runpath="$ORIGIN/more")
    shop.link("/opt/there", "app/lib")
    shop.library("/opt/app/lib/more/libb.so")
    shop.program(MAIN, ["liba.so"], rpath="/opt/there")
    found = judge(shop)
    assert {"/opt/there/liba.so", "/opt/there/more/libb.so"} <= {one.path for one in found.objects}


@pytest.mark.parametrize(
    "token", ["$LIB", "${LIB}", "$PLATFORM", "${PLATFORM}", "$LIBRARY", "$NONE", "${LIB"]
)
def test_tokens(shop: Workshop, token: str) -> None:
    """A directory for what each token can become, and for the token itself, left as it is."""
    for name in ("lib/x86_64-linux-gnu", "lib64", "lib", "x86_64", "haswell", token):
        shop.library(f"/opt/{name}/liba.so")
    shop.program(MAIN, ["liba.so"], rpath=f"/opt/{token}")
    assert len(judge(shop).missing) == 0


def test_a_needed_name_may_have_tokens_and_slashes(shop: Workshop) -> None:
    shop.library("/opt/liba.so")
    shop.library("/usr/bin/libb.so")
    shop.program(MAIN, ["/opt/liba.so", "$ORIGIN/libb.so", "/opt/none.so"])
    assert [one.name for one in judge(shop).missing] == ["/opt/none.so"]


@pytest.mark.parametrize("style", ["new", "compat", "old"])
def test_the_cache_comes_before_default_directories(shop: Workshop, style: str) -> None:
    shop.library("/opt/lib/liba.so.1", soname="liba.so.1")
    shop.library("/usr/lib/liba.so.1", soname="liba.so.1")
    shop.program(MAIN, ["liba.so.1"])
    assert "/usr/lib/liba.so.1" in reals(judge(shop))
    shop.cache("/opt/lib", style=style)
    found = judge(shop)
    assert "/opt/lib/liba.so.1" in reals(found)
    assert [(one.name, one.path) for one in found.cached] == [("liba.so.1", "/opt/lib/liba.so.1")]


def test_a_cache_of_ours_is_enough_for_the_zone(shop: Workshop) -> None:
    shop.library("/opt/lib/liba.so.1", ["libb.so.1"], soname="liba.so.1")
    shop.library("/usr/lib/libb.so.1", soname="libb.so.1")
    shop.library("/opt/lib/glibc-hwcaps/x86-64-v2/liba.so.1", soname="liba.so.1")
    shop.program(MAIN, ["liba.so.1"])
    shop.cache("/opt/lib")
    found = judge(shop)
    assert {one.name for one in found.cached} == {"liba.so.1"}  # the other is in a default directory
    before = shop.listed(MAIN)
    (shop.root / "etc/ld.so.cache").write_bytes(ldcache.build(found.cached))
    assert shop.listed(MAIN) == before


def test_an_entry_whose_file_is_gone_falls_through(shop: Workshop) -> None:
    shop.library("/opt/lib/liba.so.1", soname="liba.so.1")
    shop.program(MAIN, ["liba.so.1"])
    shop.cache("/opt/lib")
    (shop.root / "opt/lib/liba.so.1").rename(shop.root / "usr/lib/liba.so.1")
    assert "/usr/lib/liba.so.1" in reals(judge(shop))


def test_after_a_bad_entry_no_other_of_the_cache_is_tried(shop: Workshop) -> None:
    """The better one is gone, the plain one is there: yet the linker goes on with the default directories."""
    shop.library("/opt/lib/glibc-hwcaps/x86-64-v2/liba.so.1", soname="liba.so.1")
    shop.library("/opt/lib/liba.so.1", soname="liba.so.1")
    shop.program(MAIN, ["liba.so.1"])
    shop.cache("/opt/lib")
    (shop.root / "opt/lib/glibc-hwcaps/x86-64-v2/liba.so.1").unlink()
    assert [one.name for one in judge(shop).missing] == ["liba.so.1"]


def test_no_default_directories(shop: Workshop) -> None:
    shop.library("/usr/lib/liba.so.1", soname="liba.so.1")
    shop.library("/usr/lib/below/libb.so.1", soname="libb.so.1")
    shop.library("/opt/lib/libc.so.1", soname="libc.so.1")
    shop.program(MAIN, ["liba.so.1", "libb.so.1", "libc.so.1"], options=["-z", "nodefaultlib"])
    shop.cache("/opt/lib", "/usr/lib/below")
    assert {one.name for one in judge(shop).missing} == {"liba.so.1", "libb.so.1"}


def test_what_is_loaded_is_not_sought_again(shop: Workshop) -> None:
    """By its DT_SONAME, though another file of that name is on the path."""
    shop.library("/opt/one/liba.so", soname="libx.so.1")
    shop.library("/opt/one/libb.so", ["libx.so.1"])
    shop.library("/opt/one/libx.so.1", soname="libx.so.1")
    shop.program(MAIN, ["liba.so", "libb.so"], rpath="/opt/one")
    assert "/opt/one/libx.so.1" not in reals(judge(shop))


def test_the_program_and_the_linker_are_loaded_too(shop: Workshop) -> None:
    loader = Path(shop.loader).name
    shop.library("/opt/one/libx.so.1", soname="libx.so.1")
    shop.library(f"/opt/one/{loader}", soname=loader)
    shop.program(MAIN, ["liba.so", loader], rpath="/opt/one", options=["-soname", "libx.so.1"])
    shop.library("/opt/one/liba.so", ["libx.so.1", loader])
    assert not reals(judge(shop)) & {"/opt/one/libx.so.1", f"/opt/one/{loader}"}


def test_one_file_is_loaded_once_whatever_its_names(shop: Workshop) -> None:
    shop.library("/opt/one/liba.so", ["libc.so"], rpath="$ORIGIN")
    shop.link("/opt/one/libb.so", "liba.so")
    (shop.root / "opt/one/libh.so").hardlink_to(shop.root / "opt/one/liba.so")
    shop.library("/opt/one/libc.so")
    shop.program(MAIN, ["liba.so", "libb.so", "libh.so"], rpath="/opt/one")
    found = judge(shop)
    assert "/opt/one/libb.so" in found.reasons
    assert "/opt/one/libh.so" in found.reasons  # as the linker must find it, to see that it is the same
    assert "/opt/one/libh.so" in reals(found, variant=True)


def test_breadth_first(shop: Workshop) -> None:
    """Which libx.so is taken depends on who asks first: b does, though a's own need for it is deeper."""
    shop.library("/opt/one/liba.so", ["libd.so"], runpath="/opt/one")
    shop.library("/opt/one/libd.so", ["libx.so"], runpath="/opt/one")
    shop.library("/opt/one/libb.so", ["libx.so"], runpath="/opt/two")
    for place in ("one", "two"):
        shop.library(f"/opt/{place}/libx.so", soname="libx.so")
    shop.program(MAIN, ["liba.so", "libb.so"], runpath="/opt/one")
    assert "/opt/two/libx.so" in reals(judge(shop))


@pytest.mark.parametrize("option", ["-F", "-f"])
def test_filters_come_before_what_names_them(shop: Workshop, option: str) -> None:
    """The filter's own need for libx.so is met before that of the library after it."""
    shop.library("/opt/one/liba.so", [], runpath="/opt/one", options=[option, "libf.so"])
    shop.library("/opt/one/libf.so", ["libx.so"], runpath="/opt/two")
    shop.library("/opt/one/libb.so", ["libx.so"], runpath="/opt/one")
    for place in ("one", "two"):
        shop.library(f"/opt/{place}/libx.so", soname="libx.so")
    shop.program(MAIN, ["liba.so", "libb.so"], runpath="/opt/one")
    found = judge(shop)
    assert "/opt/two/libx.so" in reals(found)
    assert Reason("filter", "/opt/one/liba.so") in found.reasons[RootPath("/opt/one/libf.so")]


def test_an_auxiliary_may_be_absent(shop: Workshop) -> None:
    shop.library("/opt/one/liba.so", options=["-f", "libnone.so"])
    shop.program(MAIN, ["liba.so"], rpath="/opt/one")
    assert closed(shop).missing == ()


def test_other_machines_are_passed_over(shop: Workshop) -> None:
    shop.library("/opt/one/liba.so", bits=32)
    shop.library("/opt/two/liba.so")
    shop.program(MAIN, ["liba.so"], rpath="/opt/one:/opt/two")
    assert "/opt/two/liba.so" in reals(judge(shop))


def test_what_is_no_elf_object_ends_the_search(shop: Workshop) -> None:
    """The linker refuses to start; the zone would not work."""
    (shop.root / "opt/one").mkdir(parents=True)
    (shop.root / "opt/one/liba.so").write_text("INPUT(liba.so.1)\n")
    shop.library("/opt/two/liba.so")
    shop.program(MAIN, ["liba.so"], rpath="/opt/one:/opt/two")
    (missing,) = closed(shop).missing
    assert missing.name == "liba.so (/opt/one/liba.so is no ELF object, or damaged)"


def test_better_processors(shop: Workshop) -> None:
    """One is taken, as by the linker; the others come along, with what only they need."""
    for level in ("x86-64-v2", "x86-64-v3", "x86-64-v4"):
        shop.library(f"/opt/one/glibc-hwcaps/{level}/liba.so", [f"lib{level}.so"], runpath="/opt/one")
        shop.library(f"/opt/one/lib{level}.so")
    shop.library("/opt/one/liba.so")
    shop.program(MAIN, ["liba.so"], rpath="/opt/one")
    found = judge(shop)
    files = [path for path in found.reasons if path.startswith("/opt/one/") and path.endswith(".so")]
    assert len(files) == 7
    assert sum(one.variant for one in found.objects) == 5


def test_better_processors_by_the_cache(shop: Workshop) -> None:
    for level in ("glibc-hwcaps/x86-64-v2/", "glibc-hwcaps/x86-64-v4/", ""):
        shop.library(f"/opt/one/{level}liba.so.1", soname="liba.so.1")
    shop.program(MAIN, ["liba.so.1"])
    shop.cache("/opt/one")
    found = judge(shop)
    assert len(found.cached) == 3
    assert len(reals(found, variant=True)) == 2


def test_better_only(shop: Workshop) -> None:
    """Without a plain file the oldest processors have nothing; where it is taken nothing is missing."""
    shop.library("/opt/one/glibc-hwcaps/x86-64-v2/liba.so")
    shop.program(MAIN, ["liba.so"], rpath="/opt/one")
    judge(shop)


@pytest.mark.parametrize(
    "legacy", ["tls", "x86_64", "tls/x86_64", "x86_64/x86_64", "tls/x86_64/x86_64", "haswell"]
)
def test_subdirectories_of_older_releases(shop: Workshop, legacy: str) -> None:
    """Taken or not, by the release of the linker and this processor: the judge knows."""
    shop.library(f"/opt/one/{legacy}/liba.so")
    shop.library("/opt/one/liba.so")
    shop.program(MAIN, ["liba.so"], rpath="/opt/one")
    judge(shop)


def test_absolute_symlinks_lead_inside_the_source(shop: Workshop) -> None:
    shop.library("/opt/real/liba.so.1.2")
    shop.link("/opt/lib/liba.so", "/opt/real/liba.so.1")
    shop.link("/opt/real/liba.so.1", "liba.so.1.2")
    shop.link("/lib/more", "/opt/lib")
    shop.program("/opt/real/main", ["liba.so"], rpath="/lib/more")
    shop.link(MAIN, "/opt/real/main")
    found = judge(shop, "/opt/real/main")
    assert {"/opt/lib/liba.so", "/opt/real/liba.so.1"} <= set(found.reasons)
    links = {path for path, reasons in found.reasons.items() if reasons[0].rule == "symlink"}
    for link in links:
        assert (shop.root / link[1:]).is_symlink()
    assert "/opt/real/main" in reals(closed(shop))


@pytest.mark.parametrize("merged", [True, False])
def test_merged_and_split_usr(tmp_path: Path, merged: bool) -> None:
    """Without the merge /lib is a directory of its own, and the linker's path has no link in it."""
    shop = Workshop(tmp_path / "root", tmp_path)
    loader = shop.root / shop.loader[1:]
    if not merged:
        content = loader.read_bytes()
        for name in ("lib", "lib64"):
            (shop.root / name).unlink(missing_ok=True)
            (shop.root / name).mkdir()
        loader.write_bytes(content)
        loader.chmod(0o755)
    shop.library("/lib/liba.so.1", soname="liba.so.1")
    shop.program(MAIN, ["liba.so.1"])
    found = judge(shop)
    assert (RootPath("/lib") in found.reasons) is merged
    assert ("/usr/lib/liba.so.1" in reals(found)) is merged


def test_what_is_excluded_is_not_there(shop: Workshop) -> None:
    for place in ("one", "two"):
        shop.library(f"/opt/{place}/liba.so")
    shop.program(MAIN, ["liba.so"], rpath="/opt/one:/opt/two")
    assert "/opt/two/liba.so" in reals(closed(shop, excluded=("/opt/one/liba.so",)))
    (missing,) = closed(shop, excluded=("/opt/one/liba.so", "/opt/two/liba.so")).missing
    assert missing[:3] == ("liba.so (excluded)", MAIN, "warning")


def test_an_excluded_directory_is_not_searched(shop: Workshop) -> None:
    shop.library("/opt/one/liba.so")
    shop.program(MAIN, ["liba.so"], rpath="/opt/one")
    shop_root = Tree(shop.root)
    wanted = [Wanted(RootPath(MAIN), Reason("program", "test.toml:1"))]
    found = closure(shop_root, wanted, excluded=lambda path: path.is_below("/opt"))
    assert [one[:3] for one in found.missing] == [("liba.so (excluded)", MAIN, "warning")]


def test_every_chain_of_first_reasons_ends_in_the_profile(shop: Workshop) -> None:
    shop.library("/opt/one/liba.so", ["libb.so"], options=["-F", "libf.so"])
    shop.library("/opt/one/libb.so", ["liba.so"])
    shop.library("/opt/one/libf.so", ["libb.so"])
    shop.program("/opt/main", ["liba.so", "libb.so"], rpath="/opt/one")
    shop.link(MAIN, "../../opt/main")
    found = closed(shop)
    for path in found.reasons:
        assert chain(found, path)[-1] == "test.toml:1"


def chain(found: Closure, path: RootPath) -> list[str]:
    steps = [str(path)]
    while (here := RootPath(steps[-1])) in found.reasons:
        steps.append(found.reasons[here][0].origin)
        assert len(steps) < 20
    return steps


def test_a_missing_linker_is_said_with_what_it_would_load(shop: Workshop) -> None:
    shop.library("/usr/lib/liba.so")
    shop.program(MAIN, ["liba.so", "libnone.so"])
    (shop.root / Path(shop.loader).resolve().relative_to("/")).unlink()
    found = closed(shop)
    assert {one.name for one in found.missing} == {shop.loader, "libnone.so"}
    assert "/usr/lib/liba.so" in reals(found)


def test_ending_a_thread_takes_a_library_that_nobody_names(tmp_path: Path) -> None:
    """The program is run with nothing but what the closure found; and without that library it is aborted."""
    source, program = tmp_path / "main.c", tmp_path / "main"
    source.write_text(
        "#include <pthread.h>\nstatic void *run(void *x) { pthread_exit(x); }\n"
        "int main(void) { pthread_t t; return pthread_create(&t, 0, run, 0) || pthread_join(t, 0); }\n"
    )
    subprocess.run(["gcc", "-o", program, source], check=True)
    found = closure(Tree(Path("/")), [Wanted(RootPath(str(program)), Reason("program", "test.toml:1"))])
    root = tmp_path / "root"
    root.mkdir()
    for path in found.reasons:
        add_path(root, path)
    assert run_in(root, str(program)) == 0
    (unwinder,) = (one for one in found.objects if one.rule == "dlopen")
    (root / unwinder.real[1:]).unlink()
    assert run_in(root, str(program)) != 0


def run_in(root: Path, program: str) -> int:
    return subprocess.run(
        ["/usr/sbin/chroot", root, program], env={}, capture_output=True, check=False
    ).returncode


@pytest.fixture
def noted(shop: Workshop) -> Iterator[Callable[[str, str], None]]:
    """Compile libraries with a note about what they open."""

    def make(path: str, note: str) -> None:
        text = note.replace('"', '\\"')
        source = shop.root.parent / "note.s"
        source.write_text(
            '.section .note.dlopen, "a", %note\n.balign 4\n.long 4, 2f - 1f, 0x407c0c0a\n'
            f'.asciz "FDO"\n1: .asciz "{text}"\n2: .balign 4\n'
        )
        shop.assemble(source, "note.o")
        shop.library(path, options=[str(shop.root.parent / "note.o")], rpath="/opt/one")

    yield make


def test_dlopen_notes(shop: Workshop, noted: Callable[[str, str], None]) -> None:
    noted(
        "/opt/one/liba.so",
        '[{"soname": ["libnew.so", "libold.so"]}, {"soname": ["libnone.so"], "priority": "required"}]',
    )
    noted("/opt/one/libold.so", '[{"soname": ["libmore.so"], "priority": "suggested"}]')
    shop.library("/opt/one/libmore.so")
    shop.program(MAIN, ["liba.so"], rpath="/opt/one")
    found = closed(shop)
    assert found.reasons[RootPath("/opt/one/libold.so")] == (Reason("dlopen", "/opt/one/liba.so"),)
    assert "/opt/one/libmore.so" not in found.reasons
    assert [one[:3] for one in found.missing] == [("libnone.so", "/opt/one/liba.so", "warning")]
    wanted = [Wanted(RootPath(MAIN), Reason("program", "test.toml:1"))]
    assert "/opt/one/libold.so" not in closure(Tree(shop.root), wanted, notes=False).reasons
