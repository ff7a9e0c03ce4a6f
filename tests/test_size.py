"""status --size and explain --what-if-removed: by dominators, against what removing really does."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from accounted import Place
from command import partialroot
from hypothesis import given
from hypothesis import strategies as st
from needs import needs
from sources import small_source
from test_receipt import record

from partialroot.accounting.because import EVERYTHING, Amount, Because, Thing
from partialroot.accounting.dominators import UNREACHED, immediate_dominators
from partialroot.accounting.sizes import sizes
from partialroot.model import Identity, Layer, Method, Supplier
from partialroot.nodes import FileType, Reason
from partialroot.paths import RootPath

# --- dominators ---------------------------------------------------------------------------------------


def reached(edges: Sequence[Sequence[int]], without: int | None = None) -> set[int]:
    """Return what the first node leads to when another one is not there."""
    found: set[int] = set()
    waiting = [0]
    while waiting:
        node = waiting.pop()
        if node != without and node not in found:
            found.add(node)
            waiting += edges[node]
    return found


NODES = st.integers(0, 9)
GRAPHS = st.lists(st.lists(NODES, max_size=4), min_size=10, max_size=10)


@given(GRAPHS)
def test_dominators_are_what_nothing_can_be_reached_without(edges: list[list[int]]) -> None:
    dominators, order = immediate_dominators(edges)
    assert set(order) == reached(edges)
    assert [node for node in range(10) if dominators[node] == UNREACHED] == sorted(
        set(range(10)) - set(order)
    )
    for node in order[1:]:
        chain = [node]
        while chain[-1] != 0:
            chain.append(dominators[chain[-1]])
        assert set(chain) == {one for one in order if one == node or node not in reached(edges, one)}


def test_a_long_chain() -> None:
    length = 50_000
    dominators, order = immediate_dominators([[number + 1] for number in range(length)] + [[]])
    assert order == list(range(length + 1))
    assert dominators == [0, *range(length)]


# --- what goes with what ------------------------------------------------------------------------------

DIRECTORIES = ["/d", "/d/e", "/f"]
LEAVES = [f"{top}/{name}" for top in ("", *DIRECTORIES) for name in "ab"]
LINES = ["x.toml:1", "x.toml:2", "y.toml:1"]


@st.composite
def zones(draw: st.DrawFn) -> tuple[list[Thing], dict[RootPath, tuple[Reason, ...]]]:
    """Return the paths of a zone with their reasons, the first of which leads to a line; there are cycles."""
    leaves = draw(st.lists(st.sampled_from(LEAVES), unique=True))
    things: list[Thing] = []
    reasons: dict[RootPath, tuple[Reason, ...]] = {}
    for place, leaf in enumerate(leaves):
        origin = draw(st.sampled_from([*LINES, *leaves[:place]]))
        others = draw(st.lists(st.sampled_from([*LINES, *leaves]), max_size=3))
        reasons[RootPath(leaf)] = tuple(Reason("needed", one) for one in [origin, *others])
        things.append(
            draw(st.builds(thing, st.just(leaf), st.integers(0, 9), st.integers(0, 5), st.booleans()))
        )
    for path in DIRECTORIES:
        inside = sorted(leaf for leaf in leaves if leaf.startswith(f"{path}/"))
        asked = draw(st.lists(st.sampled_from(LINES), max_size=1))
        if inside or asked:
            why = [Reason("parent", inside[0])] if inside else []
            reasons[RootPath(path)] = (*why, *(Reason("directory", one) for one in asked))
            made = record(path, type=FileType.DIR, sha256=None, method=Method.MKDIR, identity=None)
            things.append(Thing(made, Layer.PRIVATE))
    return things, reasons


def thing(path: str, size: int, inode: int, shared: bool) -> Thing:
    """Return a file that may be a link to others of its inode, which has the size of all of them."""
    identity = Identity(1, inode, 0, 0, 0o644)
    return Thing(
        record(path, size=inode * 10 if size else 0, method=Method.LINK, identity=identity if size else None),
        Layer.SHARED if shared else Layer.PRIVATE,
    )


def present(
    things: Iterable[Thing], reasons: Mapping[RootPath, Sequence[Reason]], removed: set[RootPath]
) -> set[RootPath]:
    """Return what is there when some paths are not: all that a line leads to, and what holds something."""
    paths = {one.record.path for one in things} - removed
    found: set[RootPath] = set()
    while True:
        more = {
            path
            for path in paths - found
            if any(reason.origin in found or reason.origin in LINES for reason in reasons[path])
            or any(one.parent == path for one in found)
        }
        if not more:
            return found
        found |= more


def amount(things: Iterable[Thing], paths: set[RootPath]) -> Amount:
    """Return the files and bytes of some paths; an inode counts as long as it has a name."""
    files = [one for one in things if one.record.path in paths and one.record.type is FileType.FILE]
    inodes = {(one.layer, one.record.identity or one.record.path): one for one in files}.values()
    shared, private = (
        sum(one.record.size for one in inodes if one.layer is layer)
        for layer in (Layer.SHARED, Layer.PRIVATE)
    )
    return Amount(len(files), shared, private)


@given(zones())
def test_what_goes_with_a_path_is_what_is_not_there_without_it(
    zone: tuple[list[Thing], dict[RootPath, tuple[Reason, ...]]],
) -> None:
    things, reasons = zone
    whole = Because(things, reasons)
    everything = present(things, reasons, set())
    assert everything == {one.record.path for one in things}
    assert whole.total() == amount(things, everything)
    for path in everything:
        removed = {one for one in everything if one.is_below(path)}
        left = present(things, reasons, removed)
        merged = Because(things, reasons, merged=path if len(removed) > 1 else None)
        gone = {one for one, _ in merged.all_below(path)}
        assert gone == everything - left - removed
        assert merged.total(path) == amount(things, everything).minus(amount(things, left))


@given(zones())
def test_sizes_sum_up(zone: tuple[list[Thing], dict[RootPath, tuple[Reason, ...]]]) -> None:
    things, reasons = zone
    suppliers = {one.record.path: Supplier(one.record.path[-1], "1", "") for one in things[::2]}
    found = sizes(Because(things, reasons), suppliers)
    for shares in ([line.amount for line in found.lines], [part.amount for part in found.packages]):
        total = Amount()
        for share in shares:
            total = total.plus(share)
        assert total == found.amount
    for line in found.lines:
        assert sum(root.amount.bytes for root in line.roots) <= line.amount.bytes
        for root in line.roots:
            assert sum(part.amount.bytes for part in root.parts) == root.amount.bytes
            assert sum(part.amount.files for part in root.parts) == root.amount.files


def test_paths_whose_reasons_lead_nowhere_are_there_of_themselves() -> None:
    things = [
        thing(path, 0, 0, True)._replace(record=record(path, size=1)) for path in ("/a", "/b", "/c", "/d")
    ]
    circle = {
        RootPath("/a"): (Reason("needed", "/b"),),
        RootPath("/b"): (Reason("needed", "/a"),),
        RootPath("/d"): (Reason("needed", "/c"),),
    }
    because = Because(things, circle)
    assert because.total().files == 4
    assert sorted(because.below(EVERYTHING)) == ["/a", "/c"]
    assert [*because.below("/c")] == ["/d"]


def test_what_was_moved_to_be_private_still_brings_what_it_needs() -> None:
    home = "/var/partialroot/private/usr/lib/plugin.so"
    things = [thing(path, 0, 0, False) for path in (home, "/usr/lib/libz.so")]
    reasons = {
        RootPath(home): (Reason("file", "x.toml:1"),),
        RootPath("/usr/lib/libz.so"): (Reason("needed", "/usr/lib/plugin.so"),),
    }
    assert [*Because(things, reasons).below(home)] == ["/usr/lib/libz.so"]


def test_a_profile_in_a_directory_of_that_name_is_no_path_of_the_zone() -> None:
    things = [thing(path, 0, 0, False) for path in ("/root/a", "/b")]
    things.append(Thing(record("/root", type=FileType.DIR, sha256=None, identity=None), Layer.PRIVATE))
    why = (Reason("file", "/root/app.toml:1"),)
    because = Because(things, {one.record.path: why for one in things}, merged=RootPath("/root"))
    assert because.total("/root").files == 1
    assert sorted(because.below("/root/app.toml:1")) == ["/b", "/root"]


# --- the commands -------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def size_of(place: Place, zone: Path, code: int = 0) -> Any:
    return place.run("status", "--size", zone, "--json", code=code).document["zones"][0]["size"]


def disk(zone: Path) -> tuple[int, int, int]:
    """Return the files of a zone and the bytes of each layer, every inode counted once."""
    files, totals = 0, [0, 0]
    for place, top in enumerate((zone.joinpath("image").resolve(), zone / "root")):
        inodes: dict[int, int] = {}
        for directory, _, names in os.walk(top):
            for name in names:
                path = Path(directory, name)
                if path.is_file() and not path.is_symlink() and path.parent != top:
                    files += 1
                    inodes[path.stat().st_ino] = path.stat().st_size
        totals[place] = sum(inodes.values())
    return files, totals[0], totals[1]


def test_sizes_are_those_on_disk(place: Place) -> None:
    os.link(place.source / "usr/bin/tool", place.source / "usr/share/data/twin")
    os.link(place.source / "srv/own", place.source / "etc/own")
    (place.top / "twins.toml").write_text(
        'files = ["/usr/bin/tool", "/usr/share/data", "/srv/own", "/etc/own"]\n'
    )
    (zone,) = place.populate("a", profile="twins.toml")
    place.run("unmount", zone)
    size = size_of(place, zone)
    assert (size["files"], size["shared_bytes"], size["private_bytes"]) == disk(zone)
    assert size["bytes"] == size["shared_bytes"] + size["private_bytes"]


@needs("root")
def test_sizes_by_line_root_and_package(place: Place) -> None:
    (zone,) = place.populate("a")
    size = size_of(place, zone)
    (line, text, ours) = size["lines"]
    assert [one["origin"].rpartition(":")[2] for one in size["lines"]] == ["1", "4", "2"]
    assert (line["files"], text["files"], ours["files"]) == (6, 1, 1)
    roots = {root["path"]: root for root in line["roots"]}
    assert roots["/usr/bin/tool"]["packages"] == [
        {
            "package": "tool",
            "version": "1.0-1",
            "files": 1,
            "bytes": 24,
            "shared_bytes": 24,
            "private_bytes": 0,
        }
    ]
    told = {one["package"]: one["files"] for one in size["packages"]}
    assert told == {"tool": 2, "data": 2, "libx1": 1, None: 3}


def test_what_several_lines_need(place: Place) -> None:
    (place.top / "two.toml").write_text('files = [\n"/usr/bin/tool",\n"/usr/bin/tool*",\n"/srv/own"]\n')
    (zone,) = place.populate("a", profile="two.toml")
    lines = {one["origin"]: one for one in size_of(place, zone)["lines"]}
    assert [root["path"] for root in lines[None]["roots"]] == ["/usr/bin/tool"]
    assert [one["files"] for origin, one in lines.items() if origin] == [1]


def test_a_tree_for_people(place: Place) -> None:
    (zone,) = place.populate("a")
    out = place.run("status", "--size", zone).out
    assert f"{zone}: 8 files, " in out
    assert "/usr/bin/tool: 1 file, 24 B, of tool 1.0-1\n" in out
    assert "  by package\n" in out and "    of no package: 3 files, " in out
    assert "more" not in out
    assert place.run("status", zone).out == out[: out.index(f"{zone}: 8 files")]


def test_long_trees_are_cut_unless_asked_for(place: Place) -> None:
    for number in range(30):
        (place.source / f"srv/{number:02}").write_text("x" * (number + 1))
    (place.top / "many.toml").write_text('files = ["/srv"]\n')
    (zone,) = place.populate("a", profile="many.toml")
    short, long = place.run("status", "--size", zone).out, place.run("status", "--size", zone, "-v").out
    assert "    and 23 more: 23 files, 272 B\n" in short and "/srv/00" not in short
    assert "/srv/00" in long and "more" not in long
    assert len(size_of(place, zone)["lines"][0]["roots"]) == 31


def test_without_being_asked_nothing_is_weighed(place: Place) -> None:
    (zone,) = place.populate("a")
    assert place.run("status", zone, "--json").document["zones"][0]["size"] is None
    assert place.run("explain", zone, "/usr/bin/tool", "--json").document["removed"] is None


def test_a_zone_whose_receipt_is_broken_has_no_size(place: Place) -> None:
    a = place.populate("a", "b")[0]
    (a / "receipt.json").write_text("{}")
    document = place.run("status", "--size", "--all", "--json", code=5).document
    assert [one["state"] for one in document["zones"]] == ["broken", "current"]
    assert [one["size"] is None for one in document["zones"]] == [True, False]


@pytest.mark.hostile
def test_names_that_are_no_text(place: Place) -> None:
    Path(f"{place.source}/srv/\x1b[31m\udce9").write_text("x")
    (place.top / "odd.toml").write_text('files = ["/srv"]\n')
    (zone,) = place.populate("a", profile="odd.toml")
    assert "\x1b" not in place.run("status", "--size", zone).out
    assert "\x1b" not in place.run("explain", zone, "/srv", "--what-if-removed").out


# --- what if? -----------------------------------------------------------------------------------------

WITH = ["/usr/bin/sh", "/usr/bin/ls", "/usr/bin/id", "/usr/bin/greet"]


@needs("glibc")
@pytest.mark.parametrize("gone", ["/usr/bin/ls", "/usr/bin/id", "/usr/bin/greet"])
def test_what_would_go_is_what_a_profile_without_it_does_not_bring(tmp_path: Path, gone: str) -> None:
    tmp_path.chmod(0o700)
    source = small_source(tmp_path / "source")

    def populated(name: str, programs: list[str]) -> tuple[Path, set[str], Any]:
        profile, zone = tmp_path / f"{name}.toml", tmp_path / name
        profile.write_text(f"programs = {programs}\n")
        at = ("--store", tmp_path / "store")
        partialroot("populate", zone, profile, "--source", source, *at)
        done = partialroot("status", "--size", zone, "--json", *at)
        paths = partialroot("plan", profile, "--source", source, "--json", *at).document["entries"]
        return zone, {one["path"] for one in paths}, done.document["zones"][0]["size"]

    zone, whole, before = populated("whole", WITH)
    _, rest, after = populated("rest", [one for one in WITH if one != gone])
    removed = partialroot("explain", zone, gone, "--what-if-removed", "--json").document["removed"]
    assert removed["itself"] == [gone]
    others = {one["path"] for one in removed["others"]}
    links = {path for path in whole if (source / path[1:]).is_symlink()}  # stay with what they lead to
    assert {gone, *others} - links == whole - rest - links
    assert others <= whole - rest
    for key in ("files", "bytes", "shared_bytes", "private_bytes"):
        assert removed[key] == before[key] - after[key]


def test_a_directory_goes_with_all_that_is_in_it(place: Place) -> None:
    (zone,) = place.populate("a")
    removed = place.run("explain", zone, "/usr/share/data", "--what-if-removed", "--json").document["removed"]
    assert removed["itself"] == ["/usr/share/data", "/usr/share/data/a", "/usr/share/data/b"]
    assert removed["others"] == [] and removed["files"] == 2
    out = place.run("explain", zone, "/usr/share", "--what-if-removed").out
    assert "without /usr/share: 3 files, " in out and "  /usr/share/ours\n" in out


def test_a_path_that_is_not_there(place: Place) -> None:
    (zone,) = place.populate("a")
    done = place.run("explain", zone, "/usr/bin/none", "--what-if-removed", "--json", code=2)
    assert done.document["removed"] is None and done.document["error"]["kind"] == "usage"
