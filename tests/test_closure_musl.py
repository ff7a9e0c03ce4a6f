"""musl's search on handmade roots, and on Debian's package where that is installed."""

import subprocess
from pathlib import Path

import pytest
from needs import require
from objects import make_elf

from partialroot.closure import Closure, Wanted, closure
from partialroot.nodes import Reason
from partialroot.paths import RootPath
from partialroot.source.tree import Tree

LOADER = "/lib/ld-musl-x86_64.so.1"
MAIN = "/usr/bin/main"
NEEDED, SONAME, RPATH, RUNPATH = 1, 14, 15, 29


class Root:
    """A root like Alpine's."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.elf(LOADER)
        (root / "lib/libc.musl-x86_64.so.1").symlink_to("ld-musl-x86_64.so.1")

    def elf(
        self,
        path: str,
        *needed: str,
        program: bool = False,
        bits: int = 64,
        tags: tuple[tuple[int, str], ...] = (),
    ) -> None:
        entries = [*((NEEDED, name) for name in needed), *tags]
        machine = 62 if bits == 64 else 3
        data = make_elf(bits=bits, machine=machine, interpreter=LOADER if program else None, entries=entries)
        self.file(path, data, 0o755)

    def file(self, path: str, data: bytes, mode: int = 0o644) -> None:
        place = self.root / path[1:]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        place.chmod(mode)

    def closed(self, *paths: str) -> Closure:
        wanted = [Wanted(RootPath(path), Reason("program", "p.toml:1")) for path in paths]
        return closure(Tree(self.root), wanted)


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path)


def test_libc_is_the_linker_itself(root: Root) -> None:
    root.elf(MAIN, "libc.musl-x86_64.so.1", "libpthread.so.0", "libm.so.6", "libdl.so.2", program=True)
    found = root.closed(MAIN)
    assert set(found.reasons) == {MAIN, LOADER}
    assert found.missing == ()
    assert found.reasons[RootPath(LOADER)] == (Reason("interpreter", MAIN), Reason("needed", MAIN))


def test_names_that_only_look_like_it_are_libraries(root: Root) -> None:
    root.elf(MAIN, "libcrypto.so.3", "libmd.so.1", program=True)
    assert [one.name for one in root.closed(MAIN).missing] == ["libcrypto.so.3", "libmd.so.1"]


def test_default_directories_in_order(root: Root) -> None:
    root.elf(MAIN, "liba.so", "libb.so", program=True)
    for path in ("/usr/local/lib/liba.so", "/usr/lib/liba.so", "/usr/lib/libb.so"):
        root.elf(path)
    found = root.closed(MAIN)
    assert {"/usr/local/lib/liba.so", "/usr/lib/libb.so"} <= set(found.reasons)
    assert RootPath("/usr/lib/liba.so") not in found.reasons


@pytest.mark.parametrize("tag", [RPATH, RUNPATH])
def test_both_paths_are_inherited(root: Root, tag: int) -> None:
    root.elf(MAIN, "liba.so", program=True, tags=((tag, "/opt/${ORIGIN}$ORIGIN:/opt"),))
    root.elf("/opt/liba.so", "libb.so")
    root.elf("/opt/libb.so", "libc.so")
    assert root.closed(MAIN).missing == ()


def test_runpath_overrides_rpath_in_one_object(root: Root) -> None:
    root.elf(MAIN, "liba.so", program=True, tags=((RPATH, "/one"), (RUNPATH, "/two")))
    root.elf("/one/liba.so")
    assert [one.name for one in root.closed(MAIN).missing] == ["liba.so"]


@pytest.mark.parametrize(
    ("path", "missing"),
    [
        ("$ORIGIN/../lib/app", []),
        ("${ORIGIN}/../lib/app", []),
        ("$LIB:/usr/lib/app", ["liba.so"]),
        ("$ORIGINAL:/usr/lib/app", ["liba.so"]),
    ],
)
def test_another_token_spoils_the_whole_path(root: Root, path: str, missing: list[str]) -> None:
    root.elf(MAIN, "liba.so", program=True, tags=((RUNPATH, path),))
    root.elf("/usr/lib/app/liba.so")
    assert [one.name for one in root.closed(MAIN).missing] == missing


def test_the_first_file_is_taken_or_refused(root: Root) -> None:
    root.elf(MAIN, "liba.so", program=True)
    root.elf("/lib/liba.so", bits=32)
    root.elf("/usr/lib/liba.so")
    found = root.closed(MAIN)
    assert [one.name for one in found.missing] == ["liba.so (/lib/liba.so is no ELF object, or damaged)"]


def test_a_soname_is_no_name(root: Root) -> None:
    root.elf(MAIN, "liba.so", "libx.so", program=True)
    root.elf("/lib/liba.so", tags=((SONAME, "libx.so"),))
    assert [one.name for one in root.closed(MAIN).missing] == ["libx.so"]


def test_what_is_loaded_is_not_searched_again(root: Root) -> None:
    root.elf(MAIN, "liba.so", "libb.so", program=True, tags=())
    root.elf("/lib/liba.so", "libx.so", tags=((RUNPATH, "/opt"),))
    root.elf("/opt/libx.so")
    root.elf("/lib/libb.so", "libx.so")
    assert root.closed(MAIN).missing == ()


def test_a_path_file_replaces_the_directories(root: Root) -> None:
    root.elf(MAIN, "liba.so", "libb.so", program=True)
    root.elf("/opt/liba.so")
    root.elf("/usr/lib/libb.so")
    root.file("/etc/ld-musl-x86_64.path", b"/opt:/srv\n/lib\n")
    found = root.closed(MAIN)
    assert [one.name for one in found.missing] == ["libb.so"]
    assert found.reasons[RootPath("/etc/ld-musl-x86_64.path")] == (Reason("needed", "/opt/liba.so"),)
    root.file("/etc/ld-musl-x86_64.path", b"/opt\n/usr/lib\n")
    (root.root / "opt/liba.so").rename(root.root / "usr/lib/liba.so")
    found = root.closed(MAIN)
    assert found.missing == ()
    assert RootPath("/etc/ld-musl-x86_64.path") not in found.reasons


def test_a_library_alone_is_followed_by_the_linker_that_is_there(root: Root) -> None:
    root.elf("/opt/liba.so", "libb.so", tags=((RPATH, "$ORIGIN/b"),))
    root.elf("/opt/b/libb.so", "libb2.so")
    root.elf("/opt/b/libb2.so")
    assert root.closed("/opt/liba.so").missing == ()


def test_debians_musl(tmp_path: Path) -> None:
    """The judge is musl's own ldd: the linker under another name."""
    require("musl")
    source, library, program = (tmp_path / name for name in ("a.c", "liba.so", "main"))
    source.write_text("int a(void) { return 0; }\n")
    subprocess.run(["musl-gcc", "-shared", "-fPIC", "-o", library, source], check=True)
    source.write_text("int a(void); int main(void) { return a(); }\n")
    words = ["-L", str(tmp_path), "-la", "-Wl,-rpath,$ORIGIN", "-Wl,--enable-new-dtags"]
    subprocess.run(["musl-gcc", "-o", program, source, *words], check=True)
    found = closure(Tree(Path("/")), [Wanted(RootPath(str(program)), Reason("program", "p.toml:1"))])
    loader = next(one for one in found.objects if one.rule == "interpreter")
    run = subprocess.run([loader.path, "--list", program], capture_output=True, text=True, check=True)
    listed = {line.split(" => ")[-1].split(" (")[0].strip() for line in run.stdout.splitlines()}
    reals = {Path(name).resolve() for name in listed if name.startswith("/")}
    assert {Path(one.real) for one in found.objects if one.real != str(program)} == reals
    assert found.missing == ()
