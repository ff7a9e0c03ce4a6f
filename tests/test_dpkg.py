"""dpkg's database on small roots made by hand: diversions, architectures, merged /usr, hostile input."""

import gzip
import hashlib
import lzma
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partialroot.errors import PartialRootError, SourceError
from partialroot.paths import RootPath
from partialroot.source.packages import NoPackages, Packages, Recorded, apt, open_packages, pristine
from partialroot.source.packages.apt import is_soname, library_packages
from partialroot.source.packages.deb822 import stanzas
from partialroot.source.packages.filelists import MANY, FileLists
from partialroot.source.tree import Tree

STATUS = """\
Package: dpkg
Status: install ok installed
Architecture: amd64
Description: no field: of
 ours

Package: tool
Status: install ok installed
Architecture: all
Conffiles:
 /etc/tool.conf {tool_conf}
 /etc/old tool.conf {tool_conf} obsolete
 /etc/never.conf newconffile
 /etc/gone.conf newconffile remove-on-upgrade
 /etc/going.conf {tool_conf} remove-on-upgrade

Package: wrapper
Status: install ok unpacked
Architecture: amd64
Conffiles: {tool_conf}

Package: libx1
Status: install ok installed
Architecture: amd64
Multi-Arch: same

Package: libx1
Status: install ok installed
Architecture: i386
Multi-Arch: same

Package: half
Status: install reinstreq half-installed
Architecture: amd64

Package: removed
Status: deinstall ok config-files
Architecture: amd64
Conffiles:
 /etc/removed.conf {tool_conf}

Package: gone
Status: purge ok not-installed
Architecture: amd64
"""

LISTS = {
    "dpkg": "/.\n/usr\n/usr/bin\n/usr/bin/dpkg\n",
    "tool": "/.\n/bin\n/bin/tool\n/etc\n/etc/tool.conf\n/etc/old tool.conf\n/usr/share\n/usr/share/tool\n",
    "wrapper": "/.\n/bin\n/bin/tool\n/usr/share/tool\n",
    "libx1:amd64": "/.\n/usr/lib/x86_64-linux-gnu/libx.so.1\n/usr/share/doc/libx1\n",
    "libx1:i386": "/.\n/usr/lib/i386-linux-gnu/libx.so.1\n/usr/share/doc/libx1\n",
    "half": "/.\n/bin/half\n",
    "removed": "/etc/removed.conf\n",
}

DIVERSIONS = "/bin/tool\n/bin/tool.real\nwrapper\n/usr/share/tool\n/usr/share/tool.local\n:\n"


def md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def put(root: Path, files: Mapping[str, str | bytes]) -> None:
    for path, content in files.items():
        place = root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content.encode() if isinstance(content, str) else content)


def make(root: Path) -> None:
    """Make a root with merged /usr and the database above."""
    (root / "usr/bin").mkdir(parents=True)
    (root / "bin").symlink_to("usr/bin")
    put(root, {
        "/etc/tool.conf": "as shipped", "/etc/old tool.conf": "edited", "/etc/never.conf": "as shipped",
        "/etc/own.conf": "", "/usr/bin/tool": "wrapper", "/usr/bin/tool.real": "tool",
        "/usr/bin/dpkg": "dpkg",
        "/var/lib/dpkg/status": STATUS.format(tool_conf=md5("as shipped")),
        "/var/lib/dpkg/diversions": DIVERSIONS,
        "/var/lib/dpkg/info/tool.md5sums": f"{md5('tool')}  bin/tool\n{md5('')}  usr/share/tool\n",
        "/var/lib/dpkg/info/wrapper.md5sums": f"{md5('wrapper')}  ./bin/tool\n",
    })  # fmt: skip
    put(root, {f"/var/lib/dpkg/info/{base}.list": text for base, text in LISTS.items()})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make(tmp_path)
    return tmp_path


def database(root: Path) -> Packages:
    return open_packages(Tree(root))


def test_who_is_installed(root: Path) -> None:
    assert database(root).installed() == ("dpkg", "half", "libx1", "libx1:i386", "tool", "wrapper")


@pytest.mark.parametrize(
    ("package", "expected"),
    [
        ("dpkg", ["/usr", "/usr/bin", "/usr/bin/dpkg"]),
        ("dpkg:amd64", ["/usr", "/usr/bin", "/usr/bin/dpkg"]),
        ("tool:all", ["/bin", "/usr/bin/tool.real", "/etc", "/etc/tool.conf", "/etc/old tool.conf",
                      "/usr/share", "/usr/share/tool.local"]),
        ("wrapper", ["/bin", "/usr/bin/tool", "/usr/share/tool.local"]),
        ("libx1", ["/usr/lib/x86_64-linux-gnu/libx.so.1", "/usr/share/doc/libx1"]),
        ("libx1:i386", ["/usr/lib/i386-linux-gnu/libx.so.1", "/usr/share/doc/libx1"]),
        ("libx1:arm64", None),
        ("removed", None),
        ("gone", None),
        ("never-heard-of", None),
        ("../../../etc/passwd", None),
    ],
)  # fmt: skip
def test_where_files_are(root: Path, package: str, expected: list[str] | None) -> None:
    found = database(root).files(package)
    assert (found and list(found)) == expected


def test_a_half_installed_package_is_refused(root: Path) -> None:
    with pytest.raises(SourceError, match="half is only half installed"):
        database(root).files("half")


def test_a_package_without_a_list_is_refused(root: Path) -> None:
    (root / "var/lib/dpkg/info/dpkg.list").unlink()
    with pytest.raises(SourceError, match="does not exist") as caught:
        database(root).files("dpkg")
    assert caught.value.path == "/var/lib/dpkg/info/dpkg.list"


def test_only_the_list_that_is_needed_is_read(root: Path) -> None:
    (root / "var/lib/dpkg/info/tool.list").unlink()
    (root / "var/lib/dpkg/info/tool.list").mkdir()
    assert database(root).files("wrapper")


OWNERS = [
    ("/usr/bin/tool", "wrapper"),
    ("/bin/tool", "wrapper"),
    ("/usr/bin/tool.real", "tool"),
    ("/bin/tool.real", "tool"),
    ("/usr/bin/dpkg", "dpkg"),
    ("/bin/dpkg", "dpkg"),
    ("/usr/share/tool", None),
    ("/usr/share/tool.local", "tool"),
    ("/usr/lib/i386-linux-gnu/libx.so.1", "libx1:i386"),
    ("/usr/share/doc/libx1", "libx1"),
    ("/usr", "dpkg"),
    ("/etc/own.conf", None),
    ("/usr/bin/dpk", None),
    ("/usr/bin\n/usr/bin/dpkg", None),
    ("/\ud800", None),
]


@pytest.mark.parametrize(("path", "expected"), OWNERS)
def test_owners(root: Path, path: str, expected: str | None) -> None:
    assert database(root).owner(RootPath(path)) == expected


def test_owners_are_the_same_when_many_are_asked(root: Path) -> None:
    packages = database(root)
    for _ in range(MANY // 5):
        for path, expected in OWNERS:
            assert packages.owner(RootPath(path)) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/etc/tool.conf", md5("as shipped")),
        ("/etc/old tool.conf", md5("as shipped")),
        ("/etc/never.conf", None),
        ("/bin/tool", md5("wrapper")),
        ("/usr/bin/tool.real", md5("tool")),
        ("/usr/share/tool.local", md5("")),
        ("/usr/bin/dpkg", None),
        ("/etc/own.conf", None),
    ],
)
def test_checksums(root: Path, path: str, expected: str | None) -> None:
    assert database(root).recorded(RootPath(path)) == (expected and Recorded("md5", expected))


def test_pristine(root: Path) -> None:
    tree = Tree(root)
    packages = open_packages(tree)
    expected = {"/etc/tool.conf": True, "/etc/old tool.conf": False, "/etc/own.conf": False, "/etc": False,
                "/usr/bin/tool.real": True, "/usr/share/tool.local": False}  # fmt: skip
    assert {path: pristine(tree, packages, RootPath(path)) for path in expected} == expected


def test_a_root_without_a_database(tmp_path: Path) -> None:
    packages = database(tmp_path)
    assert isinstance(packages, NoPackages)
    assert packages.installed() == ()
    nothing = packages.files("a"), packages.owner(RootPath("/a")), packages.recorded(RootPath("/a"))
    assert [*nothing, packages.supplier("a")] == [None] * 4
    assert not pristine(Tree(tmp_path), packages, RootPath("/a"))


def ask_everything(packages: Packages) -> None:
    for package in set(packages.installed()) - {"half"}:
        packages.files(package)
    for path, _ in OWNERS:
        packages.owner(RootPath(path))
        packages.recorded(RootPath(path))
    packages.supplier("libx.so.1")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("status", "Package: ../../etc\nStatus: install ok installed\n", "cannot be understood"),
        ("status", "Package: a\nStatus: install ok installed\nArchitecture: ../x\n", "cannot be understood"),
        ("status", "Package: a\nStatus: strange\n", "cannot be understood"),
        ("status", "Status: install ok installed\n", "cannot be understood"),
        ("status", "no field\n", "no field"),
        ("status", " continued\n", "no field"),
        ("status", "\0\xff", "no field"),
        ("diversions", "/a\n/b\n", "triples"),
        ("diversions", "a\nb\nc\n", "triples"),
        ("info/tool.list", "/../etc/shadow\n", "wrong path"),
        ("info/tool.list", "relative\n", "wrong path"),
        ("info/tool.list", "/a\0b\n", "wrong path"),
        ("info/tool.md5sums", "xyz  bin/tool\n", "no MD5"),
    ],
)
def test_a_broken_database_is_an_error_that_names_the_file(
    root: Path, file: str, content: str, message: str
) -> None:
    put(root, {f"/var/lib/dpkg/{file}": content})
    with pytest.raises(SourceError, match=message) as caught:
        ask_everything(database(root))
    assert str(caught.value.path).startswith("/var/lib/dpkg")


def test_a_database_that_leads_outside_is_not_followed(root: Path) -> None:
    shutil.rmtree(root / "var/lib/dpkg")
    (root / "var/lib/dpkg").symlink_to("/../../../../../../../var/lib/dpkg")
    assert isinstance(database(root), NoPackages)


files = st.sampled_from(["status", "diversions", "info/tool.list", "info/tool.md5sums", "info/wrapper.list"])
damages = st.lists(
    st.tuples(files, st.floats(0, 1), st.integers(0, 30), st.binary(max_size=20)), min_size=1, max_size=4
)


@settings(max_examples=150, deadline=None)
@given(damages)
def test_damaged_databases_give_answers_or_one_error(damages: list[tuple[str, float, int, bytes]]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        make(Path(scratch))
        for name, where, length, new in damages:
            file = Path(scratch, "var/lib/dpkg", name)
            old = file.read_bytes()
            start = int(where * len(old))
            file.write_bytes(old[:start] + new + old[start + length :])
        try:
            ask_everything(database(Path(scratch)))
        except PartialRootError as error:
            assert error.path
            assert "\n" not in str(error)


@settings(max_examples=300, deadline=None)
@given(st.text("aB: \t\n\0", max_size=60))
def test_any_text_is_stanzas_or_an_error(text: str) -> None:
    try:
        found = list(stanzas(text, frozenset({"a", "b"}), "here"))
    except SourceError as error:
        assert error.path == "here"
    else:
        assert all(one and one.keys() <= {"a", "b"} for one in found)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.lists(st.text("/ab", min_size=1, max_size=4), max_size=5), max_size=5),
    st.text("/ab\n", min_size=1, max_size=5),
)
def test_search_and_index_of_lists_agree(lists: list[list[str]], asked: str) -> None:
    texts = [(str(number), "\n".join(lines).encode()) for number, lines in enumerate(lists)]
    expected: list[str | None] = [str(number) for number, lines in enumerate(lists) if asked in lines]
    found = FileLists(texts)
    assert found.first(asked) == (expected or [None])[0]
    assert list(dict.fromkeys(found.all(asked))) == expected
    found._asked = MANY
    assert found.first(asked) == (expected or [None])[0]
    ending = {
        (str(number), line) for number, lines in enumerate(lists) for line in lines if line.endswith(asked)
    }
    assert set(found.ending(asked)) == ending


# --- what apt could install -------------------------------------------------------------------------

APT = """\
Package: apache2
Provides: httpd, httpd-cgi (= 2.4)

Package: httpd
Version: 1

Package: libfoo1
Provides: libfoo-abi (= 1)

Package: libbar2-3
Package: libdb5.3t64
Package: libplain-dev
"""

COMMANDS = "suite: x\n\nname: nodejs\nversion: 18\ncommands: node,nodejs\n"


@pytest.fixture
def lists(root: Path) -> Path:
    place = root / "var/lib/apt/lists"
    put(place, {
        "a_binary-amd64_Packages": APT,
        "b_binary-amd64_Packages.gz": gzip.compress(b"Package: zipped\n"),
        "c_binary-amd64_Packages.xz": lzma.compress(b"Package: squeezed\n"),
        "d_binary-amd64_Packages.gz": gzip.compress(b"Package: torn\n" * 9000)[:50],
        "e_binary-amd64_Packages.xz": b"nothing of the kind",
        "f_binary-amd64_Packages.lz4": b"never decompressed from a foreign root",
        "x_main_cnf_Commands-amd64": COMMANDS,
        "unrelated": "Package: unrelated\n",
    })  # fmt: skip
    (place / "g_binary-amd64_Packages").mkdir()
    return root


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("apache2", "apache2"),
        ("httpd", "httpd"),
        ("httpd-cgi", "apache2"),
        ("package apache2", "apache2"),
        ("node", "nodejs"),
        ("/usr/bin/node", "nodejs"),
        ("/usr/share/node", None),
        ("zipped", "zipped"),
        ("squeezed", "squeezed"),
        ("unrelated", None),
        ("libfoo.so.1", "libfoo1"),
        ("/usr/lib/x86_64-linux-gnu/libfoo.so.1", "libfoo1"),
        ("libbar2.so.3", "libbar2-3"),
        ("libdb-5.3.so", "libdb5.3t64"),
        ("libplain.so", "libplain-dev"),
        ("libnone.so.1", None),
        ("libx.so.1", "libx1"),
        ("tool", "wrapper"),
        ("/usr/bin/tool.real", "tool"),
        ("bin/tool", None),
        ("/usr/*/tool", None),
        ("/usr/../tool", None),
        ("user or group nobody", None),
        ("", None),
        ("/", None),
    ],
)
def test_suppliers(lists: Path, name: str, expected: str | None) -> None:
    assert database(lists).supplier(name) == expected


def test_apt_decompresses_for_this_system_only(
    lists: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = tmp_path / "apt-helper"
    helper.write_text(
        '#!/bin/sh\n[ "$1" = cat-file ] && [ -f "$2" ] && echo "Package: $(basename "$2" .lz4)"\n'
    )
    helper.chmod(0o755)
    monkeypatch.setattr(apt, "_APT_HELPER", str(helper))
    name = "f_binary-amd64_Packages"
    tree = Tree(lists)
    assert open_packages(tree).supplier(name) is None
    tree.root = "/"
    assert open_packages(tree).supplier(name) == name
    monkeypatch.setattr(apt, "_APT_HELPER", "/nonexistent")
    assert open_packages(tree).supplier(name) is None


def test_a_library_of_a_private_directory_is_no_supplier(root: Path) -> None:
    put(root, {"/var/lib/dpkg/info/tool.list": "/usr/lib/tool/plugins/libx.so.2\n"})
    assert database(root).supplier("libx.so.2") is None


@pytest.mark.parametrize(
    ("soname", "package"),
    [
        ("libssl.so.3", "libssl3"),
        ("libstdc++.so.6", "libstdc++6"),
        ("libgcc_s.so.1", "libgcc-s1"),
        ("libpcre2-8.so.0", "libpcre2-8-0"),
        ("libtinfo.so.6", "libtinfo6"),
        ("libX11.so.6", "libx11-6"),
        ("libdb-5.3.so", "libdb5.3"),
        ("libicuuc.so.72", "libicuuc72"),
    ],
)
def test_debians_rule_for_names_of_libraries(soname: str, package: str) -> None:
    assert is_soname(soname)
    assert next(library_packages(soname)) == package
