"""Tests of what is made of the text that illumos' commands print; on any system."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partialroot.errors import ConflictError, PartialRootError, SourceError
from partialroot.host.illumos import bootenvs, mnttab, zoneattrs, zonelist
from partialroot.host.illumos.bootenvs import Kin, by_kinship
from partialroot.host.illumos.datasets import Datasets
from partialroot.host.illumos.zfs import Zfs

MNTTAB = """\
rpool/ROOT/be1\t/\tzfs\trw,dev=4410002\t1700000000
/devices\t/devices\tdevfs\tdev=8a00000\t1700000000
rpool/export/zones/web/ROOT/zbe\t/z/web/root\tzfs\trw,dev=1\t1700000001
/z/web/image/usr\t/z/web/root/usr\tlofs\tro,nodevices,dev=2\t1700000002
/usr/lib/libc/libc_hwcap1.so.1\t/z/web/root/usr/lib/libc.so.1\tlofs\tdev=2\t1700000002
snap\t/z/web/root/.zfs/snapshot/a\tzfs\tro\t1700000003
other\t/z/web/rootless\tzfs\trw\t1700000003
later\t/z/web/root\tlofs\trw\t1700000004
"""


def test_mounts_are_found_by_path() -> None:
    table = mnttab.parse(MNTTAB)
    found = table.at(Path("/z/web/root/usr"))
    assert found == ("/z/web/image/usr", "/z/web/root/usr", "lofs", ("ro", "nodevices", "dev=2"))
    assert table.at("/z/web/root/usr/lib") is None
    top = table.at("/z/web/root")
    assert top and top.special == "later"


def test_what_is_below_comes_in_the_order_to_unmount() -> None:
    points = [mount.point for mount in mnttab.parse(MNTTAB).below("/z/web/root")]
    assert points == ["/z/web/root/usr/lib/libc.so.1", "/z/web/root/usr"]
    assert len(mnttab.parse(MNTTAB).below("/")) == 7


@given(st.text())
def test_any_text_is_a_table_or_an_error_of_ours(text: str) -> None:
    try:
        mnttab.parse(text)
    except PartialRootError as error:
        assert error.path == "/etc/mnttab"


@given(st.text(st.characters(exclude_characters="\t\n"), min_size=1))
def test_strange_names_survive(name: str) -> None:
    table = mnttab.parse(f"{name}\t/{name}\tlofs\tro\t1\n")
    assert table == (mnttab.Mount(name, f"/{name}", "lofs", ("ro",)),)


# --- zoneadm list -p ----------------------------------------------------------------------------------


def test_a_listed_zone() -> None:
    line = "-:web:incomplete:/export/zones/web:0e5b-uuid:partial-root:excl\n"
    assert zonelist.parse(line) == ("web", "incomplete", Path("/export/zones/web"), "partial-root", "excl")


@given(st.text(st.characters(exclude_characters="\n\\"), min_size=1))
def test_colons_in_a_zonepath(path: str) -> None:
    line = f"3:web:running:/{path.replace(':', chr(92) + ':')}::partial-root:shared"
    assert zonelist.parse(line).zonepath == Path(f"/{path}")


@given(st.text())
def test_any_line_is_a_zone_or_an_error_of_ours(line: str) -> None:
    try:
        zonelist.parse(line)
    except PartialRootError as error:
        assert "list -p" in error.message


# --- boot environments --------------------------------------------------------------------------------

BEADM = """\
be1;e6c2-1;;;4.91G;static;1690000000
be2;e6c2-2;NR;/;9.1G;static;1700000000
be3;e6c2-3;-;/mnt;1.1G;static;1710000000
"""


def test_the_running_boot_environment() -> None:
    assert [(one.name, one.uuid) for one in bootenvs.parse(BEADM) if one.runs] == [("be2", "e6c2-2")]


@pytest.mark.parametrize("text", ["", "be1;;NR;/;1;static;1\n", "be1;a;N;/;1;static;1\nbe2;b;N;/;1;s;1\n"])
def test_without_one_running_nothing_is_guessed(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootenvs, "BEADM", "/bin/sh")
    with pytest.raises(SourceError):
        bootenvs.running(lambda *_: text)


def test_systems_without_beadm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootenvs, "BEADM", "/nonexistent/beadm")
    assert bootenvs.running(lambda *_: pytest.fail("nothing to run")) == "opensolaris"


def test_kin_are_the_boot_environments_of_the_pool() -> None:
    table = mnttab.parse(MNTTAB)
    text = "rpool/ROOT\t-\t-\nrpool/ROOT/be1\t-\tu1\nrpool/ROOT/be2\trpool/ROOT/be1@now\tu2\n"
    asked: list[tuple[str, ...]] = []

    def run(*words: str) -> str:
        asked.append(words)
        return text

    expected = (Kin("rpool/ROOT/be1", None, "u1"), Kin("rpool/ROOT/be2", "rpool/ROOT/be1", "u2"))
    assert bootenvs.kin(run, table) == expected
    assert asked[0][-1] == "rpool/ROOT"
    assert bootenvs.kin(run, mnttab.parse("/dev/dsk/c0\t/\tufs\trw\t1\n")) == ()


FAMILY = (Kin("r/a", None, "A"), Kin("r/b", "r/a", "B"), Kin("r/c", "r/b", "C"), Kin("r/d", "r/a", "D"))


@pytest.mark.parametrize(
    ("here", "order"),
    [("A", "ABDC"), ("B", "BACD"), ("C", "CBAD"), ("D", "DABC"), ("X", "X")],
)
def test_the_nearest_come_first(here: str, order: str) -> None:
    assert "".join(by_kinship(here, FAMILY)) == order


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd"), st.sampled_from("ABCD"))))
def test_any_family_has_an_order(rows: list[tuple[str, str, str]]) -> None:
    order = by_kinship("A", [Kin(*row) for row in rows])
    assert order[0] == "A" and len(set(order)) == len(order)


# --- the commands -------------------------------------------------------------------------------------


class Asked:
    """A runner that notes what it is asked and answers with prepared text."""

    def __init__(self, *answers: str) -> None:
        self.lines: list[str] = []
        self.answers = list(answers)

    def __call__(self, *words: str) -> str:
        self.lines.append(" ".join(words))
        return self.answers.pop(0) if self.answers else ""


def test_zfs_is_asked_by_absolute_path_and_plainly() -> None:
    asked = Asked("a\tfilesystem\t-\t7\ton\na@s\tsnapshot\t-\t9\t-\n")
    zfs = Zfs(asked)
    assert [(one.name, one.created, one.properties) for one in zfs.below("a", "x:y")] == [
        ("a", 7, ("on",)),
        ("a@s", 9, ("-",)),
    ]
    zfs.create("a/b", {"canmount": "noauto", "x:y": "on"})
    zfs.clone("a@s", "a/c", {"x:y": "on"})
    zfs.set("a", {"one": "1", "two": "2"})
    zfs.destroy("a@s")
    zfs.destroy("a/b", recursive=True)
    assert [line.removeprefix("/usr/sbin/zfs ") for line in asked.lines] == [
        "list -H -r -t all -o name,type,origin,createtxg,x:y a",
        "create -o canmount=noauto -o x:y=on a/b",
        "clone -o x:y=on a@s a/c",
        "set one=1 a",
        "set two=2 a",
        "destroy a@s",
        "destroy -r a/b",
    ]


def test_a_hundred_roots_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mnttab, "read", lambda: mnttab.parse("p/web\t/z/web\tzfs\trw\t1\n"))
    monkeypatch.setattr(bootenvs, "BEADM", "/nonexistent/beadm")
    names = ["p/web/ROOT", "p/web/ROOT/zbe", *(f"p/web/ROOT/zbe-{number}" for number in range(1, 100))]
    listed = "".join(f"{name}\tfilesystem\t-\t1\n" for name in names)
    marks = "p/web/ROOT\tfilesystem\t-\t1\tlegacy\ton\n"
    with pytest.raises(ConflictError, match="100 roots"):
        Datasets(Path("/z/web"), Asked("", marks, listed)).create()


# --- attributes of a zone -----------------------------------------------------------------------------

EXPORTED = """\
create -b
set zonepath=/export/zones/web
set brand=partial-root
set autoboot=false
set ip-type=shared
add net
set address=192.0.2.7/24
set physical=e1000g0
end
add attr
set name=libc-must-match
set type=boolean
set value=true
end
add attr
set name="comment"
set type="string"
set value="a zone; of mine"
end
"""


def test_attributes_are_those_of_attr_resources() -> None:
    """Quoted or not, as versions of zonecfg differ; nothing of other resources."""
    assert zoneattrs.parse(EXPORTED) == {"libc-must-match": "true", "comment": "a zone; of mine"}
    assert zoneattrs.parse("create -b\nset zonepath=/x\n") == {}


@given(st.text())
def test_any_export_has_attributes_or_none(text: str) -> None:
    assert isinstance(zoneattrs.parse(text), dict)


def test_zonecfg_is_asked_plainly() -> None:
    answers = {("/usr/sbin/zonecfg", "-z", "web", "export"): EXPORTED}
    assert zoneattrs.read(lambda *words: answers[words], "web")["libc-must-match"] == "true"
