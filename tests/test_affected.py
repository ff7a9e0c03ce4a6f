"""affected: which zones hold a path or a package, in which version, and whether the source still has it."""

import json
import os
import time
from calendar import timegm
from pathlib import Path
from typing import Any

import pytest
from accounted import Place
from hypothesis import given
from hypothesis import strategies as st
from needs import needs
from test_receipt import NAMES, record

from partialroot.accounting.holding import Asked, at_path, of_package
from partialroot.errors import UsageError
from partialroot.model import Record, Supplier
from partialroot.nodes import FileType
from partialroot.paths import RootPath
from partialroot.pipeline.affected import affected
from partialroot.zone import receipt

Rows = dict[tuple[str, str], dict[str, Any]]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def asked(place: Place, *words: str, code: int = 0) -> Rows:
    """Return what is said of each zone (by its name) and word."""
    document = place.run("affected", *words, "--json", code=code).document
    return {(Path(one["zonepath"]).name, one["asked"]): one for one in document["zones"]}


def said(place: Place, *words: str) -> dict[str, tuple[str, str]]:
    return {zone: (one["version"], one["state"]) for (zone, _), one in asked(place, *words).items()}


@needs("root")
def test_a_package_with_its_files(place: Place) -> None:
    place.populate("a", "b")
    rows = asked(place, "data", "libx1@1:5-1")
    assert rows.keys() == {(zone, word) for zone in "ab" for word in ("data", "libx1@1:5-1")}
    row = rows["a", "data"]
    assert row["paths"] == ["/usr/share/data/a", "/usr/share/data/b"]
    assert row["methods"] == {"link": 2}
    assert (row["package"], row["version"], row["state"], row["because"]) == ("data", "7", "current", [])


@needs("root")
def test_files_of_both_layers(place: Place) -> None:
    place.populate("a")
    row = asked(place, "tool")["a", "tool"]
    assert row["paths"] == ["/usr/bin/tool", "/etc/tool.conf"]
    assert row["methods"] == {"copy": 1, "link": 1}


@pytest.mark.parametrize(
    ("path", "method", "package"),
    [
        ("/usr/bin/tool", "link", "tool"),
        ("/etc/tool.conf", "copy", "tool"),
        ("/srv/own", "copy", None),
        ("/etc/motd", "write", None),
        ("/usr/share/ours", "write", None),
    ],
)
@needs("root")
def test_a_path(place: Place, path: str, method: str, package: str | None) -> None:
    place.populate("a")
    row = asked(place, path)["a", path]
    assert (row["paths"], row["methods"], row["package"]) == ([path], {method: 1}, package)


@needs("root")
def test_a_path_is_followed_as_the_zone_sees_it(place: Place) -> None:
    (place.source / "bin").symlink_to("usr/bin")
    (place.source / "usr/bin/alias").symlink_to("../lib/libx.so.1")
    (place.top / "links.toml").write_text('files = ["/bin/tool", "/bin/alias"]\n')
    place.populate("a", profile="links.toml")
    row = asked(place, "/bin/alias")["a", "/bin/alias"]
    assert row["paths"] == ["/usr/bin/alias", "/usr/lib/libx.so.1"]
    assert (row["methods"], row["package"]) == ({"link": 1, "symlink": 1}, "libx1")
    assert asked(place, "/bin")["a", "/bin"]["methods"] == {"mkdir": 1, "symlink": 1}


def test_a_private_path_below_a_shared_directory(place: Place) -> None:
    (place.top / "state.toml").write_text('files = ["/usr/share/data"]\nprivate = ["/usr/share/data"]\n')
    place.populate("a", profile="state.toml")
    home = "/var/partialroot/private/usr/share/data/a"
    rows = asked(place, "/usr/share/data/a", "data")
    assert rows["a", "/usr/share/data/a"]["paths"] == [home]
    assert rows["a", "data"]["paths"] == [home, home[:-1] + "b"]
    assert rows["a", "data"]["state"] == "current"


# --- versions -----------------------------------------------------------------------------------------


def test_an_upgrade_leaves_zones_behind_until_they_are_populated_again(place: Place) -> None:
    place.populate("a", "b")
    place.install("1.0-2", "/usr/bin/tool")
    assert said(place, "tool") == dict.fromkeys("ab", ("1.0-1", "stale"))
    assert said(place, "tool@1.0-2") == {}
    because = asked(place, "tool")["a", "tool"]["because"]
    assert because == ["/usr/bin/tool: has changed in the source"]
    place.populate("b")
    assert said(place, "tool") == {"a": ("1.0-1", "stale"), "b": ("1.0-2", "current")}
    assert said(place, "tool@1.0-1") == {"a": ("1.0-1", "stale")}
    assert said(place, "tool@1.0-2") == {"b": ("1.0-2", "current")}
    assert said(place, "data") == dict.fromkeys("ab", ("7", "current"))


@needs("root")
def test_an_upgrade_that_changes_no_file_of_the_zone(place: Place) -> None:
    """Both zones have one image, but not of one version."""
    (a,) = place.populate("a")
    place.install("1.0-2", "/usr/bin/other")
    (b,) = place.populate("b")
    assert (a / "image").readlink() == (b / "image").readlink()
    assert said(place, "tool") == {"a": ("1.0-1", "current"), "b": ("1.0-2", "current")}
    place.populate("a")
    assert said(place, "tool@1.0-2").keys() == {"a", "b"}


def test_a_file_that_is_gone_from_the_source(place: Place) -> None:
    place.populate("a")
    (place.source / "usr/bin/tool").unlink()
    row = asked(place, "/usr/bin/tool")["a", "/usr/bin/tool"]
    assert (row["state"], row["because"]) == ("stale", ["/usr/bin/tool: is gone in the source"])


def test_a_source_that_is_gone_cannot_be_asked(place: Place) -> None:
    place.populate("a")
    place.source.rename(place.top / "elsewhere")
    assert said(place, "tool@1.0-1") == {"a": ("1.0-1", "unknown")}


@needs("root")
def test_since_when(place: Place) -> None:
    before = time.time() - 1
    (zone,) = place.populate("a")

    def since(path: str) -> float:
        told = asked(place, path)["a", path]["since"]
        return timegm(time.strptime(told, "%Y-%m-%dT%H:%M:%SZ"))

    assert before <= since("/usr/bin/tool") <= time.time()
    os.utime(zone / "image", (10**9, 10**9), follow_symlinks=False)
    assert since("/usr/bin/tool") == 10**9  # as long as it has its image
    assert since("/etc/motd") >= before


# --- the command --------------------------------------------------------------------------------------


def test_nobody_is_an_answer(place: Place) -> None:
    assert "no zone holds tool" in place.run("affected", "tool").err
    place.populate("a")
    done = place.run("affected", "tool@9", "none", "/no/where")
    assert done.out == ""
    assert [line.rpartition(" ")[2] for line in done.err.splitlines()] == ["tool@9", "none", "/no/where"]
    assert place.run("affected", "/no/where", "-q").err == ""


@needs("root")
def test_a_report_for_people(place: Place) -> None:
    (zone,) = place.populate("a")
    lines = place.run("affected", "tool", "/etc/motd").out.splitlines()
    assert lines[0].split() == ["ASKED", "STATE", "METHOD", "SINCE", "PACKAGE", "ZONEPATH", "PATH"]
    assert f"{zone}  /usr/bin/tool and 1 more" in lines[1]
    assert "tool 1.0-1" in lines[1] and "copy 1, link 1" in lines[1]
    assert lines[2].endswith("/etc/motd")
    assert "/usr/bin/tool /etc/tool.conf" in place.run("affected", "tool", "-v").out


@pytest.mark.parametrize("word", ["", "@1", "tool@", "/a/../b"])
def test_what_is_neither_path_nor_package(place: Place, word: str) -> None:
    done = place.run("affected", "--json", word, code=2)
    assert done.document["error"]["kind"] == "usage" and done.document["zones"] == []


def test_a_zone_that_cannot_be_asked_is_told_and_the_others_go_on(place: Place) -> None:
    a, b = place.populate("a", "b")
    (a / "receipt.json").write_text("{}")
    document = place.run("affected", "tool", "--json", code=2).document
    assert [one["zonepath"] for one in document["zones"]] == [str(b)]
    assert [one["zonepath"] for one in document["unread"]] == [str(a)]
    assert document["error"]["kind"] == document["unread"][0]["error"]["kind"] == "no-receipt"


@needs("root")
def test_what_zones_share_is_looked_at_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.populate("a", "b", "c")
    read: list[Path] = []

    def read_manifest(image: Path) -> tuple[Record, ...]:
        read.append(image)
        return receipt.read_manifest(image)

    monkeypatch.setattr("partialroot.zone.verify.read_manifest", read_manifest)
    assert len(affected(place.store, ["tool", "data", "/usr/bin/tool"])) == 3
    assert len(read) == 1


@pytest.mark.hostile
def test_names_that_are_no_text(place: Place) -> None:
    name = "/srv/\x1b[31m\udce9"
    Path(f"{place.source}{name}").write_text("x")
    (place.top / "odd.toml").write_text('files = ["/srv"]\n')
    place.populate("a", profile="odd.toml")
    word = os.fsdecode(os.fsencode(name))
    assert asked(place, word)["a", word]["paths"] == [name]
    assert "\x1b" not in place.run("affected", word).out


# --- what is meant ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "package", "is_meant"),
    [
        ("libc6", "libc6", True),
        ("libc6", "libc6:i386", True),
        ("libc6:i386", "libc6:i386", True),
        ("libc6:i386", "libc6", False),
        ("libc", "libc6", False),
        ("z", "library/z", True),
        ("library/z", "library/z", True),
        ("y/z", "library/z", False),
        ("ibrary/z", "library/z", False),
    ],
)
def test_packages_by_name(word: str, package: str, is_meant: bool) -> None:
    assert Asked.parse(word).means(Supplier(package, "1", "")) is is_meant


@pytest.mark.parametrize(
    ("word", "version", "is_meant"),
    [
        ("a", "1:2-3", True),
        ("a@1:2-3", "1:2-3", True),
        ("a@2-3", "1:2-3", False),
        ("a@1", "1:2-3", False),
        ("a@1.0", "1.0-1", False),
        ("a@0.5.11", "0.5.11,5.11-0.151050:20250201T120000Z", True),
        ("a@0.5.11-0.151050", "0.5.11,5.11-0.151050:20250201T120000Z", True),
        ("a@0.5.11,5.11-0.151050", "0.5.11,5.11-0.151050:20250201T120000Z", True),
        ("a@0.5.11,5.11-0.151050:20250201T120000Z", "0.5.11,5.11-0.151050:20250201T120000Z", True),
        ("a@0.5", "0.5.11,5.11-0.151050:20250201T120000Z", False),
        ("a@1", "", False),
        ("a@b@c", "b@c", True),
    ],
)
def test_versions(word: str, version: str, is_meant: bool) -> None:
    assert Asked.parse(word).is_version(version) is is_meant


@given(st.text())
def test_any_word_is_a_path_a_package_or_refused(word: str) -> None:
    try:
        found = Asked.parse(word)
    except UsageError:
        return
    assert (found.path is None) is bool(found.package)
    assert found.path is not None or found.means(Supplier(found.package, found.version, ""))
    assert found.is_version(found.version) or not found.version


def test_files_of_a_package_without_suppliers() -> None:
    assert of_package(Asked.parse("a"), [record("/a")], {}) == []


LINKS = st.dictionaries(
    st.lists(NAMES, min_size=1, max_size=3).map(lambda names: RootPath("/" + "/".join(names))),
    st.none() | st.lists(NAMES | st.just(".."), max_size=3).map("/".join),
    max_size=6,
)


@pytest.mark.hostile
@given(LINKS, st.lists(NAMES, max_size=3))
def test_any_symlinks_end(links: dict[RootPath, str | None], names: list[str]) -> None:
    known: dict[RootPath, Record] = {
        path: record(path)
        if target is None
        else record(path, type=FileType.SYMLINK, target=target, sha256=None)
        for path, target in links.items()
    }
    led = list(at_path(RootPath("/" + "/".join(names)), known.get))
    assert all(one.path in known for one in led)
    assert all(one.type is FileType.SYMLINK for one in led[:-1])


def test_the_object_is_one_line_of_ascii(place: Place) -> None:
    place.populate("a")
    out = place.run("affected", "tool", "--json").out
    assert out.count("\n") == 1 and out.isascii() and json.loads(out)["format"] == 1
