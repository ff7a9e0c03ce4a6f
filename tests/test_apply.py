"""A zone is made from a plan, and taken away: what is on disk afterwards is what the plan said."""

import os
from pathlib import Path

import pytest
from moments import descriptors
from needs import needs
from treedump import differences, dump
from zones import REQUEST, site_at, whole_plan

from partialroot.errors import BusyError
from partialroot.zone import apply, receipt
from partialroot.zone.journal import all_intents

pytestmark = needs("root", "mount")


def test_populate_gives_the_source_s_tree(source: Path, store: Path, scratch: Path) -> None:
    before = dump(source)
    site = site_at(store, scratch / "zone")
    made = apply.create(whole_plan(source, store), site, REQUEST, {"ociVersion": "1.0.2"})
    assert differences(before, dump(scratch / "zone/root")) == []
    assert differences(before, dump(source)) == []
    assert receipt.read(scratch / "zone") == made
    assert sorted(os.listdir(scratch / "zone")) == ["config.json", "image", "receipt.json", "root"]
    assert os.lstat(scratch / "zone").st_mode & 0o7777 == 0o700
    assert all_intents(site.store) == ()
    assert [zone.zonepath for zone in site.store.zones()] == [scratch / "zone"]


def test_remove_leaves_nothing(source: Path, store: Path, scratch: Path) -> None:
    site = site_at(store, scratch / "zone")
    before = dump(scratch, times=False)
    made = apply.create(whole_plan(source, store), site, REQUEST, {})
    apply.remove(site, made)
    assert differences(before, dump(scratch, times=False)) == []


def test_no_descriptor_stays_open(source: Path, store: Path, scratch: Path) -> None:
    site = site_at(store, scratch / "zone")
    count = descriptors()
    made = apply.create(whole_plan(source, store), site, REQUEST, {})
    assert apply.update(whole_plan(source, store), site, REQUEST, {"other": 1}, made)
    again = receipt.read(site.zonepath)
    assert again is not None
    assert apply.recover(site) is None
    apply.remove(site, again)
    assert descriptors() == count


def test_directories_made_on_the_way_go_with_the_last_zone(source: Path, store: Path, scratch: Path) -> None:
    sites = [site_at(store, scratch / f"made/zones/{name}") for name in ("one", "two")]
    made = [apply.create(whole_plan(source, store), site, REQUEST, {}) for site in sites]
    assert os.stat(scratch / "made/zones").st_mode & 0o7777 == 0o755
    apply.remove(sites[0], made[0])
    assert os.listdir(scratch / "made/zones") == ["two"]
    apply.remove(sites[1], made[1])
    assert not (scratch / "made").exists()


def test_a_zonepath_that_was_there_stays_without_its_contents(
    source: Path, store: Path, scratch: Path
) -> None:
    (scratch / "zone").mkdir(mode=0o755)
    site = site_at(store, scratch / "zone")
    made = apply.create(whole_plan(source, store), site, REQUEST, {})
    assert os.stat(scratch / "zone").st_mode & 0o7777 == 0o700
    (scratch / "zone/notes of the administrator").touch()
    apply.remove(site, made)
    assert os.listdir(scratch / "zone") == ["notes of the administrator"]


@pytest.mark.parametrize("name", [".partialroot-new", ".partialroot-old"])
def test_another_store_s_unfinished_work_is_left_alone(
    source: Path, store: Path, scratch: Path, name: str
) -> None:
    site = site_at(store, scratch / "zone")
    made = apply.create(whole_plan(source, store), site, REQUEST, {})
    (scratch / "zone" / name).mkdir()
    (scratch / "zone" / name / "of the other").touch()
    before = dump(scratch / "zone")
    for work in (
        lambda: apply.remove(site, made),
        lambda: apply.update(whole_plan(source, store), site, REQUEST, {"other": 1}, made),
    ):
        with pytest.raises(BusyError, match="this store knows nothing of"):
            work()
        assert differences(before, dump(scratch / "zone")) == []
        assert all_intents(site.store) == ()
