"""Globs against fnmatch, and the search in a tree against the test of a path."""

import tempfile
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partialroot.errors import ProfileError
from partialroot.globs import alternatives, component, is_glob, matcher
from partialroot.paths import ROOT
from partialroot.source.tree import Tree

SPECIAL = "ab-]![*?^\\.\n"


@settings(max_examples=500, deadline=None)
@given(st.text(SPECIAL, max_size=8), st.text(SPECIAL, min_size=1, max_size=6))
def test_a_component_matches_as_fnmatch_does(pattern: str, name: str) -> None:
    assert bool(component(pattern).fullmatch(name)) == fnmatchcase(name, pattern)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("/usr/bin/[", False), ("/usr/bin/[ab]", True), ("/a/[b/c]", False), ("/x{y}", False), ("/x{y,z}", True),
     ("/a*", True), ("/a?", True), ("/plain-1.2+3", False), ("/[]", False), ("/[!]", False)],
)  # fmt: skip
def test_is_glob(text: str, expected: bool) -> None:
    assert is_glob(text) is expected


def test_braces() -> None:
    assert alternatives("/{a,b{c,d}}/{,x}") == ("/a/", "/a/x", "/bc/", "/bc/x", "/bd/", "/bd/x")
    assert alternatives("/{a}{}") == ("/{a}{}",)
    with pytest.raises(ProfileError, match="more than 1000"):
        alternatives("/" + "{a,b}" * 40)


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("/usr/share/doc/**", "/usr/share/doc", False),
        ("/usr/share/doc/**", "/usr/share/doc/a/b", True),
        ("/usr/**/doc", "/usr/doc", True),
        ("/usr/**/doc", "/usr/a/b/doc", True),
        ("/usr/**/doc", "/usrdoc", False),
        ("/usr/*", "/usr/a/b", False),
        ("/usr/[!a]x", "/usr//x", False),
        ("/{usr/,}lib/*.so", "/lib/x.so", True),
        ("/a.c", "/abc", False),
    ],
)
def test_matcher(pattern: str, path: str, expected: bool) -> None:
    assert bool(matcher(pattern).fullmatch(path)) is expected


def test_many_stars_take_no_exponential_time() -> None:
    assert component("*a" * 60 + "b").fullmatch("a" * 250) is None


parts = st.sampled_from(["a", "b", "ab", "*", "?", "a*", "**", "[ab]", "{a,b}", "{ab,*}"])
patterns = st.lists(parts, min_size=1, max_size=4).map(lambda each: "/" + "/".join(each))
paths = st.lists(st.sampled_from(["a", "b", "ab", "c"]), min_size=1, max_size=4).map("/".join)


@settings(max_examples=150, deadline=None)
@given(st.lists(paths, max_size=8), patterns)
def test_the_search_finds_what_the_test_accepts(places: list[str], pattern: str) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        for place in places:
            Path(scratch, place).mkdir(parents=True, exist_ok=True)
        tree = Tree(Path(scratch))
        accepts = matcher(pattern).fullmatch
        expected = sorted(path for path, _ in tree.walk(ROOT) if accepts(path))
        assert list(tree.glob(pattern)) == expected
