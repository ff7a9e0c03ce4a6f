"""A journal is read as if somebody else had written it: it is what it was, or one sentence of refusal."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partialroot.errors import BusyError
from partialroot.paths import RootPath
from partialroot.zone import journal
from partialroot.zone.journal import Binds, Intent, Stamp, Step, Touched
from partialroot.zone.store import Store, zone_key

letters = st.sampled_from(["a", "..", "\n", "\udce9", "\u20ac", '"'])
names = st.lists(letters, min_size=1, max_size=3).map("".join).filter(lambda name: name != "..")
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
stamps = st.builds(
    Stamp,
    st.integers(0, 0o7777),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(-(2**63), 2**63 - 1),
)
images = st.none() | paths.map("/".__add__)
binds = st.none() | st.builds(
    Binds, paths.map("/".__add__), st.lists(paths.map(lambda one: RootPath(f"/{one}")), max_size=2).map(tuple)
)
intents = st.builds(
    Intent,
    verb=st.sampled_from(["populate", "remove"]),
    zonepath=paths.map("/".__add__),
    before=st.none() | st.binary(min_size=32, max_size=32).map(bytes.hex),
    steps=st.lists(st.builds(Step, paths, st.booleans(), st.booleans()), max_size=3).map(tuple),
    touched=st.lists(st.builds(Touched, paths | st.just("."), stamps, stamps), max_size=3).map(tuple),
    made=st.lists(paths.map("/".__add__), max_size=2).map(tuple),
    binds_before=binds,
    binds_after=binds,
    image_before=images,
    image_after=images,
    images_dropped=st.lists(paths.map("/".__add__), max_size=2).map(tuple),
)
EXAMPLE = Intent("populate", "/zones/web", None, (Step("root", False, True),), image_after="/s/images/d")


@given(intents)
def test_what_is_written_is_read(intent: Intent) -> None:
    assert journal.load(journal.dump(intent), "journal") == intent


@given(
    st.binary(max_size=100)
    | st.lists(st.none() | st.text(max_size=9)).map(lambda one: json.dumps(one).encode())
)
def test_anything_else_is_one_sentence(data: bytes) -> None:
    with pytest.raises(BusyError, match="the journal of earlier work cannot be read"):
        journal.load(data, "journal")


def changed(**values: Any) -> bytes:
    return json.dumps({**json.loads(journal.dump(EXAMPLE)), **values}).encode()


@pytest.mark.parametrize(
    "data",
    [
        changed(format=2),
        changed(extra=1),
        changed(steps=[["../etc", True, True]]),
        changed(steps=[["root/../../etc", True, True]]),
        changed(steps=[["/etc", True, True]]),
        changed(steps=[["", True, True]]),
        changed(steps=[["root", 1, True]]),
        changed(steps=[["root", True]]),
        changed(steps={"root": 1}),
        changed(touched=[["..", [0, 0, 0, 0], [0, 0, 0, 0]]]),
        changed(touched=[["root", [-1, 0, 0, 0], [0, 0, 0, 0]]]),
        changed(touched=[["root", [0o10000, 0, 0, 0], [0, 0, 0, 0]]]),
        changed(before="x"),
        changed(binds_after=["/image", ["usr"]]),
        changed(zonepath="/a\0b"),
        b"[" * 100_000,
        b"",
    ],
)
def test_what_could_lead_elsewhere_is_refused(data: bytes) -> None:
    with pytest.raises(BusyError) as caught:
        journal.load(data, "/store/journal/x")
    assert (caught.value.code, caught.value.path) == (3, "/store/journal/x")
    assert len(str(caught.value)) < 1000


def test_in_the_store(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    zonepath = Path(EXAMPLE.zonepath)
    assert journal.read(store, zonepath) is None
    journal.write(store, [EXAMPLE])
    assert journal.read(store, zonepath) == EXAMPLE
    assert journal.all_intents(store) == (EXAMPLE,)
    assert EXAMPLE.images == {"/s/images/d"}
    journal.erase(store, [zonepath])
    journal.erase(store, [zonepath])
    assert journal.all_intents(store) == ()


def test_of_a_batch_each_zone_has_a_name_of_one_file(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    batch = [EXAMPLE._replace(zonepath=f"/zones/{number}") for number in range(3)]
    journal.write(store, batch)
    assert {file.stat().st_nlink for file in (tmp_path / "store/journal").iterdir()} == {3}
    assert [journal.read(store, intent.place) for intent in batch] == batch
    journal.erase(store, [batch[0].place])
    assert journal.read(store, batch[0].place) is None
    assert sorted(journal.all_intents(store)) == batch[1:]
    again = batch[0]._replace(verb="remove")
    journal.write(store, [again])
    assert sorted(journal.all_intents(store)) == sorted([again, *batch[1:]])


def test_a_journal_of_another_zone_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    journal.write(store, [EXAMPLE])
    place = tmp_path / "store/journal"
    (place / zone_key(EXAMPLE.place)).rename(place / zone_key(Path("/zones/other")))
    with pytest.raises(BusyError, match="another zone's"):
        journal.read(store, Path("/zones/other"))
