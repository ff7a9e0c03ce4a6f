"""Every key and array element is found on its line; the oracle is tomllib and marks in the text."""

import tomllib
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from partialroot.errors import ProfileError
from partialroot.profiles.positions import Path, positions

EXAMPLE = '''# a comment with "quotes" and [brackets]
summary = "x # y"
files = [   # nothing "here
  "/a",     # ]
  """/b
q""", '/c',
]
modules = { pam = ["login"], nss = [ "x",
 "y"] }
[directories."/srv/www"]
mode = "0755"
a.b . "c d" = 1979-05-27 07:32:00
[[x]]
a = 1
[[x]]
a = 2
[x.y]
z = \'\'\'
]\'\'\'\'\'
q = """[\\"""""
last = 3
'''


def test_example() -> None:
    lines = positions(EXAMPLE, "x.toml")
    assert lines["summary",] == 2
    assert [lines["files", i] for i in range(3)] == [4, 5, 6]
    assert [lines["modules", "nss", i] for i in range(2)] == [8, 9]
    assert lines["directories", "/srv/www"] == 10
    assert lines["directories", "/srv/www", "a", "b", "c d"] == 12
    assert [lines["x", i, "a"] for i in range(2)] == [14, 16]
    assert lines["x", 1, "y", "z"] == 18
    assert lines["x", 1, "y", "last"] == 21


DEEP = ["a=" + "[" * 100_000, ".".join("a" * 100_000) + "=1", "a=" + "{b=" * 10_000]


@pytest.mark.parametrize("text", DEEP)
def test_deep_nesting_is_refused_at_once(text: str) -> None:
    with pytest.raises(ProfileError, match=r"x\.toml:3: nested deeper"):
        positions("\n\n" + text, "x.toml")


@pytest.mark.parametrize(
    "text", ['a="' + "x" * 999_999, 'a="""' + '"\\n' * 333_333, "#\n" * 500_000, '"\\' * 500_000]
)
def test_broken_texts_take_linear_time(text: str) -> None:
    assert positions(text, "x.toml").keys() <= {("a",)}


# --- random documents -------------------------------------------------------------------------------

BLANKS = st.sampled_from(["", " ", "\t"])
GAPS = st.sampled_from(["", " ", "\n", "\r\n", " # a \"comment\" ] } '''\n", "\n\n  "])
KEYS = st.sampled_from(["a", "b", "c-1", '"d.e"', "'f # ['", '"g \\" \\u00e9"', '""'])
DOTTED = st.builds(
    lambda parts, blank: f"{blank}.{blank}".join(parts), st.lists(KEYS, min_size=1, max_size=3), BLANKS
)
MARK = "v0v"
STRINGS = st.sampled_from(
    [
        f'"{MARK}"',
        f"'{MARK} ] # '",
        f'"""{MARK}\n"" ] \\""""""',
        f"'''{MARK}\n\\ '' = ''''",
        f'"{MARK} \\\\"',
    ]
)
OTHERS = st.sampled_from(["1", "-1e5", "true", "1979-05-27 07:32:00", "07:32:00", "inf"])


def _array(parts: list[str], gap: str, comma: str) -> str:
    return f"[{gap}" + f"{gap},{gap}".join(parts) + (f"{gap}{comma}" if parts else "") + f"{gap}]"


def _inline(pairs: list[tuple[str, str]], blank: str) -> str:
    return "{" + f"{blank},{blank}".join(f"{key}{blank}={blank}{value}" for key, value in pairs) + "}"


VALUES = st.recursive(
    STRINGS | OTHERS,
    lambda inner: st.one_of(
        st.builds(_array, st.lists(inner, max_size=4), GAPS, st.sampled_from(["", ","])),
        st.builds(
            _inline, st.lists(st.tuples(DOTTED, inner), max_size=3, unique_by=lambda pair: pair[0]), BLANKS
        ),
    ),
    max_leaves=6,
)
STATEMENTS = st.one_of(
    st.builds(lambda key, blank, value: f"{blank}{key}{blank}={blank}{value}", DOTTED, BLANKS, VALUES),
    st.builds(lambda key, blank: f"[{blank}{key}{blank}]", DOTTED, BLANKS),
    st.builds(lambda key, blank: f"[[{blank}{key}{blank}]]", DOTTED, BLANKS),
)
ENDS = st.sampled_from(["\n", "\r\n", " # '''\n", "\n\n"])


@st.composite
def documents(draw: st.DrawFn) -> str:
    """Return a TOML text that tomllib accepts; each string begins with a mark of its own."""
    text = ""
    for statement in draw(st.lists(STATEMENTS, max_size=8)):
        longer = text + statement + draw(ENDS)
        try:
            tomllib.loads(longer)
        except tomllib.TOMLDecodeError:
            continue
        text = longer
    first, *rest = text.split(MARK)
    return first + "".join(f"v{i}v{part}" for i, part in enumerate(rest))


def leaves(value: object, path: Path = ()) -> Iterator[tuple[Path, object]]:
    """Yield every value of a document but the top, with its path."""
    if path:
        yield path, value
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from leaves(inner, (*path, index))


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(documents())
def test_every_value_is_found_on_its_line(text: str) -> None:
    lines = positions(text, "x.toml")
    written = text.split("\n")
    for path, value in leaves(tomllib.loads(text)):
        assert path in lines
        if isinstance(value, str):
            assert value.split("v")[1].join("vv") in written[lines[path] - 1]


@settings(max_examples=400, deadline=None)
@given(st.text(alphabet="ab=.,[]{}\"'\\#\n\r \t1-", max_size=60))
def test_whatever_tomllib_accepts_has_places(text: str) -> None:
    lines = positions(text, "x.toml")
    with suppress(tomllib.TOMLDecodeError):
        assert {path for path, _ in leaves(tomllib.loads(text))} <= lines.keys()
