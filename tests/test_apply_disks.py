"""Real disks that are full, read-only, elsewhere, or out of links: one sentence, and all is as before."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from needs import needs
from spaces import LoopFs, mounts_below
from treedump import differences, dump
from zones import REQUEST, directory, plan_of, site_at, taken, text, whole_plan

from partialroot.errors import ApplyError, BusyError, StoreError
from partialroot.model import Layer, Method
from partialroot.zone import apply
from partialroot.zone.image import ensure_image
from partialroot.zone.journal import all_intents
from partialroot.zone.store import Store

pytestmark = needs("root", "mount")


def test_zone_and_store_on_other_file_systems(
    source: Path, store: Path, scratch: Path, mounted: Callable[[Path], Path]
) -> None:
    (scratch / "zones").mkdir()
    zonepath = mounted(scratch / "zones") / "web"
    (scratch / "zones").chmod(0o755)
    site = site_at(store, zonepath)
    made = apply.create(whole_plan(source, store), site, REQUEST, {})
    assert differences(dump(source), dump(zonepath / "root")) == []
    apply.remove(site, made)
    assert os.listdir(scratch / "zones") == []


def test_a_zonepath_that_is_a_mount_point(
    store: Path, scratch: Path, mounted: Callable[[Path], Path]
) -> None:
    (scratch / "web").mkdir()
    zonepath = mounted(scratch / "web")
    site = site_at(store, zonepath)
    plan = plan_of(scratch, store, [directory("/etc"), text("/etc/a", "1")])
    made = apply.create(plan, site, REQUEST, {})
    assert sorted(os.listdir(zonepath)) == ["config.json", "receipt.json", "root"]
    assert not apply.update(plan, site, REQUEST, {}, made)
    apply.remove(site, made)
    assert os.listdir(zonepath) == []


def small_disk(loop_fs: LoopFs, options: str = "") -> Path:
    return loop_fs("ext4", "4M", options)


def test_a_full_disk_is_as_before(store: Path, scratch: Path, loop_fs: LoopFs) -> None:
    top = small_disk(loop_fs)
    site = site_at(store, top / "zones/web")
    big = [text(f"/{number}", os.urandom(1 << 20)) for number in range(8)]
    before = dump(top, times=False)
    with pytest.raises(ApplyError, match="No space left on device") as caught:
        apply.create(plan_of(scratch, store, [directory("/"), *big]), site, REQUEST, {})
    assert str(caught.value.path).startswith(str(top / "zones/web"))
    assert differences(before, dump(top, times=False)) == []
    assert all_intents(site.store) == ()


def test_a_full_disk_keeps_the_zone_as_it_was(store: Path, scratch: Path, loop_fs: LoopFs) -> None:
    top = small_disk(loop_fs)
    site = site_at(store, top / "web")
    made = apply.create(plan_of(scratch, store, [directory("/"), text("/a", "1")]), site, REQUEST, {})
    before = dump(top / "web")
    big = [text(f"/{number}", os.urandom(1 << 20)) for number in range(8)]
    with pytest.raises(ApplyError, match="No space left on device"):
        apply.update(
            plan_of(scratch, store, [directory("/"), text("/a", "2"), *big]), site, REQUEST, {}, made
        )
    assert differences(before, dump(top / "web")) == []


def test_no_inodes_left(store: Path, scratch: Path, loop_fs: LoopFs) -> None:
    top = small_disk(loop_fs)
    site = site_at(store, top / "web")
    many = [text(f"/{number}", "") for number in range(2000)]
    before = dump(top, times=False)
    with pytest.raises(ApplyError, match="No space left on device"):
        apply.create(plan_of(scratch, store, [directory("/"), *many]), site, REQUEST, {})
    assert differences(before, dump(top, times=False)) == []


def test_too_many_links(scratch: Path, loop_fs: LoopFs) -> None:
    top = loop_fs("ext4", "64M")
    source = top / "source"
    (source / "usr").mkdir(parents=True)
    (source / "usr/tool").write_text("tool")
    for number in range(64999):
        os.link(source / "usr/tool", source / f"usr/{number}")
    shared = [taken(source, path, Layer.SHARED) for path in ("/usr/tool",)]
    shared.append(taken(source, "/usr", Layer.SHARED, Method.MOUNT))
    plan = plan_of(source, top / "store", shared, ("/usr",))
    with pytest.raises(ApplyError, match=r"Too many links \(EMLINK\)") as caught:
        ensure_image(plan, Store(top / "store"))
    assert str(caught.value.path).endswith("/usr/tool")
    assert caught.value.hint == "the file has as many links as its file system allows"
    assert os.listdir(top / "store/images") == []


def test_a_store_that_cannot_be_written(scratch: Path, mounted: Callable[..., Path]) -> None:
    (scratch / "disk").mkdir()
    top = mounted(scratch / "disk")
    Store(top / "store")
    subprocess.run(["mount", "-o", "remount,ro", top], check=True)
    site = site_at(top / "store", scratch / "web")
    plan = plan_of(scratch, top / "store", [directory("/")])
    with pytest.raises(StoreError, match="Read-only file system"), site.store.lock_zone(scratch / "web"):
        pass
    with pytest.raises(ApplyError, match="Read-only file system"):
        apply.create(plan, site, REQUEST, {})
    with pytest.raises(StoreError, match="Read-only file system"):
        Store(top / "other")
    assert not (scratch / "web").exists()


def test_a_mount_inside_keeps_the_zone(source: Path, store: Path, scratch: Path) -> None:
    site = site_at(store, scratch / "web")
    made = apply.create(whole_plan(source, store), site, REQUEST, {})
    before = dump(scratch / "web")
    subprocess.run(["mount", "--bind", source, scratch / "web/root/srv"], check=True)
    seen = mounts_below(scratch / "web")
    for work in (
        lambda: apply.remove(site, made),
        lambda: apply.update(plan_of(source, store, [directory("/")]), site, REQUEST, {}, made),
    ):
        with pytest.raises(BusyError, match="mounted there that is not ours") as caught:
            work()
        assert caught.value.path == str(scratch / "web/root/srv")
        assert mounts_below(scratch / "web") == seen
    subprocess.run(["umount", scratch / "web/root/srv"], check=True)
    assert differences(before, dump(scratch / "web")) == []
    apply.remove(site, made)


@needs("chattr")
def test_an_immutable_file_keeps_the_zone(source: Path, store: Path, scratch: Path) -> None:
    site = site_at(store, scratch / "web")
    made = apply.create(whole_plan(source, store), site, REQUEST, {})
    subprocess.run(["chattr", "+i", scratch / "web/root/etc/hosts"], check=True)
    before = [*dump(scratch / "web"), *mounts_below(scratch)]
    try:
        with pytest.raises(ApplyError, match="immutable or append-only") as caught:
            apply.remove(site, made)
        assert caught.value.path == str(scratch / "web/root/etc/hosts")
        assert caught.value.hint == "if it is immutable or append-only: chattr -i -a"
        assert differences(before, [*dump(scratch / "web"), *mounts_below(scratch)]) == []
    finally:
        subprocess.run(["chattr", "-i", scratch / "web/root/etc/hosts"], check=True)
    apply.remove(site, made)
    assert not (scratch / "web").exists()
