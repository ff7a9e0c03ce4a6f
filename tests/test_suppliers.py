"""Which build of which package supplied a file: asked of each kind of database, and remembered."""

import os
from collections.abc import Sequence
from pathlib import Path

import globalzone
import ips_database
import pytest
import test_dpkg
from hypothesis import given
from hypothesis import strategies as st
from moments import let_the_clock_tick
from needs import needs

from partialroot.model import Supplier
from partialroot.paths import RootPath
from partialroot.source.memory import Memory
from partialroot.source.packages import About, NoPackages, Packages, Version, open_packages
from partialroot.source.packages.filelists import FileLists
from partialroot.source.packages.licences import Licence
from partialroot.source.packages.suppliers import supplier_of_missing, suppliers
from partialroot.source.tree import Tree

STATUS = """\
Package: dpkg
Status: install ok installed
Architecture: amd64
Version: 1.22

Package: tool
Status: install ok installed
Architecture: all
Maintainer: Some Body <body@example.org>
Homepage: https://example.org/
Source: tools (1:2.3-1)
Version: 1:2.3-1+b1
Description: does what tools do
 and more of that

Package: removed
Status: deinstall ok config-files
Architecture: amd64
Version: 1
"""
TOOL, OTHER = RootPath("/usr/bin/tool"), RootPath("/usr/bin/other")
COPYRIGHT = "Format: x\n\nFiles: *\nLicense: GPL-2+\n\nFiles: b\nLicense: Odd\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    test_dpkg.put(
        tmp_path,
        {
            "/usr/bin/tool": "tool",
            "/usr/bin/other": "other",
            "/usr/share/doc/tool/copyright": COPYRIGHT,
            "/var/lib/dpkg/status": STATUS,
            "/var/lib/dpkg/info/tool.list": "/.\n/usr\n/usr/bin\n/usr/bin/tool\n",
        },
    )
    return tmp_path


def test_what_dpkg_says_of_a_package(root: Path) -> None:
    packages = open_packages(Tree(root))
    assert packages.version("tool") == Version("1:2.3-1+b1", "all")
    licences = (Licence("GPL-2+", "GPL-2.0-or-later"), Licence("Odd"))
    assert packages.about("tool") == About(
        "does what tools do", "Some Body <body@example.org>", "https://example.org/", "tools", licences
    )
    assert packages.about("dpkg") == About()
    for absent in ("removed", "none"):
        assert packages.version(absent) is None
        assert packages.about(absent) is None


def test_the_documents_of_a_package_may_be_anothers(root: Path) -> None:
    (root / "usr/share/doc/dpkg").symlink_to("tool")
    about = open_packages(Tree(root)).about("dpkg")
    assert about is not None and [one.name for one in about.licences] == ["GPL-2+", "Odd"]


def test_what_svr4_says_of_a_package(global_zone: Path, tmp_path: Path) -> None:
    packages = open_packages(Tree(global_zone))
    assert packages.version("SUNWcs") == Version("0.38", "i386")
    assert packages.about("SUNWcs") == About(summary="SUNWcs")
    assert not any((packages.version("TRIBnone"), packages.about("TRIBnone"), packages.about("../pkg")))
    info = "PKG=A\nNAME=a\nDESC=all of it\nVENDOR='them'\nVERSION=1\nARCH=i386\n"
    test_dpkg.put(
        tmp_path,
        {
            "/var/sadm/install/contents": "",
            "/var/sadm/pkg/A/pkginfo": info,
            "/var/sadm/pkg/A/install/copyright": "Copyright them\n",
        },
    )
    about = open_packages(Tree(tmp_path)).about("A")
    assert about == About(summary="all of it", supplier="them", copyright="Copyright them\n")


def test_what_ips_says_of_a_package(tmp_path: Path) -> None:
    text = """\
set name=pkg.summary value="a library"
set name=info.upstream-url value=https://example.org/
license 1234 license=lic_CDDL path=x
license 5678 license="Their own"
file 9 path=lib/libx.so.1
"""
    ips_database.manifest(tmp_path, "library/x", text)
    ips_database.catalog(tmp_path, ["library/x"])
    test_dpkg.put(tmp_path, {"/var/pkg/pkg5.image": "[variant]\nvariant.arch = i386\n"})
    packages = open_packages(Tree(tmp_path))
    assert packages.version("library/x") == Version(ips_database.VERSION, "i386")
    licences = (Licence("Their own"), Licence("lic_CDDL", "CDDL-1.0"))
    assert packages.about("library/x") == About(
        "a library", ips_database.PUBLISHER, "https://example.org/", licences=licences
    )
    assert not any((packages.version("none"), packages.about("none")))


def test_a_source_without_packages() -> None:
    assert not any((NoPackages().version("x"), NoPackages().about("x"), NoPackages().owners([TOOL])))
    assert NoPackages().changing == ()


# --- many at once -----------------------------------------------------------------------------------


LINES = st.sampled_from(["/a", "/b", "/a/b", "/c d", "/caf\udce9", "/x\ny"])


@given(
    st.lists(st.tuples(st.sampled_from("pqr"), st.lists(LINES.filter(lambda line: "\n" not in line)))),
    st.lists(LINES),
    st.lists(LINES),
)
def test_lists_asked_at_once_say_what_they_say_one_by_one(
    lists: Sequence[tuple[str, list[str]]], before: list[str], asked: list[str]
) -> None:
    texts = [(name, os.fsencode("\n".join(lines))) for name, lines in lists]
    at_once = FileLists(texts)
    at_once.look_for(before)
    at_once.look_for(asked)
    for line in [*before, *asked, "/none"]:
        assert at_once.first(line) == FileLists(texts).first(line)


def test_owners_are_found_at_once_through_diversions_and_merged_directories(tmp_path: Path) -> None:
    test_dpkg.make(tmp_path)
    tree = Tree(tmp_path)
    paths = [path for path, _ in tree.walk(RootPath("/"))] + [RootPath("/bin/tool"), RootPath("/bin/none")]
    packages = open_packages(Tree(tmp_path))
    expected = {path: owner for path in paths if (owner := packages.owner(path))}
    assert {("/usr/bin/tool", "wrapper"), ("/usr/bin/tool.real", "tool")} <= expected.items()
    assert open_packages(tree).owners(paths) == expected


@needs("dpkg")
def test_owners_of_this_system_are_found_at_once() -> None:
    names = sorted(os.listdir("/usr/bin"))[::40] + sorted(os.listdir("/etc"))[::9]
    paths = [RootPath(f"{top}/{name}") for top in ("/usr/bin", "/bin", "/etc") for name in names]
    one_by_one = open_packages(Tree(Path("/")))
    expected = {path: owner for path in paths if (owner := one_by_one.owner(path))}
    assert expected
    assert open_packages(Tree(Path("/"))).owners(paths) == expected


def test_owners_of_an_illumos_system(global_zone: Path, tmp_path: Path) -> None:
    ips = globalzone.build(tmp_path / "root")
    ips_database.write(ips)
    for root in (global_zone, ips):
        packages = open_packages(Tree(root))
        login = RootPath("/usr/bin/login")
        assert packages.owners([login, RootPath("/export")]) == {login: "SUNWcs"}


# --- remembered -------------------------------------------------------------------------------------


def asked(root: Path, memory: Path | None) -> dict[RootPath, Supplier]:
    with Memory(memory) as opened:
        tree = Tree(root, memory=opened)
        return suppliers(tree, open_packages(tree), [TOOL, OTHER])


TOOLS = {TOOL: Supplier("tool", "1:2.3-1+b1", "all")}


def test_who_supplied_a_file(root: Path, tmp_path: Path) -> None:
    memory = tmp_path / "memory"
    assert asked(root, None) == asked(root, memory) == asked(root, memory) == TOOLS


class Mute(NoPackages):
    """A database that is there, but must not be asked."""

    def __init__(self, packages: Packages) -> None:
        self.changing_files = packages.changing
        self.lists = packages.offering

    @property
    def offering(self) -> tuple[RootPath, ...]:
        return self.lists

    def supplier(self, name: str) -> str | None:
        raise AssertionError(f"asked for {name}")

    @property
    def changing(self) -> tuple[RootPath, ...]:
        return self.changing_files

    def owners(self, paths: Sequence[RootPath]) -> dict[RootPath, str]:
        raise AssertionError(f"asked for {paths}")


def test_the_database_is_asked_once(root: Path, tmp_path: Path) -> None:
    asked(root, tmp_path / "memory")
    with Memory(tmp_path / "memory") as memory:
        tree = Tree(root, memory=memory)
        mute = Mute(open_packages(tree))
        assert suppliers(tree, mute, [OTHER, TOOL]) == TOOLS
    with pytest.raises(AssertionError, match="asked for"):
        suppliers(Tree(root), mute, [TOOL])


def test_any_change_of_the_database_makes_all_void(root: Path, tmp_path: Path) -> None:
    asked(root, tmp_path / "memory")
    status = root / "var/lib/dpkg/status"
    fresh = status.with_name("status-new")
    fresh.write_text(STATUS.replace("1:2.3-1+b1", "1:2.3-1+b2"))
    os.utime(fresh, ns=(status.stat().st_atime_ns, status.stat().st_mtime_ns))
    fresh.rename(status)
    assert asked(root, tmp_path / "memory")[TOOL].version == "1:2.3-1+b2"


def test_sources_do_not_share_what_is_remembered(root: Path, tmp_path: Path) -> None:
    memory = tmp_path / "memory"
    asked(root, memory)
    (tmp_path / "empty").mkdir()
    assert asked(tmp_path / "empty", memory) == {}
    assert asked(root, memory) == TOOLS


def wanting(root: Path, memory: Path, name: str, *, mute: bool = False) -> str | None:
    with Memory(memory) as opened:
        tree = Tree(root, memory=opened)
        packages = open_packages(tree)
        return supplier_of_missing(tree, Mute(packages) if mute else packages, name)


def test_who_has_what_is_missing_is_asked_once(root: Path, tmp_path: Path) -> None:
    lists = root / "var/lib/apt/lists"
    lists.mkdir(parents=True)
    (lists / "x_Packages").write_text("Package: greeter\nProvides: hello\n")
    memory = tmp_path / "memory"
    for name, package in (("hello", "greeter"), ("nothing", None)):
        assert wanting(root, memory, name) == package
        assert wanting(root, memory, name, mute=True) == package
    let_the_clock_tick(lists)
    (lists / "new").write_text("Package: nothing\n")
    (lists / "new").rename(lists / "y_Packages")
    assert wanting(root, memory, "nothing") == "nothing"


@pytest.mark.hostile
def test_a_broken_memory_and_names_that_are_no_text_harm_nothing(root: Path, tmp_path: Path) -> None:
    memory = tmp_path / "memory"
    memory.write_bytes(b"x" * 5000)
    assert asked(root, memory) == TOOLS
    odd = RootPath("/usr/bin/caf\udce9\n")
    for _ in range(2):
        with Memory(memory) as opened:
            tree = Tree(root, memory=opened)
            assert suppliers(tree, open_packages(tree), [odd, TOOL]) == TOOLS
