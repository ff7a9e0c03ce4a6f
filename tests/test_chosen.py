"""A choice that was written down is read back as it was, with what lstat(2) says now."""

import marshal
from pathlib import Path
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from partialroot.errors import Missing
from partialroot.model import Entry, Layer, Selection, Start, Supplier, ZoneSettings
from partialroot.nodes import NOTHING, Content, FileType, Node, Reason
from partialroot.paths import RootPath
from partialroot.plan.chosen import Chosen, pack, unpack


def nodes() -> st.SearchStrategy[Node]:
    numbers = st.integers(0, 2**63 - 1)
    return st.builds(Node, st.sampled_from(FileType), *[numbers] * 9, st.none() | st.text())


PATHS = st.text(st.characters(blacklist_characters="\0"), max_size=9).map(lambda text: RootPath("/" + text))
SMALL = st.integers(0, 2**63 - 1)


def entries(node: st.SearchStrategy[Node | None]) -> st.SearchStrategy[Entry]:
    reasons = st.lists(st.builds(Reason, st.text(), st.text() | PATHS), max_size=3).map(tuple)
    return st.builds(
        Entry,
        PATHS,
        st.sampled_from(FileType),
        SMALL,
        SMALL,
        SMALL,
        st.sampled_from(Layer),
        reasons,
        SMALL,
        SMALL,
        st.none() | st.text(),
        st.none() | PATHS,
        node,
        st.none() | st.binary(),
    )


TEXTS = st.lists(st.text(), max_size=3).map(tuple)
SELECTIONS = st.builds(
    Selection,
    TEXTS,
    PATHS.map(Path),
    st.text(),
    st.lists(entries(st.none() | nodes()), max_size=4).map(tuple),
    st.lists(st.builds(Missing, st.text(), st.text() | PATHS, st.text(), st.none() | st.text())).map(tuple),
    TEXTS,
    st.lists(PATHS, max_size=2).map(tuple),
    st.builds(
        ZoneSettings,
        st.none() | st.builds(Start, st.text(), TEXTS, st.booleans(), st.booleans()),
        st.text(),
        st.booleans(),
    ),
    views=st.just(NOTHING),
    definitions=st.lists(st.tuples(st.text(), st.text()), max_size=2).map(tuple),
)
XATTRS = st.lists(st.tuples(st.text(), st.binary()), max_size=2).map(tuple)
CHOICES = st.builds(
    Chosen,
    SELECTIONS,
    st.dictionaries(PATHS, st.builds(Content, st.text(), XATTRS, st.booleans()), max_size=3),
    st.dictionaries(PATHS, st.builds(Supplier, st.text(), st.text(), st.text()), max_size=3),
)


class Typed(NamedTuple):
    """A value with its type, and those of what is in it."""

    kind: type
    value: object


def typed(value: object) -> Typed:
    inside: object = value
    if isinstance(value, tuple):
        inside = tuple(map(typed, value))
    elif isinstance(value, dict):
        inside = {key: (typed(key), typed(one)) for key, one in value.items()}
    return Typed(type(value), inside)


@settings(deadline=None)
@given(chosen=CHOICES)
def test_a_choice_is_read_back_as_it_was(chosen: Chosen) -> None:
    seen = {str(number): one.node for number, one in enumerate(chosen.selection.entries) if one.node}
    places = {id(node): place for place, node in seen.items()}
    packed = marshal.loads(marshal.dumps(pack(chosen, lambda node: places[id(node)])))
    again = unpack(packed, lambda place: seen[place])
    assert again == chosen
    plain = [one._replace(reasons=(), node=None) for one in chosen.selection.entries]
    back = [one._replace(reasons=(), node=None) for one in again.selection.entries]
    assert typed(tuple(back)) == typed(tuple(plain))
    assert typed(again.contents) == typed(chosen.contents)
    assert typed(again.suppliers) == typed(chosen.suppliers)
    assert typed(again.selection.settings) == typed(chosen.selection.settings)
    assert typed(again.selection.tops) == typed(chosen.selection.tops)
