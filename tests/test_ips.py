"""IPS packages: actions as manifests and pkg(1) have them, an image of them, and input that is wrong."""

import json
import os
from pathlib import Path

import globalzone
import ips_database
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partialroot.errors import SourceError
from partialroot.nodes import FileType
from partialroot.paths import RootPath
from partialroot.source.packages import Packages, Recorded, open_packages, pristine
from partialroot.source.packages.actions import Action, action, contents, manifest
from partialroot.source.packages.ips import Ips
from partialroot.source.tree import Tree

SHA = "3c5b2f4a" * 5


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            f"file {SHA} path=etc/motd mode=0644 preserve=true overlay=allow",
            Action(
                "file",
                SHA,
                {"path": ("etc/motd",), "mode": ("0644",), "preserve": ("true",), "overlay": ("allow",)},
            ),
        ),
        ("file NOHASH path=a", Action("file", "NOHASH", {"path": ("a",)})),
        ('dir path="a b" group="c\\"d"', Action("dir", None, {"path": ("a b",), "group": ('c"d',)})),
        ("dir path='a \"b' group=", Action("dir", None, {"path": ('a "b',), "group": ("",)})),
        ("set name=x value=a value=b", Action("set", None, {"name": ("x",), "value": ("a", "b")})),
        ("link path=a target=b=c", Action("link", None, {"path": ("a",), "target": ("b=c",)})),
        ('set name=x value="a" value=', Action("set", None, {"name": ("x",), "value": ("a", "")})),
        ("legacy", Action("legacy", None, {})),
    ],
)
def test_actions(line: str, expected: Action) -> None:
    assert action(line, "manifest") == expected


@pytest.mark.parametrize("line", ['dir path="a', "dir path='a", 'dir path="a"b', 'dir "path"=a', 'dir ="a"'])
def test_what_is_no_action(line: str) -> None:
    with pytest.raises(SourceError, match="cannot be understood"):
        action(line, "manifest")


def test_a_manifest_has_comments_transforms_and_continued_lines() -> None:
    text = "# comment\n<transform dir -> drop>\n\ndir path=a \\\n    mode=0755\ndir path=b\n"
    assert [one.attributes for one in manifest(text, "manifest")] == [
        {"path": ("a",), "mode": ("0755",)},
        {"path": ("b",)},
    ]


@given(st.text())
def test_any_text_is_a_manifest_or_refused(text: str) -> None:
    try:
        for one in manifest(text, "manifest"):
            assert one.value("path") is None or "path" in one.attributes
    except SourceError:
        return


@given(st.dictionaries(st.from_regex(r"[a-z.]+", fullmatch=True), st.lists(st.text(), min_size=1)))
def test_quoted_values_come_back(attributes: dict[str, list[str]]) -> None:
    words = [
        '{}="{}"'.format(key, value.replace("\\", "\\\\").replace('"', '\\"'))
        for key, values in attributes.items()
        for value in values
    ]
    found = action(" ".join(["set", *words]), "manifest").attributes
    assert found == {key: tuple(values) for key, values in attributes.items()}


@pytest.fixture(scope="module")
def zone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A global zone with both databases, that no test changes."""
    root = globalzone.build(tmp_path_factory.mktemp("ips") / "root")
    ips_database.write(root)
    return root


@pytest.fixture(scope="module")
def packages(zone: Path) -> Packages:
    return open_packages(Tree(zone))


def test_an_image_has_the_files_of_the_table(zone: Path, packages: Packages) -> None:
    assert isinstance(packages, Ips)
    rows = [row for row in globalzone.rows() if os.path.lexists(f"{zone}{row.path}")]
    for package in ("SUNWcs", "TRIBshell-ksh93", "TRIBblix-nginx"):
        assert list(packages.files(package) or ()) == [row.path for row in rows if package in row.packages]
    assert packages.files("TRIBnone") is None


def test_owners_and_suppliers(packages: Packages) -> None:
    assert packages.owner(RootPath("/bin/login")) == packages.owner(RootPath("/usr/bin/login")) == "SUNWcs"
    assert packages.owner(RootPath("/export")) is None
    assert packages.supplier("libpam.so.1") == "TRIBsys-library"
    assert packages.supplier("/sbin/sh") == "TRIBshell-ksh93"
    assert [packages.supplier(name) for name in ("nowhere", "a/b", "/..", "package x")] == [None] * 4


def test_packaged_files_are_pristine_until_they_are_edited(zone: Path, packages: Packages) -> None:
    tree = Tree(zone)
    files = (path for path, node in tree.walk(RootPath("/etc")) if node.type is FileType.FILE)
    etc = [path for path in files if not path.is_below("/etc/zap")]
    assert len(etc) > 150
    assert {path for path in etc if not pristine(tree, packages, path)} == set()


def test_marks_for_global_zones(zone: Path, packages: Packages) -> None:
    rows = [row for row in globalzone.rows() if os.path.lexists(f"{zone}{row.path}")]
    judged = {row.path for row in rows if packages.global_only(RootPath(row.path))}
    assert judged == {row.path for row in rows if row.mark == "g"} | {"/system/boot"}


def image(root: Path, manifests: dict[str, str], configuration: str = "") -> Tree:
    """Make an image of packages given by their manifests."""
    for name, text in manifests.items():
        ips_database.manifest(root, name, text)
    ips_database.catalog(root, list(manifests))
    (root / "var/pkg/pkg5.image").write_text(configuration)
    return Tree(root)


def test_only_actions_for_this_image_count(tmp_path: Path) -> None:
    other = "1" * 40
    text = (
        f"file {other} path=usr/a variant.arch=sparc pkg.size=1\n"
        f"file {SHA} path=usr/a variant.arch=i386 pkg.size=2\n"
        f"file {other} path=usr/b variant.debug.illumos=true\n"
        f"file {SHA} path=usr/b variant.debug.illumos=false\n"
        f"file {SHA} path=usr/c variant.unknown=x facet.doc=true\n"
        "depend type=require fmri=x\n"
    )
    packages = open_packages(image(tmp_path, {"a": text}, "[variant]\nvariant.arch = i386\nvariant.b=\n"))
    assert packages.files("a") == ("/usr/a", "/usr/b", "/usr/c")
    assert packages.recorded(RootPath("/usr/a")) == Recorded("sha1", SHA, 2)
    assert packages.recorded(RootPath("/usr/b")) == Recorded("sha1", SHA)
    assert packages.recorded(RootPath("/usr/d")) is None


def test_marks_of_whole_packages(tmp_path: Path) -> None:
    zone = "variant.opensolaris.zone"
    texts = {
        "global": f"set name={zone} value=global\ndir path=a\ndir path=both\ndir path=n {zone}=nonglobal\n",
        "plain": f"dir path=both\nset name={zone} value=global value=nonglobal\ndir path=p\n",
        "some": f"dir path=g {zone}=global\ndir path=b {zone}=global {zone}=nonglobal\n",
    }
    packages = open_packages(image(tmp_path, texts))
    paths = ("/a", "/both", "/n", "/p", "/g", "/b", "/nowhere")
    assert [path for path in paths if packages.global_only(RootPath(path))] == ["/a", "/g"]


def test_packages_are_named_as_for_pkg(tmp_path: Path) -> None:
    names = {"system/zones": "dir path=a", "web/server/nginx": "dir path=b", "web/proxy/nginx": "dir path=c"}
    packages = open_packages(image(tmp_path, names))
    assert packages.installed() == ("system/zones", "web/proxy/nginx", "web/server/nginx")
    assert packages.files("zones") == packages.files("system/zones") == ("/a",)
    assert packages.files("server/nginx") == ("/b",)
    assert packages.files("nginx") is packages.files("ones") is None


def test_what_pkg_printed_serves_as_well(tmp_path: Path) -> None:
    printed = f"system/a\tfile {SHA} path=usr/a mode=0755\nsystem/a\tset name=x value=y\nb\tdir path=usr\n"
    packages = Ips(Tree(tmp_path), printed)
    assert packages.installed() == ("b", "system/a")
    assert packages.files("a") == ("/usr/a",)
    assert packages.owner(RootPath("/usr")) == "b"
    with pytest.raises(SourceError, match="no package and action"):
        list(contents("no tab", "printed"))


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"p": []}', '{"p": {"a": 1}}', '{"p": {"a": [{}]}}', '{"p": {"a": [{"version": 1}]}}',
     "[" * 100_000],
)  # fmt: skip
def test_a_broken_catalog_is_refused(tmp_path: Path, text: str) -> None:
    tree = image(tmp_path, {"a": ""})
    (tmp_path / "var/pkg/state/installed/catalog.base.C").write_text(text)
    with pytest.raises(SourceError, match="catalog of installed packages"):
        open_packages(tree).installed()


@pytest.mark.parametrize("publisher", ["..", ".", "a/../../../etc", "_x"])
def test_a_publisher_leads_nowhere_else(tmp_path: Path, publisher: str) -> None:
    tree = image(tmp_path, {"a": ""})
    catalog = json.dumps({publisher: {"passwd": [{"version": "1"}]}})
    (tmp_path / "var/pkg/state/installed/catalog.base.C").write_text(catalog)
    assert open_packages(tree).installed() == ()


@pytest.mark.parametrize("line", ["dir mode=0755", "dir path=../x", "dir path=a\0b", 'dir path="'])
def test_a_broken_manifest_is_refused(tmp_path: Path, line: str) -> None:
    with pytest.raises(SourceError):
        open_packages(image(tmp_path, {"a": f"{line}\n"})).owner(RootPath("/x"))


def test_a_manifest_that_is_not_there_is_refused(tmp_path: Path) -> None:
    tree = image(tmp_path, {"a": ""})
    ips_database.catalog(tmp_path, ["a", "gone"])
    with pytest.raises(SourceError, match="does not exist"):
        open_packages(tree).files("gone")


LINES = st.lists(
    st.one_of(
        st.text(),
        st.sampled_from(["dir path=a", "file x path=a/b pkg.size=-1", f"file {SHA} path=c", "link path=a/d"]),
    )
)


@settings(max_examples=60, deadline=None)
@given(LINES)
def test_any_image_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    text = "\n".join(lines).encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    packages = open_packages(image(tmp_path_factory.mktemp("any"), {"a": text}))
    try:
        for path in ("/a", "/a/b", "/c"):
            packages.owner(RootPath(path))
            packages.recorded(RootPath(path))
            packages.global_only(RootPath(path))
        packages.files("a")
    except SourceError:
        return
