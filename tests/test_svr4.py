"""SVR4 packages and Tribblix overlays: on the synthetic global zone, and on small roots that are wrong."""

import os
from pathlib import Path

import globalzone
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partialroot.errors import SourceError
from partialroot.nodes import FileType
from partialroot.paths import RootPath
from partialroot.source.packages import Packages, Recorded, open_packages, pristine
from partialroot.source.packages.overlays import required
from partialroot.source.packages.svr4 import Svr4, pkginfo
from partialroot.source.tree import Tree


@pytest.fixture(scope="module")
def packages(global_zone: Path) -> Packages:
    return open_packages(Tree(global_zone))


def put(root: Path, path: str, text: str) -> Path:
    place = root / path.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
    return place


def small(root: Path, contents: str, *names: str) -> Tree:
    """Make a root with a contents file and installed packages."""
    put(root, "/var/sadm/install/contents", contents)
    for name in names or ("A",):
        put(root, f"/var/sadm/pkg/{name}/pkginfo", f"PKG={name}\nBASEDIR=/\n")
    return Tree(root)


def test_the_database_is_chosen_by_the_source(packages: Packages, tmp_path: Path) -> None:
    assert isinstance(packages, Svr4)
    assert not isinstance(open_packages(Tree(tmp_path)), Svr4)


def test_packages_have_the_files_of_the_table(global_zone: Path, packages: Packages) -> None:
    rows = [row for row in globalzone.rows() if os.path.lexists(f"{global_zone}{row.path}")]
    for package in ("SUNWcs", "TRIBshell-ksh93", "TRIBblix-nginx"):
        assert package in packages.installed()
        assert list(packages.files(package) or ()) == [row.path for row in rows if package in row.packages]
    assert packages.files("TRIBnone") is None
    assert packages.files("../pkg/SUNWcs") is None


def test_owners(packages: Packages) -> None:
    assert packages.owner(RootPath("/usr/bin/login")) == "SUNWcs"
    assert packages.owner(RootPath("/bin/login")) == "SUNWcs"
    assert packages.owner(RootPath("/usr/bin/amd64")) == "SUNWcs"
    assert packages.owner(RootPath("/sbin/sh")) == "TRIBshell-ksh93"
    assert packages.owner(RootPath("/export")) is None


def test_every_packaged_file_is_pristine(global_zone: Path, packages: Packages) -> None:
    tree = Tree(global_zone)
    files = (path for path, node in tree.walk(RootPath("/etc")) if node.type is FileType.FILE)
    etc = [path for path in files if packages.owner(path)]
    assert len(etc) > 150
    assert [path for path in etc if not pristine(tree, packages, path)] == []


@pytest.mark.parametrize(
    ("text", "mtime", "expected"),
    [
        ("80/tcp", 7, True),
        ("08/tcp", 8, False),
        ("80/tcp", 8, False),
        ("80/tcp ", 7, False),
        ("90/tcp", 7, False),
    ],
)
def test_size_time_and_checksum_must_be_as_recorded(
    tmp_path: Path, text: str, mtime: int, expected: bool
) -> None:
    file = put(tmp_path, "/etc/services", text)
    os.utime(file, (mtime, mtime))
    tree = small(tmp_path, f"/etc/services e none 0644 root sys 6 {sum(b'80/tcp')} 7 A\n")
    assert pristine(tree, open_packages(tree), RootPath("/etc/services")) is expected


def test_a_hard_link_is_recorded_as_what_it_leads_to(packages: Packages) -> None:
    assert packages.recorded(RootPath("/etc/rc2.d/S20sysetup")) == packages.recorded(
        RootPath("/etc/init.d/sysetup")
    )
    assert packages.recorded(RootPath("/etc/init.d/sysetup")) is not None


def test_what_is_recorded(tmp_path: Path) -> None:
    tree = small(
        tmp_path,
        "/a f none 0644 root sys 2 255 7 A\n/b e none 0644 root sys ? ? ? A\n"
        "/c=/a l none A\n/d=../nowhere l none A\n"
        "/sub/a f none 0644 root sys 3 255 7 A\n/sub/c=../a l none A\n/sub/d=a l none A\n",
    )
    packages = open_packages(tree)
    assert packages.recorded(RootPath("/a")) == Recorded("sysv", "00ff", 2, 7)
    assert packages.recorded(RootPath("/b")) is None
    assert packages.recorded(RootPath("/c")) == Recorded("sysv", "00ff", 2, 7)
    assert packages.recorded(RootPath("/d")) is None
    assert packages.recorded(RootPath("/e")) is None
    assert packages.recorded(RootPath("/sub/c")) == Recorded("sysv", "00ff", 2, 7)
    assert packages.recorded(RootPath("/sub/d")) == Recorded("sysv", "00ff", 3, 7)


def test_editable_files_have_a_pristine_copy(packages: Packages) -> None:
    copy = packages.pristine_copy(RootPath("/etc/passwd"))
    assert copy == "/var/sadm/pkg/SUNWcs/save/pspool/SUNWcs/reloc/etc/passwd"
    assert packages.pristine_copy(RootPath("/usr/bin/login")) is None
    assert packages.pristine_copy(RootPath("/etc/nowhere")) is None


def test_copies_are_found_below_the_base_directory_and_by_their_full_path(tmp_path: Path) -> None:
    tree = small(
        tmp_path,
        "/opt/b/etc/b.conf e none 0644 root sys 2 2 7 B\n/etc/c.conf e none 0644 root sys 2 2 7 B\n"
        "/etc/link.conf e none 0644 root sys 2 2 7 B\n/etc/v.conf v none 0644 root sys 2 2 7 B\n",
        "B",
    )
    saved = "/var/sadm/pkg/B/save/pspool/B"
    put(tmp_path, "/var/sadm/pkg/B/pkginfo", 'PKG="B"\nBASEDIR="/opt/b"\n')
    put(tmp_path, f"{saved}/reloc/etc/b.conf", "")
    put(tmp_path, f"{saved}/root/etc/c.conf", "")
    put(tmp_path, f"{saved}/root/etc/v.conf", "")
    (tmp_path / f"{saved}/root/etc/link.conf".lstrip("/")).symlink_to("nowhere")
    packages = open_packages(tree)
    assert packages.pristine_copy(RootPath("/opt/b/etc/b.conf")) == f"{saved}/reloc/etc/b.conf"
    assert packages.pristine_copy(RootPath("/etc/c.conf")) == f"{saved}/root/etc/c.conf"
    assert packages.pristine_copy(RootPath("/etc/v.conf")) == f"{saved}/root/etc/v.conf"
    assert packages.pristine_copy(RootPath("/etc/link.conf")) is None


def test_what_only_a_global_zone_may_have(global_zone: Path, packages: Packages) -> None:
    rows = [row for row in globalzone.rows() if os.path.lexists(f"{global_zone}{row.path}")]
    judged = {row.path for row in rows if packages.global_only(RootPath(row.path))}
    marked = {row.path for row in rows if row.mark == "g"}
    assert len(marked) > 100
    assert judged - marked == {"/system/boot"}  # its package does not say so, but no platform.xml mounts it
    assert marked - judged <= {"/var/tsol", "/var/tsol/doors"}  # Tribblix lists nothing below /var


@pytest.mark.parametrize(
    "path", ["/dev", "/proc", "/system/contract", "/usr/lib", "/etc", "/kernels", "/bootx"]
)
def test_mount_points_and_others_may_be_anywhere(packages: Packages, path: str) -> None:
    assert not packages.global_only(RootPath(path))


@pytest.mark.parametrize(
    "path", ["/kernel", "/boot/x", "/usr/kernel/drv/a", "/dev/null", "/devices", "/proc/1"]
)
def test_the_kernels_files_are_the_global_zones(packages: Packages, path: str) -> None:
    assert packages.global_only(RootPath(path))


def test_marks_of_packages(tmp_path: Path) -> None:
    tree = small(
        tmp_path,
        "/a f none 0644 root sys 2 2 7 Hollow\n/b d none 0755 root sys Hollow Plain\n"
        "/c f none 0644 root sys 2 2 7 This\n/d f none 0644 root sys 2 2 7 Listed\n/e ? \n",
        "Hollow", "Plain", "This", "Listed",
    )  # fmt: skip
    put(tmp_path, "/var/sadm/pkg/Hollow/pkginfo", "SUNW_PKG_HOLLOW=true\n")
    put(tmp_path, "/var/sadm/pkg/This/pkginfo", "SUNW_PKG_THISZONE=true\nSUNW_PKG_ALLZONES=false\n")
    put(tmp_path, "/usr/lib/brand/tribblix-common/pkg.blacklist", "Listed \n")
    put(tmp_path, "/usr/lib/brand/tribblix-common/std.blacklist", "/f\nusr/g  \n\n")
    packages = open_packages(tree)
    judged = {
        path
        for path in ("/a", "/b", "/c", "/d", "/e", "/f", "/usr/g")
        if packages.global_only(RootPath(path))
    }
    assert judged == {"/a", "/c", "/d", "/f", "/usr/g"}


def test_overlays_come_with_what_they_require_and_the_base(tmp_path: Path) -> None:
    tree = small(tmp_path, "")
    overlays = {
        "base": ("", "A\n"),
        "web": ("VERSION=1\nREQUIRES=tls\n  REQUIRES = nowhere\nREQUIRES=\n", "nginx\n\n"),
        "tls": ("REQUIRES=web\n", "openssl \nA\n"),
        "other": ("", "B\n"),
    }
    for name, (text, names) in overlays.items():
        put(tmp_path, f"/var/sadm/overlays/{name}.ovl", text)
        put(tmp_path, f"/var/sadm/overlays/{name}.pkgs", names)
    put(tmp_path, "/var/sadm/overlays/empty.ovl", "NAME=empty\n")
    packages = open_packages(tree)
    assert packages.group("web") == ("A", "nginx", "openssl", "overlay nowhere")
    assert packages.group("empty") == packages.group("base") == ("A",)
    assert packages.group("nowhere") is None
    assert packages.group("../overlays/web") is None


def test_the_synthetic_base_overlay(packages: Packages) -> None:
    assert {"SUNWcs", "TRIBshell-ksh93", "TRIBlocale-de"} <= set(packages.group("core-tribblix") or ())


@given(st.text())
def test_any_overlay_requires_something_or_nothing(text: str) -> None:
    assert all(name == name.strip() and name for name in required(text))


def test_suppliers(packages: Packages, tmp_path: Path) -> None:
    assert packages.supplier("login") == "SUNWcs"
    assert packages.supplier("libpam.so.1") == "TRIBsys-library"
    assert packages.supplier("/usr/bin/login") == "SUNWcs"
    assert packages.supplier("nowhere") is None
    assert packages.supplier("/nowhere/../x") is None
    assert packages.supplier("a/b") is None
    tree = small(tmp_path, "/a d none 0755 root sys A\n")
    put(tmp_path, "/etc/zap/repositories/illumos.catalog", "TRIBx|0.38|SUNWcs|12|abc|\nbroken\n")
    put(tmp_path, "/etc/zap/repositories/tribblix.aliases", "nginx|TRIBblix-nginx\n")
    known = open_packages(tree)
    assert known.supplier("package TRIBx") == "TRIBx"
    assert known.supplier("nginx") == "TRIBblix-nginx"
    assert known.supplier("broken") is None


@pytest.mark.parametrize("lock", ["!I-Lock!", "!R-Lock!"])
def test_a_partly_installed_package_is_refused(tmp_path: Path, lock: str) -> None:
    tree = small(tmp_path, "/a d none 0755 root sys A\n")
    assert open_packages(tree).files("A") == ("/a",)
    put(tmp_path, f"/var/sadm/pkg/A/{lock}", "")
    with pytest.raises(SourceError, match="only partly installed"):
        open_packages(Tree(tmp_path)).files("A")


def test_changes_in_the_log_of_the_package_server_count(tmp_path: Path) -> None:
    tree = small(
        tmp_path, "/a d none 0755 root sys A\n/b d none 0755 root sys A\n/c d none 0755 root sys A\n"
    )
    log = "-/a\n=/b d none 0755 root sys B\n# c\n###Marker\n+/d d none 0755 root sys A\n###Marker\n-/c\n"
    put(tmp_path, "/var/sadm/install/pkglog", log)
    packages = open_packages(tree)
    assert [packages.owner(RootPath(f"/{one}")) for one in "abcd"] == [None, "B", "A", "A"]
    assert packages.files("A") == ("/c", "/d")


@pytest.mark.parametrize("line", ["nonsense", "/a q", "/a/../b d none 0755 root sys A", "/a d none 0755"])
def test_a_broken_database_is_refused(tmp_path: Path, line: str) -> None:
    packages = open_packages(small(tmp_path, f"/ok d none 0755 root sys A\n{line} A\n"))
    with pytest.raises(SourceError) as caught:
        packages.files("A")
    assert caught.value.path == "/var/sadm/install/contents"


@pytest.mark.parametrize("text", ["", "# nothing\n", "/a d none 0755 root sys A\n/b d none 0755 root sys A"])
def test_a_database_that_was_cut_off_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(SourceError) as caught:
        open_packages(small(tmp_path, text)).files("A")
    assert caught.value.path == "/var/sadm/install/contents"
    assert caught.value.hint


COMMENT = "# Last modified by pkginstall for A package\n# Mon Nov 23 13:05:21 2026\n"


DOUBT = "/var/sadm/install/contents may be cut off: it does not end with the comment of pkgadd(8)"


@pytest.mark.parametrize(("end", "doubts"), [(COMMENT, ()), (f"{COMMENT}\n\n", ()), ("", (DOUBT,))])
def test_a_database_that_may_be_cut_off_is_told(tmp_path: Path, end: str, doubts: tuple[str, ...]) -> None:
    """At the end of a line, that is: pkgadd(8), pkgrm(8) and installf(8) all end it with a comment."""
    packages = open_packages(small(tmp_path, f"/a d none 0755 root sys A\n{end}"))
    assert packages.doubts == ()  # nothing was read yet
    assert packages.files("A") == ("/a",)
    assert packages.doubts == doubts


def test_pkginfo() -> None:
    assert pkginfo('# c\nPKG=A\nNAME="A b=c"\nnonsense\nBASEDIR=/ \n') == {
        "PKG": "A",
        "NAME": "A b=c",
        "BASEDIR": "/",
    }


LINES = st.lists(
    st.one_of(
        st.text(),
        st.sampled_from([
            "/a d none 0755 root sys A", "/a/b=../c s none A", "/c=a/b l none A",
            "/e e none 0644 a b 1 1 1 A",
            "/../x d none 0755 root sys A", "/n\0ul d none 0755 root sys A", "/l=\0 l none A", "# c", "",
        ]),
    )
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(LINES)
def test_any_database_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    root = tmp_path_factory.mktemp("any")
    text = "\n".join(lines).encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    packages = open_packages(small(root, text))
    for path in ("/a", "/c", "/e", "/l", "/a/b"):
        try:
            packages.owner(RootPath(path))
            packages.recorded(RootPath(path))
            packages.pristine_copy(RootPath(path))
            packages.global_only(RootPath(path))
            packages.files("A")
        except SourceError:
            continue
