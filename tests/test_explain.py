"""explain: the shortest chain of reasons from a path down to a line of a profile."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_receipt import a_receipt, record

from partialroot.errors import UsageError
from partialroot.model import Receipt
from partialroot.nodes import FileType, Reason
from partialroot.paths import RootPath
from partialroot.zone.explain import Step, explain

Reasons = dict[RootPath, tuple[Reason, ...]]

SHARED: Reasons = {
    RootPath("/usr/bin/node"): (Reason("wanted", "node.toml:3"),),
    RootPath("/usr/lib/libnode.so.1"): (Reason("symlink", "/usr/lib/libnode.so.1.2"),),
    RootPath("/usr/lib/libnode.so.1.2"): (Reason("needed", "/usr/bin/node"), Reason("package", "x.toml:9")),
    RootPath("/usr/lib/libz.so.1"): (Reason("needed", "/usr/lib/libnode.so.1.2"),),
    RootPath("/usr/lib"): (Reason("parent", "/usr/lib/libz.so.1"),),
}


def zone(*links: tuple[str, str]) -> Receipt:
    """Return a receipt with a file in /etc and some symlinks."""
    hosts = record("/etc/hosts", reasons=(Reason("file", "base.toml:7"),))
    symlinks = [
        record(path, type=FileType.SYMLINK, target=target, sha256=None, reasons=(Reason("symlink", target),))
        for path, target in links
    ]
    return a_receipt(hosts, *symlinks)


def told(steps: Sequence[Step]) -> list[str]:
    return [f"{step.path} {step.reason.rule} {step.reason.origin}" for step in steps]


def test_a_chain_ends_at_a_profile() -> None:
    chain = explain(zone(), SHARED, RootPath("/usr/bin/node"))
    assert told(chain) == ["/usr/bin/node wanted node.toml:3"]
    assert told(explain(zone(), {}, RootPath("/etc/hosts"))) == ["/etc/hosts file base.toml:7"]


def test_the_shortest_chain_is_told_with_the_other_reasons_beside_it() -> None:
    chain = explain(zone(), SHARED, RootPath("/usr/lib/libnode.so.1"))
    assert told(chain) == [
        "/usr/lib/libnode.so.1 symlink /usr/lib/libnode.so.1.2",
        "/usr/lib/libnode.so.1.2 package x.toml:9",
    ]
    assert [step.others for step in chain] == [(), (Reason("needed", "/usr/bin/node"),)]


def test_a_long_chain() -> None:
    chain = explain(zone(), SHARED, RootPath("/usr/lib"))
    assert [step.path.name for step in chain] == ["lib", "libz.so.1", "libnode.so.1.2"]


@pytest.mark.parametrize(
    ("links", "asked", "found"),
    [
        ([("/lib", "usr/lib")], "/lib/libz.so.1", "/usr/lib/libz.so.1"),
        ([("/lib", "/usr/lib")], "/lib/libz.so.1", "/usr/lib/libz.so.1"),
        ([("/opt/a", "../b"), ("/b", "usr/lib")], "/opt/a/libz.so.1", "/usr/lib/libz.so.1"),
        ([("/a", "../../../usr")], "/a/lib/libz.so.1", "/usr/lib/libz.so.1"),
        ([("/lib", "usr/lib")], "/lib", "/lib"),
    ],
)
def test_symlinked_directories_are_followed(links: list[tuple[str, str]], asked: str, found: str) -> None:
    assert explain(zone(*links), SHARED, RootPath(asked))[0].path == found


@pytest.mark.hostile
@pytest.mark.parametrize("links", [[("/a", "a")], [("/a", "b"), ("/b", "a")], [("/a", "a/a")]])
def test_links_that_lead_in_circles_lead_nowhere(links: list[tuple[str, str]]) -> None:
    with pytest.raises(UsageError):
        explain(zone(*links), SHARED, RootPath("/a/x"))


def test_reasons_in_a_circle_end() -> None:
    circle = {
        RootPath("/a"): (Reason("needed", "/b"),),
        RootPath("/b"): (Reason("needed", "/c"), Reason("needed", "/a")),
        RootPath("/c"): (Reason("needed", "/b"),),
    }
    assert told(explain(zone(), circle, RootPath("/a"))) == ["/a needed /b"]
    circle[RootPath("/c")] += (Reason("wanted", "x.toml:1"),)
    assert told(explain(zone(), circle, RootPath("/a")))[-1] == "/c wanted x.toml:1"


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        ("/usr/local/bin/node", "did you mean /usr/bin/node?"),
        ("/usr/lib/libz.so.2", "did you mean /usr/lib/libz.so.1"),
        ("/etc/host", "did you mean /etc/hosts"),
    ],
)
def test_an_unknown_path_is_refused_with_the_nearest(asked: str, hint: str) -> None:
    with pytest.raises(UsageError, match="is not in the zone") as caught:
        explain(zone(), SHARED, RootPath(asked))
    assert str(caught.value.hint).startswith(hint)
    assert caught.value.path == asked
    assert caught.value.code == 2


def test_nothing_near_is_no_hint() -> None:
    with pytest.raises(UsageError) as caught:
        explain(zone(), SHARED, RootPath("/QQQQQQQQQQQQQQQQ"))
    assert caught.value.hint is None


NAMES = st.sampled_from("abcdefg")
PATHS = NAMES.map(lambda name: RootPath(f"/{name}"))
ORIGINS = PATHS | st.just("x.toml:1")
GRAPHS = st.dictionaries(
    PATHS, st.lists(st.builds(Reason, NAMES, ORIGINS), max_size=3).map(tuple), min_size=1
)


@given(GRAPHS, st.data())
def test_any_chain_is_unbroken_and_never_repeats(graph: Reasons, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(sorted(graph)))
    chain = explain(a_receipt(), graph, path)
    paths = [step.path for step in chain]
    assert len(set(paths)) == len(paths)
    assert paths[:1] == [path][: len(paths)]
    for step, after in pairwise(chain):
        assert step.reason in graph[step.path]
        assert step.reason.origin == after.path
    if can_reach_a_profile(graph, path):
        assert chain[-1].reason.origin not in graph


def can_reach_a_profile(graph: Reasons, path: RootPath) -> bool:
    reached, waiting = {path}, [path]
    while waiting:
        for reason in graph[waiting.pop()]:
            if reason.origin not in graph:
                return True
            if reason.origin not in reached:
                reached.add(RootPath(reason.origin))
                waiting.append(RootPath(reason.origin))
    return False
