"""Edits: drop, then substitute, then append; what does not fit the file is an error."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partialroot.errors import ProfileError
from partialroot.model import EditWish
from partialroot.paths import RootPath
from partialroot.profiles.edits import apply_edit


def edit(
    drop: tuple[str, ...] = (), substitute: tuple[tuple[str, str], ...] = (), append: tuple[str, ...] = ()
) -> EditWish:
    return EditWish(RootPath("/etc/conf"), "x.toml:3", drop, substitute, append)


@pytest.mark.parametrize(
    ("before", "wish", "after"),
    [
        ("a\nb\na\n", edit(drop=("a",)), "b\n"),
        ("a\n", edit(drop=("a",)), ""),
        ("a\n\nb\n", edit(drop=("",)), "a\nb\n"),
        ("a\nb", edit(drop=("a",)), "b"),
        ("a = 1\nb = 1\n", edit(substitute=(("= 1", "= 2"), ("b =", "c ="))), "a = 2\nc = 2\n"),
        ("a\n", edit(append=("b", "b")), "a\nb\nb\n"),
        ("a", edit(append=("b",)), "a\nb\n"),
        ("", edit(append=("",)), "\n"),
        ("a\nb\n", edit(drop=("a",), substitute=(("b", "c"),), append=("a",)), "c\na\n"),
        ("a\r\nb\u2028c\n", edit(drop=("b\u2028c",)), "a\r\n"),
        ("caf\udce9\n", edit(append=("x",)), "caf\udce9\nx\n"),
    ],
)
def test_edits(before: str, wish: EditWish, after: str) -> None:
    assert apply_edit(before, wish) == after


@pytest.mark.parametrize(
    ("before", "wish", "message"),
    [
        ("ab\n", edit(drop=("a",)), "x.toml:3: /etc/conf has no line 'a'"),
        ("a\n", edit(drop=("",)), "/etc/conf has no line ''"),
        ("", edit(drop=("",)), "/etc/conf has no line ''"),
        ("a\n", edit(drop=("a",), substitute=(("a", "b"),)), "/etc/conf does not contain 'a'"),
        ("a" * 1000, edit(substitute=(("a", "b" * 2000),)), "2000000 bytes of text are too much"),
        ("é" * 600_000, edit(append=("x",)), "bytes of text are too much"),
    ],
)
def test_what_does_not_fit(before: str, wish: EditWish, message: str) -> None:
    with pytest.raises(ProfileError) as caught:
        apply_edit(before, wish)
    assert message in str(caught.value)


@given(st.lists(st.text(alphabet="ab \t\r\u2028", max_size=3), min_size=1, max_size=6))
def test_dropping_what_was_appended_gives_the_file_back(lines: list[str]) -> None:
    before = "".join(f"{line}\n" for line in lines)
    grown = apply_edit(before, edit(append=("new line",)))
    assert apply_edit(grown, edit(drop=("new line",))) == before
