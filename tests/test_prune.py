"""prune: what nobody needs goes, with the bytes that it frees; what is used, or will be, never does."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from killing import Running, begin, run, stopped_at, warm_up
from needs import needs
from places import Place
from sources import write
from treedump import differences, dump
from zones import directory, plan_of, taken

from partialroot.errors import BusyError
from partialroot.model import Layer
from partialroot.zone import image, pruning, uses
from partialroot.zone.store import Registered, Store, zone_key

pytestmark = needs("root", "mount")

STEP = 2
"""Every second effect of a command meets another command here."""

EMPTY: dict[str, list[Any]] = {"images": [], "leftovers": [], "stale": []}


@pytest.fixture
def place(tmp_path: Path, mounted: Callable[..., Path]) -> Iterator[Place]:
    """A zone that was refreshed: there is an image of then, too."""
    warm_up()
    made = Place(mounted(tmp_path, "-o", "mode=0755"), "rollback")
    made.prepare()
    yield made
    made.clear()


def pruned(place: Place, *words: str) -> dict[str, Any]:
    done = run("prune", *words, "--json", "--store", place.store)
    assert done.code == 0, done.err
    document: dict[str, Any] = json.loads(done.out)
    return document


def images(place: Place) -> set[str]:
    return set(os.listdir(place.store / "images"))


def orphan(place: Place, content: str = "of nobody") -> Path:
    """Have an image that no zone uses, with a file of its own and one of the source."""
    write(place.source / "usr/bin/orphan", content, 0o755)
    shared = [taken(place.source, f"/usr/bin/{name}", Layer.SHARED) for name in ("orphan", "other")]
    tops = [directory("/usr", layer=Layer.SHARED), directory("/usr/bin", layer=Layer.SHARED)]
    plan = plan_of(place.source, place.store, [*tops, *shared], ("/usr",))
    made = image.ensure_image(plan, Store(place.store))
    (place.source / "usr/bin/orphan").unlink()
    return made.path


def age(path: Path) -> Path:
    """Let a path be old enough to have been left behind."""
    old = time.time() - 2 * pruning.OLD_SECONDS
    os.utime(path, (old, old), follow_symlinks=False)
    return path


# --- images ---------------------------------------------------------------------------------------------


def test_what_is_used_or_could_be_gone_back_to_stays(place: Place) -> None:
    before = images(place)
    assert len(before) == 2
    assert {key: pruned(place)[key] for key in (*EMPTY, "bytes", "changed")} == {
        **EMPTY,
        "bytes": 0,
        "changed": False,
    }
    assert images(place) == before
    assert run("rollback", place.zone, "--store", place.store).code == 0


def test_an_image_of_nobody_goes(place: Place) -> None:
    gone = orphan(place)
    before, said = dump(place.store), pruned(place, "-n")
    assert [one["path"] for one in said["images"]] == [str(gone)] and said["changed"]
    assert differences(before, dump(place.store)) == []
    assert pruned(place) == said
    assert gone.name not in images(place)
    assert not pruned(place)["changed"]
    assert run("verify", place.zone, "--store", place.store).code == 0


def test_what_zones_could_go_back_to_is_given_up_when_that_is_said(place: Place) -> None:
    before = images(place)
    said = pruned(place, "-n", "--previous")
    assert len(said["images"]) == 1 and images(place) == before
    assert pruned(place, "--previous")["images"] == said["images"]
    assert len(images(place)) == 1
    assert run("rollback", place.zone, "--store", place.store).code == 2
    assert run("verify", place.zone, "--store", place.store).code == 0


def test_an_image_that_is_mounted_somewhere_stays(place: Place) -> None:
    shown = orphan(place)
    with mounted_at(shown / "usr", place.top / "elsewhere"):
        assert not pruned(place)["images"]
    assert [one["path"] for one in pruned(place)["images"]] == [str(shown)]


@contextmanager
def mounted_at(what: Path, at: Path) -> Iterator[None]:
    at.mkdir()
    subprocess.run(["mount", "--bind", what, at], check=True)
    yield
    subprocess.run(["umount", at], check=True)


def test_an_image_that_only_a_zonepath_points_to_stays(place: Place) -> None:
    """The register has another one: it was written by an older command, or restored from a copy."""
    kept = orphan(place)
    store = Store(place.store)
    other = place.zone.parent / "other"
    other.mkdir()
    (other / "image").symlink_to(kept)
    store.register(Registered(other, None, ()))
    assert not pruned(place)["images"]
    store.unregister(other)
    assert len(pruned(place)["images"]) == 1


def test_who_cannot_be_asked_may_use_it(place: Place) -> None:
    kept = orphan(place)
    (place.store / "journal/broken").write_text("{")
    assert uses.is_used(Store(place.store), kept)
    done = run("prune", "--store", place.store)
    assert kept.exists(), done
    (place.store / "journal/broken").unlink()


# --- bytes ----------------------------------------------------------------------------------------------


@needs("ext4")
def test_the_bytes_are_those_that_the_disk_gets_back(loop_fs: Callable[..., Path]) -> None:
    """Files that the source has still free nothing; what two unused images share is freed once."""
    top = loop_fs("ext4", "32M")
    store = Store(top / "store")
    source = top / "source"
    write(source / "usr/kept", "k" * 500_000, 0o644)
    write(source / "usr/shared", "s" * 300_000, 0o644)
    for number in range(2):
        write(source / "usr/own", str(number) * 200_000, 0o644)
        actions = [taken(source, f"/usr/{name}", Layer.SHARED) for name in ("kept", "shared", "own")]
        actions.append(directory("/usr", layer=Layer.SHARED))
        image.ensure_image(plan_of(source, store.root, actions, ("/usr",)), store)
        (source / "usr/own").unlink()
    (source / "usr/shared").unlink()
    shown = json.loads(run("prune", "-n", "--json", "--store", store.root).out)
    before = _free(top)
    done = json.loads(run("prune", "--json", "--store", store.root).out)
    assert abs((_free(top) - before) - done["bytes"]) <= 16_384  # what the journal and directories take
    assert done["bytes"] == shown["bytes"]
    assert 700_000 < done["bytes"] < 800_000
    assert (
        sum(one["bytes"] for one in shown["images"]) < shown["bytes"]
    )  # alone, neither frees what both have
    assert sum(one["bytes"] for one in done["images"]) == done["bytes"]


def _free(path: Path) -> int:
    subprocess.run(["sync", "--file-system", path], check=True)
    found = os.statvfs(path)
    return found.f_bfree * found.f_frsize


# --- what was left behind -------------------------------------------------------------------------------


def leftovers(place: Place) -> list[Path]:
    store = place.store
    (store / "images" / f".new-{'a' * 64}/usr").mkdir(parents=True)
    (store / "images" / f".old-{'b' * 64}-1234").mkdir()
    files = [store / "journal/0123456789abcdef.new", store / "zones/0123456789abcdef.new"]
    files.append(store / f"zones/{zone_key(place.zone)}.new")
    files.append(store / "locks/zone-0123456789abcdef")
    for file in files:
        age(_written(file))
    for name in ("0123456789abcdef", "0123456789abcdef.new"):
        (store / "previous" / name / "root").mkdir(parents=True)
        files.append(age(store / "previous" / name))
    return [*sorted((store / "images").glob(".[no]*")), *files]


def _written(path: Path) -> Path:
    path.write_text("?")
    return path


def test_what_dead_processes_left_goes(place: Place) -> None:
    left = leftovers(place)
    before = dump(place.store, times=False)
    shown = pruned(place, "-n")
    assert {Path(one["path"]) for one in shown["leftovers"]} == set(left)
    assert differences(before, dump(place.store, times=False)) == []
    assert pruned(place) == shown
    assert not [path for path in left if path.exists()]
    assert pruned(place)["leftovers"] == []
    assert run("verify", place.zone, "--store", place.store).code == 0
    assert run("rollback", place.zone, "--store", place.store).code == 0


def test_what_is_young_or_locked_stays(place: Place) -> None:
    young = [_written(place.store / "zones/0123456789abcdef.new"), _written(place.store / "locks/zone-1")]
    held = age(_written(place.store / "locks/zone-fedcba9876543210"))
    half = age(_written(place.store / "journal/fedcba9876543210.new"))
    with open(held) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert pruned(place)["leftovers"] == []
    assert all(path.exists() for path in (*young, held, half))
    gone = {Path(one["path"]) for one in pruned(place)["leftovers"]}
    assert gone == {held, half}


def test_an_interrupted_change_keeps_what_it_needs(place: Place) -> None:
    """What a killed rollback had written of the state before is no leftover while its journal is there."""
    points = run("rollback", place.zone, "--store", place.store).points
    move = max(number for number, point in enumerate(points) if point[0] == "move_mount")
    place.prepare()
    with stopped_at(move, "rollback", place.zone, "--store", place.store):
        pass
    for path in (place.store / "previous").iterdir():
        age(path)
    before = images(place)
    pruned(place)
    assert images(place) == before
    assert "an interrupted rollback was undone" in run("verify", place.zone, "--store", place.store).err
    assert run("rollback", place.zone, "--store", place.store).code == 0


def test_zones_that_are_not_there_are_told(place: Place) -> None:
    shutil.rmtree(place.top / "away", ignore_errors=True)
    assert run("unmount", place.zone, "--store", place.store).code == 0
    place.zone.rename(place.top / "away")
    said = pruned(place)
    assert [one["path"] for one in said["stale"]] == [str(place.zone)]
    assert said["images"] == []  # it may be on a disk that is not there today
    assert said["stale"][0]["hint"].endswith(f": partialroot remove {place.zone}")
    place.zone.mkdir()  # somebody's, of something else
    (entry,) = (place.store / "zones").iterdir()
    assert pruned(place)["stale"][0]["hint"].endswith(f": rm {entry}")
    assert run("remove", place.zone, "--store", place.store).code == 2
    place.zone.rmdir()
    (place.top / "away").rename(place.zone)
    assert pruned(place)["stale"] == []


def test_a_zone_that_was_deleted_by_hand_is_removed(place: Place) -> None:
    """Nothing of it stays: not what it was before, nor its images."""
    assert run("unmount", place.zone, "--store", place.store).code == 0
    shutil.rmtree(place.zone)
    status = run("status", "--all", "--store", place.store)
    assert status.code == 5 and "nothing any more at its place" in status.out
    done = run("remove", "--all", "--store", place.store)
    assert done.code == 0, done.err
    assert f"{place.zone}: removed" in done.out and "it is forgotten" in done.err
    assert {name for name in images(place) if not name.startswith(".")} == set()
    assert {part: os.listdir(place.store / part) for part in ("zones", "previous", "journal")} == {
        "zones": [],
        "previous": [],
        "journal": [],
    }
    assert run("remove", place.zone, "--store", place.store).code == 2


def test_a_zone_that_the_register_lost_is_in_it_again(place: Place) -> None:
    """Else its image would be nobody's as soon as it is not mounted."""
    (entry,) = (place.store / "zones").iterdir()
    entry.unlink()
    assert json.loads(run("status", "--all", "--json", "--store", place.store).out)["zones"] == []
    done = run(*place.populating("web.toml"))
    assert done.code == 0 and "nothing to do" in done.out, done.err
    assert run("unmount", place.zone, "--store", place.store).code == 0
    pruned(place)
    assert (place.zone / "image").is_dir()
    assert str(place.zone) in run("status", "--all", "--store", place.store).out


def edited(file: Path, **fields: object) -> None:
    """Write a document of ours anew, with other values."""
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


def by_receipt(place: Place, victim: Path) -> None:
    edited(place.zone / "receipt.json", image=str(victim))


def by_register(place: Place, victim: Path) -> None:
    edited(place.store / "zones" / zone_key(place.zone), image=str(victim), staged=str(victim))


def by_what_was_before(place: Place, victim: Path) -> None:
    pointer = place.store / "previous" / zone_key(place.zone) / "image"
    pointer.unlink()
    pointer.symlink_to(victim)


@pytest.mark.parametrize("name", ["etc", "0" * 64])
@pytest.mark.parametrize("named", [by_receipt, by_register, by_what_was_before])
def test_what_is_no_image_stays_whatever_names_it(
    place: Place, named: Callable[[Place, Path], None], name: str
) -> None:
    victim = place.top / "victim" / name
    write(victim / "manifest.json", "the host's", 0o644)
    before = dump(victim.parent)
    named(place, victim)
    for words in (place.populating("old.toml"), ("remove", place.zone, "--store", place.store)):
        run(*words)
        assert dump(victim.parent) == before
    assert not place.zone.exists()
    pruned(place)
    assert {one for one in images(place) if not one.startswith(".")} == set()
    assert dump(victim.parent) == before


def test_zones_are_looked_at_where_nothing_can_be_written(place: Place) -> None:
    """As it is once the store's disk has failed. What was interrupted there nobody can put in order."""

    def have(how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", store], check=True)

    store = place.top / "store2"  # which the place unmounts
    store.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0700", "none", store], check=True)
    zone, options = place.top / "made/zones/other", ("--source", place.source, "--store", store)
    assert run("populate", zone, place.top / "old.toml", *options).code == 0
    have("ro")
    for verb in ("verify", "audit", "status"):
        done = run(verb, "--all", "--store", store)
        assert done.code == 0 and str(zone) in done.out, done.err
    assert "Read-only file system" in run("unmount", "--all", "--store", store).err
    have("rw")
    (store / "journal" / zone_key(zone)).touch()
    have("ro")
    assert "Read-only file system" in run("verify", "--all", "--store", store).err
    have("rw")
    (store / "journal" / zone_key(zone)).unlink()
    assert run("remove", "--all", "--store", store).code == 0


# --- homes that stores share ----------------------------------------------------------------------------


def test_an_image_beside_the_files_is_asked_of_each_store(place: Place) -> None:
    """Images at a mount's top may be those of another store: a store that is not there keeps all."""
    home = place.top / ".partialroot/images"
    stores = [Store(place.top / name) for name in ("one", "two")]
    shared = [taken(place.source, "/usr", Layer.SHARED), taken(place.source, "/usr/bin", Layer.SHARED)]
    plan = plan_of(place.source, stores[0].root, shared, ("/usr",))._replace(image_home=home)
    made = image.ensure_image(plan, stores[0]).path
    assert image.ensure_image(plan, stores[1]).path == made
    zone = Registered(place.top / "zone", made, ())
    stores[1].register(zone)
    assert not image.release_image(stores[0], made)
    (place.top / "two").rename(place.top / "away")
    assert json.loads(run("prune", "--json", "--store", stores[0].root).out)["images"] == []
    stale = json.loads(run("prune", "--json", "--store", stores[0].root).out)["stale"]
    assert [Path(one["path"]).parent for one in stale] == [home]
    (place.top / "away").rename(place.top / "two")
    stores[1].unregister(zone.zonepath)
    done = json.loads(run("prune", "--json", "--store", stores[0].root).out)
    assert [one["path"] for one in done["images"]] == [str(made)]
    assert sorted(name for name in os.listdir(home) if not name.startswith(".store-")) == []


def test_two_stores_wait_for_each_other_at_a_shared_home(place: Place) -> None:
    home = place.top / ".partialroot/images"
    home.mkdir(parents=True)
    one, two = (Store(place.top / name) for name in ("one", "two"))
    with one.lock_image(home, "d"), pytest.raises(BusyError), two.lock_image(home, "d", wait_seconds=0):
        pass
    assert os.listdir(home) == []


# --- races ----------------------------------------------------------------------------------------------


def populate_words(place: Place) -> tuple[str | Path, ...]:
    options = ("--source", place.source, "--store", place.store)
    return ("populate", place.zone.parent / "new", place.top / "old.toml", *options)


def leave_unused(place: Place) -> None:
    """Leave the image that a new zone would have, of no zone."""
    new = place.zone.parent / "new"
    if not new.exists():
        assert run(*populate_words(place)).code == 0
    kept = place.store / "images" / next(iter(images(place)))
    subprocess.run(["cp", "-al", kept, place.top / "copy"], check=True)
    assert run("remove", new, "--store", place.store).code == 0
    (place.top / "copy").rename(kept)


def finished(running: Running) -> None:
    os.kill(running.pid, signal.SIGCONT)
    ran = running.end()
    assert ran.code == 0, ran.err


@pytest.mark.kill
def test_prune_while_a_zone_is_made_at_each_of_its_steps(place: Place) -> None:
    """The image that a new zone will have is there, or is built; it is never taken from under it."""
    new = place.zone.parent / "new"
    words = populate_words(place)
    assert run("remove", place.zone, "--store", place.store).code == 0
    leave_unused(place)
    points = run(*words).points
    locked = next(number for number, point in enumerate(points) if "zone-" in point[1])
    for number in range(locked, len(points), STEP):
        leave_unused(place)
        with stopped_at(number, *words) as making:
            assert run("prune", "--store", place.store).code == 0
            finished(making)
        done = run("verify", new, "--store", place.store)
        assert done.code == 0, (points[number], done.out)
        assert (new / "root/usr/bin/tool").exists(), points[number]


@pytest.mark.kill
def test_a_zone_is_made_while_prune_removes_its_image_at_each_step(place: Place) -> None:
    """A new zone waits for the image's lock, then builds what prune took; or prune leaves what it uses."""
    new = place.zone.parent / "new"
    assert run("remove", place.zone, "--store", place.store).code == 0
    leave_unused(place)
    points = run("prune", "--store", place.store).points
    assert images(place) == set()
    assert len(points) > 10
    for number in range(0, len(points), STEP):
        leave_unused(place)
        with stopped_at(number, "prune", "--store", place.store) as pruning_one:
            making = begin(*populate_words(place))
            time.sleep(0.02)  # so that it meets the lock, now and then
            finished(pruning_one)
            ran = making.end()
            assert ran.code == 0, (points[number], ran.err)
        done = run("verify", new, "--store", place.store)
        assert done.code == 0, (points[number], done.out)


def test_without_a_store(place: Place) -> None:
    assert run("prune", "--store", place.top / "none").code == 2
    assert run("remove", "--all", "--store", place.top / "none").code == 0
    assert not (place.top / "none").exists()
