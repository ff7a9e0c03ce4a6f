"""The store: whom it trusts, who is in its register, and who holds its locks."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from bootable import PATIENCE, until
from children import as_nobody, beside, in_child
from moments import descriptors
from needs import needs

from partialroot.errors import BusyError, StoreError
from partialroot.zone import fs, store
from partialroot.zone.place import store_path
from partialroot.zone.store import PARTS, Registered, Store

ZONE = Path("/zones/web")


# --- where and whose ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "environment", "expected"),
    [
        ("/o", {"PARTIALROOT_STORE": "/e"}, "/o"),
        (None, {"PARTIALROOT_STORE": "/e/../f"}, "/f"),
        ("relative/store", {}, os.path.abspath("relative/store")),
    ],
)
def test_the_chosen_place(option: str | None, environment: dict[str, str], expected: str) -> None:
    assert str(store_path(option, environment)) == expected


@needs("root")
def test_default_place_of_root() -> None:
    assert str(store_path(None, {"HOME": "/h"})) == "/var/lib/partialroot"


@needs("root")
@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"HOME": "/h"}, "/h/.local/share/partialroot"),
        ({"HOME": "/h", "XDG_DATA_HOME": "/x"}, "/x/partialroot"),
    ],
)
def test_default_places_of_a_user(environment: dict[str, str], expected: str) -> None:
    assert str(in_child(as_nobody, lambda: store_path(None, environment))) == expected


def test_it_is_made_private_with_what_is_missing_above(tmp_path: Path) -> None:
    Store(tmp_path / "a/b/store")
    Store(tmp_path / "a/b/store")
    for path in (tmp_path / "a", *(tmp_path / "a/b/store" / part for part in PARTS)):
        assert os.stat(path).st_mode & 0o7777 == 0o700


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o600, 0o1777])
@pytest.mark.parametrize("part", ["", "images", "journal"])
def test_one_that_others_may_enter_is_refused(tmp_path: Path, mode: int, part: str) -> None:
    Store(tmp_path / "store")
    (tmp_path / "store" / part).chmod(mode)
    with pytest.raises(StoreError, match=f"has mode {mode:04o}") as refusal:
        Store(tmp_path / "store")
    assert refusal.value.hint == f"chmod 0700 {tmp_path / 'store' / part}"
    assert refusal.value.code == 2


def test_a_setgid_parent_makes_no_difference(tmp_path: Path) -> None:
    tmp_path.chmod(0o2755)
    Store(tmp_path / "a/store")
    assert os.stat(tmp_path / "a/store").st_mode & 0o7777 == 0o700


@pytest.mark.parametrize("part", ["", "zones"])
def test_a_symlink_is_refused(tmp_path: Path, part: str) -> None:
    Store(tmp_path / "store")
    os.rename(tmp_path / "store" / part, tmp_path / "real")
    (tmp_path / "store" / part).symlink_to(tmp_path / "real")
    with pytest.raises(StoreError, match="is a symlink"):
        Store(tmp_path / "store")


@needs("root")
def test_somebody_else_s_is_refused(tmp_path: Path) -> None:
    Store(tmp_path / "store")
    os.chown(tmp_path / "store", 33, 33)
    with pytest.raises(StoreError, match="belongs to user 33"):
        Store(tmp_path / "store")


def test_what_is_no_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store").touch()
    with pytest.raises(StoreError, match="is not a directory"):
        Store(tmp_path / "store")
    with pytest.raises(StoreError, match="Not a directory"):
        Store(tmp_path / "store/below")


# --- the register -------------------------------------------------------------------------------------


def test_the_register_says_what_was_written(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    odd = Path(os.fsdecode(b"/zones/\xe9 \n"))
    zones = [Registered(odd, None, ()), Registered(ZONE, Path("/s/images/d"), (Path("/zones"), ZONE))]
    for zone in zones:
        store.register(zone)
    assert store.zones() == tuple(sorted(zones, key=lambda zone: zone.zonepath))
    assert store.registered(ZONE) == zones[1]
    store.register(Registered(ZONE, None, ()))
    assert store.registered(ZONE) == Registered(ZONE, None, ())
    store.unregister(ZONE)
    store.unregister(ZONE)
    assert store.registered(ZONE) is None
    assert store.zones() == (zones[0],)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"zonepath": 1, "made": [], "image": null}', b"[" * 99999]
)
def test_a_broken_entry_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    store = Store(tmp_path / "store")
    store.register(Registered(ZONE, None, ()))
    [entry] = (tmp_path / "store/zones").iterdir()
    entry.write_bytes(content)
    with pytest.raises(StoreError, match="register cannot be read"):
        store.zones()


@pytest.mark.parametrize("odd", [Path.mkdir, lambda path: path.symlink_to("/etc/passwd")])
def test_what_is_no_entry_is_named(tmp_path: Path, odd: Callable[[Path], None]) -> None:
    store = Store(tmp_path / "store")
    odd(store.root / "zones/odd")
    with pytest.raises(StoreError, match="register cannot be read: ") as caught:
        store.zones()
    assert caught.value.path == str(store.root / "zones/odd")


# --- locks --------------------------------------------------------------------------------------------


def hold(root: Path) -> None:
    with Store(root).lock_zone(ZONE):
        (root.parent / "held").touch()
        time.sleep(1000)


def test_the_second_is_told_who_is_first(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with beside(lambda: None, lambda: hold(tmp_path / "store")) as pid:
        until((tmp_path / "held").exists, "it is held")
        with pytest.raises(BusyError, match=f"process {pid} works on it") as refusal, store.lock_zone(ZONE):
            pass
        assert (refusal.value.code, refusal.value.path) == (3, str(ZONE))
        with store.lock_zone(Path("/zones/other")):
            pass


def test_waiting_has_an_end(tmp_path: Path) -> None:
    with beside(lambda: None, lambda: hold(tmp_path / "store")):
        until((tmp_path / "held").exists, "it is held")
        started = time.monotonic()
        with pytest.raises(BusyError), Store(tmp_path / "store").lock_zone(ZONE, wait_seconds=0.2):
            pass
        assert 0.2 <= time.monotonic() - started < PATIENCE


def test_a_dead_owner_s_lock_is_free(tmp_path: Path) -> None:
    with beside(lambda: None, lambda: hold(tmp_path / "store")) as pid:
        until((tmp_path / "held").exists, "it is held")
        os.kill(pid, signal.SIGKILL)
        with Store(tmp_path / "store").lock_zone(ZONE, wait_seconds=PATIENCE):
            pass
    assert list((tmp_path / "store/locks").iterdir()) == []


def test_a_lock_is_free_after_a_failure(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with pytest.raises(ZeroDivisionError), store.lock_zone(ZONE):
        raise ZeroDivisionError
    with store.lock_zone(ZONE):
        pass
    assert list((tmp_path / "store/locks").iterdir()) == []


def count_up(root: Path, times: int) -> None:
    """Add to a number in a file, with no other protection than the lock."""
    store = Store(root)
    for _ in range(times):
        with store.lock_zone(ZONE, wait_seconds=PATIENCE):
            number = int((root / "number").read_text())
            time.sleep(0.0005)
            (root / "number").write_text(str(number + 1))


def test_only_one_at_a_time(tmp_path: Path) -> None:
    root = tmp_path / "store"
    Store(root)
    (root / "number").write_text("0")
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=count_up, args=(root, 25)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(PATIENCE)
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert (root / "number").read_text() == "100"


def test_a_lock_whose_file_its_last_owner_removed_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between our open and our lock the owner goes, and takes the file along."""
    opened = Store(tmp_path / "store")
    lock = store._try_lock

    def removed_meanwhile(fd: int) -> bool:
        monkeypatch.setattr(store, "_try_lock", lock)
        [name] = os.listdir(tmp_path / "store/locks")
        (tmp_path / "store/locks" / name).unlink()
        return lock(fd)

    monkeypatch.setattr(store, "_try_lock", removed_meanwhile)
    with opened.lock_zone(ZONE), pytest.raises(BusyError), opened.lock_zone(ZONE):
        pass


def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    count = descriptors()
    opened = Store(tmp_path / "a/b/store")
    with opened.lock_zone(ZONE), pytest.raises(BusyError), opened.lock_zone(ZONE, wait_seconds=0.1):
        pass
    assert opened.zones() == ()
    assert descriptors() == count


def test_a_lock_needs_no_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk the owner cannot leave its number; it holds the lock all the same."""

    def full(name: str, path: str) -> None:
        if name == "write":
            raise OSError(28, "No space left on device")

    store = Store(tmp_path / "store")
    monkeypatch.setattr(fs, "observe", full)
    with store.lock_zone(ZONE), pytest.raises(BusyError, match="process unknown"), store.lock_zone(ZONE):
        pass
