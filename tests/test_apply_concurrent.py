"""Two at once: one waits or is told who is first, and nothing is lost between them."""

import multiprocessing
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from bootable import until
from children import beside
from needs import needs
from treedump import differences, dump
from zones import REQUEST, directory, plan_of, site_at, taken, text

from partialroot.errors import BusyError
from partialroot.model import Layer, Method, Plan
from partialroot.zone import apply, fs, previous, receipt
from partialroot.zone.journal import all_intents
from partialroot.zone.store import Store
from partialroot.zone.verify import verify

pytestmark = needs("root", "mount")


@pytest.fixture
def top(tmp_path: Path, mounted: Callable[[Path], Path]) -> Path:
    place = mounted(tmp_path)
    (place / "source/usr").mkdir(parents=True)
    for name in ("a", "b", "c"):
        (place / "source/usr" / name).write_text(name)
    Store(place / "store")
    return place


def plan(top: Path, content: str = "1", names: str = "ab") -> Plan:
    source = top / "source"
    shared = [taken(source, f"/usr/{name}", Layer.SHARED) for name in names]
    shared.append(taken(source, "/usr", Layer.SHARED, Method.MOUNT))
    return plan_of(source, top / "store", [*shared, directory("/etc"), text("/etc/a", content)], ("/usr",))


def populate(top: Path, zone: str, wanted: Plan, wait: float = 300) -> None:
    site = site_at(top / "store", top / zone)
    with site.store.lock_zone(site.zonepath, wait):
        apply.recover(site)
        made = receipt.read(site.zonepath)
        if made is None:
            apply.create(wanted, site, REQUEST, {})
        else:
            apply.update(wanted, site, REQUEST, {}, made)


def remove(top: Path, zone: str, wait: float = 300) -> None:
    site = site_at(top / "store", top / zone)
    with site.store.lock_zone(site.zonepath, wait):
        apply.recover(site)
        made = receipt.read(site.zonepath)
        if made is not None:
            apply.remove(site, made)


def check_consistent(top: Path) -> None:
    """Check that every zone of the register is whole, and that the store holds nothing else."""
    store = Store(top / "store")
    images = set()
    for zone in store.zones():
        made = receipt.read(zone.zonepath)
        assert made is not None
        assert verify(zone.zonepath, made) == []
        assert str(zone.image) == made.image == os.readlink(zone.zonepath / "image")
        images.add(made.digest)
    before = {Path(image).name for image in previous.images(store)}
    assert set(os.listdir(store.images)) == images | before
    assert all_intents(store) == ()
    assert os.listdir(top / "store/locks") == []


def stop_at(effect: str, top: Path) -> None:
    """Stop for good in the place of an effect, and say so."""

    def act(name: str, path: str) -> None:
        if name == effect:
            (top / "stopped").touch()
            os.kill(os.getpid(), 19)

    fs.observe = act


@pytest.mark.parametrize("effect", ["mkdir", "link", "bind", "syncfs"])
def test_the_second_is_told_and_touches_nothing(top: Path, effect: str) -> None:
    with beside(lambda: stop_at(effect, top), lambda: populate(top, "web", plan(top))) as pid:
        until((top / "stopped").exists, "it stops")
        before = dump(top, skip=("/store/locks",))
        with pytest.raises(BusyError, match=f"process {pid} works on it"):
            populate(top, "web", plan(top), wait=0)
        with pytest.raises(BusyError, match=f"process {pid} works on it"):
            remove(top, "web", wait=0)
        assert differences(before, dump(top, skip=("/store/locks",))) == []
    populate(top, "web", plan(top))
    check_consistent(top)


def test_a_dead_builder_of_an_image_holds_nobody_up(top: Path) -> None:
    with beside(lambda: stop_at("link", top), lambda: populate(top, "one", plan(top))):
        until((top / "stopped").exists, "it stops")
    populate(top, "two", plan(top))
    populate(top, "one", plan(top))
    check_consistent(top)
    assert len(Store(top / "store").zones()) == 2


@pytest.mark.parametrize("effect", ["symlink", "syncfs"])
def test_an_image_that_is_about_to_be_used_is_not_released(top: Path, effect: str) -> None:
    """One zone is being made with an image while its only other user goes."""
    populate(top, "old", plan(top))
    with beside(lambda: stop_at(effect, top), lambda: populate(top, "new", plan(top))):
        until((top / "stopped").exists, "it stops")
        remove(top, "old")
        assert len(os.listdir(top / "store/images")) == 1
    site = site_at(top / "store", top / "new")
    with site.store.lock_zone(site.zonepath, 300):
        assert "undone" in str(apply.recover(site))
    check_consistent(top)
    assert os.listdir(top / "store/images") == []


def test_directories_go_with_the_last_zone(top: Path) -> None:
    for name in ("one", "two", "three"):
        populate(top, f"zones/{name}", plan(top))
    for name in ("one", "three", "two"):
        assert (top / "zones").is_dir()
        remove(top, f"zones/{name}")
    assert not (top / "zones").exists()


def test_nothing_is_said_of_a_zone_that_somebody_works_on(top: Path) -> None:
    """Not even that directories go with it: it may be about to go itself."""
    store = Store(top / "store")
    for name in ("zones/one", "zones/two"):
        populate(top, name, plan(top))
    before = store.registered(top / "zones/two")
    with store.lock_zone(top / "zones/two"):
        remove(top, "zones/one")
        assert before and store.registered(before.zonepath) == before


def test_nothing_is_said_of_a_zone_that_went_meanwhile(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(top / "store")
    for name in ("zones/one", "zones/two"):
        populate(top, name, plan(top))
    (top / "zones/mine").mkdir()  # so they stay
    two = store.registered(top / "zones/two")
    monkeypatch.setattr(Store, "zones", lambda _: (two,))
    for name in ("zones/two", "zones/one"):
        remove(top, name)
    assert list(store.each_zone()) == []


def hammer(top: Path, seed: int) -> None:
    """Populate, change and remove three zones in any order, as others do at the same time."""
    choice = random.Random(seed)
    for _ in range(12):
        zone = choice.choice(["x", "y", "z"])
        if choice.random() < 0.3:
            remove(top, zone)
        else:
            populate(top, zone, plan(top, choice.choice("123"), choice.choice(["ab", "bc", "abc"])))


def test_many_at_once_on_the_same_zones_and_images(top: Path) -> None:
    before = dump(top / "source")
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=hammer, args=(top, seed)) for seed in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(300)
    assert [worker.exitcode for worker in workers] == [0] * 4
    check_consistent(top)
    for zone in ("x", "y", "z"):
        remove(top, zone)
    check_consistent(top)
    assert sorted(os.listdir(top)) == ["source", "store"]
    assert differences(before, dump(top / "source")) == []
