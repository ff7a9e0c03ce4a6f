"""A zone that is there becomes what another plan says; what its tenant did is never lost."""

import errno
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest
from needs import needs
from spaces import mounts_below
from treedump import differences, dump
from zones import OLD, REQUEST, directory, link, plan_of, site_at, taken, text, whole_plan, with_twins

from partialroot.errors import ApplyError, ConflictError
from partialroot.model import Action, Layer, Method, Plan, Receipt
from partialroot.zone import apply, fs, image, receipt
from partialroot.zone.journal import all_intents
from partialroot.zone.verify import verify

pytestmark = needs("root", "mount")


class Zone:
    """A zone whose private files are texts, beside a shared /usr."""

    def __init__(self, scratch: Path, source: Path) -> None:
        self.scratch, self.source = scratch, source
        self.path = scratch / "zone"
        self.root = self.path / "root"
        self.site = site_at(scratch / "store", self.path)

    def plan(self, *private: Action, tops: Iterable[str] = ("/usr",)) -> Plan:
        shared = [
            taken(self.source, "/usr", Layer.SHARED, Method.MOUNT),
            taken(self.source, "/usr/tool", Layer.SHARED),
        ]
        chosen = shared if tops else []
        return plan_of(self.source, self.site.store.root, [*chosen, *private], tuple(tops))

    def create(self, *private: Action) -> Receipt:
        return apply.create(self.plan(*private), self.site, REQUEST, {"a": 1})

    def update(self, *private: Action, tops: Iterable[str] = ("/usr",)) -> bool:
        plan = self.plan(*private, tops=tops)
        return apply.update(plan, self.site, REQUEST, {"a": 1}, self.receipt)

    @property
    def receipt(self) -> Receipt:
        found = receipt.read(self.path)
        assert found is not None
        return found

    def findings(self) -> list[tuple[str, str]]:
        return [(one.path, one.kind) for one in verify(self.path, self.receipt)]


@pytest.fixture
def zone(scratch: Path, tmp_path: Path) -> Zone:
    source = scratch / "tools"
    (source / "usr").mkdir(parents=True)
    (source / "usr/tool").write_text("tool")
    return Zone(scratch, source)


def effects(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    seen: list[tuple[str, str]] = []
    monkeypatch.setattr(fs, "observe", lambda name, path: seen.append((name, path)))
    return seen


def test_the_same_again_is_nothing_to_do(zone: Zone, monkeypatch: pytest.MonkeyPatch) -> None:
    private = [directory("/etc"), text("/etc/motd", "hello")]
    zone.create(*private)
    before = dump(zone.path)
    seen = effects(monkeypatch)
    assert not zone.update(*private)
    assert seen == []
    assert differences(before, dump(zone.path)) == []


def test_whole_source_again_is_nothing_to_do(
    source: Path, store: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = site_at(store, scratch / "zone")
    made = apply.create(whole_plan(source, store), site, REQUEST, {})
    seen = effects(monkeypatch)
    assert not apply.update(whole_plan(source, store), site, REQUEST, {}, made)
    assert seen == []


def test_mounts_lost_in_a_reboot_come_back(zone: Zone) -> None:
    private = [directory("/etc")]
    made = zone.create(*private)
    binds = zone.site.binds(made)
    assert binds is not None and zone.site.mounter is not None
    zone.site.mounter.down(zone.path, binds)
    assert not (zone.root / "usr/tool").exists()
    assert zone.update(*private)
    assert (zone.root / "usr/tool").read_text() == "tool"


def lose_mount_point(zone: Zone) -> None:
    """Have the directory removed that the image was mounted on, as is possible after a reboot."""
    binds = zone.site.binds(zone.receipt)
    assert binds is not None and zone.site.mounter is not None
    zone.site.mounter.down(zone.path, binds)
    (zone.root / "usr").rmdir()


def test_a_mount_point_that_was_removed_comes_back(zone: Zone) -> None:
    zone.create(directory("/etc"))
    lose_mount_point(zone)
    assert zone.update(directory("/etc"))
    assert zone.findings() == []


def test_a_zone_without_mount_point_is_left_so(zone: Zone, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot have been mounted before is not mounted again when a change is undone."""
    zone.create(directory("/etc"))
    lose_mount_point(zone)
    before = dump(zone.path)

    def fail(name: str, path: str) -> None:
        if name == "bind":
            raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(fs, "observe", fail)
    with pytest.raises(ApplyError, match="ENOSPC") as caught:
        zone.update(directory("/etc"))
    assert "put in order" not in str(caught.value)
    assert differences(before, dump(zone.path)) == []
    assert all_intents(zone.site.store) == ()


def test_unedited_files_are_replaced_added_and_removed(zone: Zone) -> None:
    zone.create(directory("/etc"), text("/etc/a", "1"), text("/etc/gone", "x"), text("/b", "b", 0o600))
    assert zone.update(directory("/etc"), text("/etc/a", "2"), text("/etc/new", "n"), text("/b", "b", 0o640))
    assert (zone.root / "etc/a").read_text() == "2"
    assert (zone.root / "etc/new").read_text() == "n"
    assert os.stat(zone.root / "b").st_mode & 0o7777 == 0o640
    assert sorted(os.listdir(zone.root / "etc")) == ["a", "new"]
    assert sorted(os.listdir(zone.path)) == ["config.json", "image", "receipt.json", "root"]
    assert zone.findings() == []


def test_mounts_that_stay_the_same_stay_up(zone: Zone, monkeypatch: pytest.MonkeyPatch) -> None:
    zone.create(text("/a", "1"))
    seen = effects(monkeypatch)
    assert zone.update(text("/a", "2"))
    assert not {"bind", "unbind"} & {name for name, _ in seen}
    assert zone.update(text("/a", "2"), tops=())
    assert ("unbind", "/usr") in seen


@pytest.mark.parametrize(("moment", "content"), [("write", "1"), ("rename receipt", "1"), ("rmdir", "2")])
def test_an_interrupt_ends_as_before_or_as_after(
    zone: Zone, monkeypatch: pytest.MonkeyPatch, moment: str, content: str
) -> None:
    zone.create(text("/a", "1"))

    def interrupt(name: str, path: str) -> None:
        if moment in (name, f"{name} receipt" if path == "receipt.json" else ""):
            monkeypatch.undo()
            raise KeyboardInterrupt

    monkeypatch.setattr(fs, "observe", interrupt)
    with pytest.raises(KeyboardInterrupt):
        zone.update(text("/a", "2"))
    assert (zone.root / "a").read_text() == content
    assert sorted(os.listdir(zone.path)) == ["config.json", "image", "receipt.json", "root"]
    assert zone.findings() == []
    assert apply.recover(zone.site) is None


def test_whole_directories_come_and_go(zone: Zone) -> None:
    zone.create(directory("/srv"), directory("/srv/www", 0o750), text("/srv/www/index", "1"))
    assert zone.update(directory("/var"), directory("/var/log", 0o1777), text("/var/log/x", "1"))
    assert sorted(os.listdir(zone.root)) == ["usr", "var"]
    assert os.stat(zone.root / "var/log").st_mode & 0o7777 == 0o1777
    assert zone.findings() == []


def test_an_edited_file_is_kept_and_the_new_one_put_beside(zone: Zone) -> None:
    zone.create(directory("/etc"), text("/etc/a", "1"))
    (zone.root / "etc/a").write_text("mine")
    assert zone.update(directory("/etc"), text("/etc/a", "2"))
    assert (zone.root / "etc/a").read_text() == "mine"
    assert (zone.root / "etc/a.new").read_text() == "2"
    assert "/etc/a: edited in the zone and kept; see /etc/a.new" in zone.receipt.warnings
    assert zone.findings() == [("/etc/a", "edited"), ("/etc/a.new", "extra")]
    assert not zone.update(directory("/etc"), text("/etc/a", "2"))
    assert zone.update(directory("/etc"), text("/etc/a", "3"))
    assert (zone.root / "etc/a.new").read_text() == "3"


def test_an_edit_is_kept_where_nothing_new_is_offered(zone: Zone) -> None:
    private = [directory("/etc"), text("/etc/a", "1")]
    zone.create(*private)
    (zone.root / "etc/a").write_text("mine")
    assert not zone.update(*private)
    assert os.listdir(zone.root / "etc") == ["a"]


def test_an_edited_file_no_profile_wants_any_more_is_kept(zone: Zone) -> None:
    zone.create(directory("/etc"), text("/etc/a", "1"), text("/etc/b", "1"))
    (zone.root / "etc/a").write_text("mine")
    assert zone.update()
    assert os.listdir(zone.root / "etc") == ["a"]
    assert any(one.startswith("/etc/a: edited") for one in zone.receipt.warnings)


def test_a_tenant_s_own_file_where_a_new_one_is_wanted_is_kept(zone: Zone) -> None:
    zone.create(directory("/etc"))
    (zone.root / "etc/a").write_text("mine")
    (zone.root / "etc/same").write_text("same")
    assert zone.update(directory("/etc"), text("/etc/a", "1"), text("/etc/same", "same"))
    assert (zone.root / "etc/a").read_text() == "mine"
    assert (zone.root / "etc/a.new").read_text() == "1"
    assert not (zone.root / "etc/same.new").exists()


def test_a_tenant_s_file_that_is_what_is_wanted_is_adopted(zone: Zone) -> None:
    zone.create(directory("/etc"))
    for name, mode in (("same", 0o644), ("wide", 0o666)):
        (zone.root / "etc" / name).write_text("same")
        (zone.root / "etc" / name).chmod(mode)
    (zone.root / "etc/link").symlink_to("same")
    (zone.root / "etc/other").symlink_to("else")
    links = [link("/etc/link", "same"), link("/etc/other", "same")]
    private = [directory("/etc"), text("/etc/same", "same"), text("/etc/wide", "same"), *links]
    assert zone.update(*private)
    assert sorted(os.listdir(zone.root / "etc")) == ["link", "other", "other.new", "same", "wide"]
    assert os.readlink(zone.root / "etc/other") == "else"
    assert os.readlink(zone.root / "etc/other.new") == "same"
    assert zone.findings() == [("/etc/other", "edited"), ("/etc/other.new", "extra")]
    assert not zone.update(*private)


def test_a_touched_file_is_not_an_edited_one(zone: Zone) -> None:
    zone.create(text("/touched", "1111"), text("/edited", "1111"))
    os.utime(zone.root / "touched", ns=(5, 5))
    (zone.root / "edited").write_text("mine")  # of the same size
    assert zone.update(text("/touched", "2222"), text("/edited", "2222"))
    assert (zone.root / "touched").read_text() == "2222"
    assert (zone.root / "edited").read_text() == "mine"
    assert sorted(os.listdir(zone.root)) == ["edited", "edited.new", "touched", "usr"]


def test_a_symlink_is_replaced_unless_the_tenant_led_it_elsewhere(zone: Zone) -> None:
    zone.create(link("/ours", "a"), link("/theirs", "a"), text("/file", "1"))
    for name, target in (("theirs", "b"), ("file", "/etc/shadow")):
        (zone.root / name).unlink()
        (zone.root / name).symlink_to(target)
    assert zone.update(link("/ours", "c"), link("/theirs", "c"), text("/file", "2"))
    targets = {name: os.readlink(zone.root / name) for name in ("ours", "theirs", "theirs.new", "file")}
    assert targets == {"ours": "c", "theirs": "b", "theirs.new": "c", "file": "/etc/shadow"}
    assert (zone.root / "file.new").read_text() == "2"


def test_a_place_for_the_new_one_that_is_taken(zone: Zone) -> None:
    zone.create(text("/a", "1"), text("/b", "1"))
    for name in ("a", "b"):
        (zone.root / name).write_text("mine")
    (zone.root / "b.new").mkdir()
    assert zone.update(text("/a", "2"), text("/a.new", "a profile's own"), text("/b", "2"))
    assert (zone.root / "a.new").read_text() == "a profile's own"
    assert os.listdir(zone.root / "b.new") == []
    assert {"/a: edited in the zone and kept as it is", "/b: edited in the zone and kept as it is"} <= set(
        zone.receipt.warnings
    )


def test_owners_are_brought_back(zone: Zone) -> None:
    private = [text("/a", "1"), link("/link", "a"), directory("/d")]
    zone.create(*private)
    for name in ("a", "link", "d"):
        os.chown(zone.root / name, 33, 33, follow_symlinks=False)
    assert zone.update(*private)
    assert {os.lstat(zone.root / name).st_uid for name in ("a", "link", "d")} == {0}
    assert zone.findings() == []


@needs("xattr")
def test_a_changed_xattr_is_a_change(zone: Zone) -> None:
    (zone.source / "file").write_text("1")
    zone.create(taken(zone.source, "/file", Layer.PRIVATE))
    os.setxattr(zone.source / "file", "user.x", b"1")
    assert zone.update(taken(zone.source, "/file", Layer.PRIVATE))
    assert os.getxattr(zone.root / "file", "user.x") == b"1"
    assert not zone.update(taken(zone.source, "/file", Layer.PRIVATE))


def twins(zone: Zone, content: str) -> list[Action]:
    """Return the actions of two names of one source inode, with a new content."""
    for name in ("one", "two"):
        (zone.source / name).unlink(missing_ok=True)
    (zone.source / "one").write_text(content)
    os.link(zone.source / "one", zone.source / "two")
    return with_twins([taken(zone.source, f"/{name}", Layer.PRIVATE) for name in ("one", "two")])


def test_two_names_of_one_file_stay_that(zone: Zone) -> None:
    zone.create(*twins(zone, "1"))
    assert zone.update(*twins(zone, "2"))
    one, two = (os.stat(zone.root / name) for name in ("one", "two"))
    assert one.st_ino == two.st_ino != os.stat(zone.source / "one").st_ino
    assert (zone.root / "two").read_text() == "2"
    assert zone.findings() == []


def test_a_second_name_whose_first_stays_is_a_copy(zone: Zone) -> None:
    private = twins(zone, "1")
    zone.create(*private)
    (zone.root / "two").unlink()
    assert zone.update(*private)
    one, two = (os.stat(zone.root / name) for name in ("one", "two"))
    assert one.st_ino != two.st_ino
    assert {one.st_nlink, two.st_nlink} == {1}
    assert zone.findings() == []
    assert not zone.update(*private)


def test_a_source_directory_s_time_is_no_change(zone: Zone) -> None:
    (zone.source / "d").mkdir()
    zone.create(taken(zone.source, "/d", Layer.PRIVATE))
    os.utime(zone.source / "d", ns=(5, 5))
    assert not zone.update(taken(zone.source, "/d", Layer.PRIVATE))


def test_times_of_directories_that_stay_are_kept(zone: Zone) -> None:
    zone.create(directory("/etc"), text("/etc/a", "1"), directory("/etc/d"))
    assert zone.update(directory("/etc"), text("/etc/a", "2"), text("/etc/b", "1"))
    assert os.stat(zone.root / "etc").st_mtime_ns == OLD


def test_what_the_tenant_removed_comes_back(zone: Zone) -> None:
    private = [directory("/etc"), directory("/etc/d"), text("/etc/d/a", "1"), text("/etc/b", "b")]
    zone.create(*private)
    shutil.rmtree(zone.root / "etc/d")
    (zone.root / "etc/b").chmod(0o666)
    assert zone.update(*private)
    assert (zone.root / "etc/d/a").read_text() == "1"
    assert zone.findings() == []


def test_modes_of_directories_are_brought_back(zone: Zone) -> None:
    zone.create(directory("/srv", 0o750), text("/srv/a", "1"))
    (zone.root / "srv").chmod(0o777)
    assert zone.update(directory("/srv", 0o750), text("/srv/a", "1"))
    assert os.stat(zone.root / "srv").st_mode & 0o7777 == 0o750


def test_a_directory_swapped_for_a_link_is_refused_untouched(zone: Zone, tmp_path: Path) -> None:
    zone.create(directory("/etc"), directory("/etc/d"), text("/etc/d/a", "1"))
    outside = tmp_path / "outside"
    outside.mkdir()
    shutil.rmtree(zone.root / "etc/d")
    (zone.root / "etc/d").symlink_to(outside)
    before = dump(zone.path)
    with pytest.raises(ConflictError, match="the zone has a symlink where a directory is to be"):
        zone.update(directory("/etc"), directory("/etc/d"), text("/etc/d/a", "2"), text("/etc/d/b", "2"))
    assert differences(before, dump(zone.path)) == []
    assert os.listdir(outside) == []


def test_a_directory_becomes_a_file_and_a_file_a_directory(zone: Zone) -> None:
    zone.create(directory("/d"), text("/d/a", "1"), text("/f", "1"))
    assert zone.update(text("/d", "now a file"), directory("/f"), text("/f/a", "1"))
    assert (zone.root / "d").read_text() == "now a file"
    assert (zone.root / "f/a").read_text() == "1"
    assert zone.findings() == []


def test_from_shared_to_private_and_back(zone: Zone) -> None:
    zone.create(directory("/etc"))
    old_image = Path(zone.receipt.image or "")
    private = [taken(zone.source, "/usr", Layer.PRIVATE), taken(zone.source, "/usr/tool", Layer.PRIVATE)]
    assert zone.update(directory("/etc"), *private, tops=())
    assert mounts_below(zone.path) == []
    assert (zone.root / "usr/tool").read_text() == "tool"
    assert os.stat(zone.root / "usr/tool").st_nlink == 1
    assert old_image.exists()  # what can be gone back to
    assert not (zone.path / "image").is_symlink()
    assert zone.findings() == []
    assert zone.update(directory("/etc"))
    assert mounts_below(zone.path) == [str(zone.root / "usr")]
    assert zone.findings() == []


def test_a_new_image_is_flipped_and_the_one_before_the_last_goes(zone: Zone) -> None:
    images = [zone.create(directory("/etc")).digest]
    for content in ("newer tool", "newest tool"):
        fresh = zone.source / "usr/fresh"
        fresh.write_text(content)
        fresh.rename(zone.source / "usr/tool")
        assert zone.update(directory("/etc"))
        images.append(zone.receipt.digest)
        assert (zone.root / "usr/tool").read_text() == content
        assert set(os.listdir(zone.site.store.images)) == set(images[-2:])
        assert zone.findings() == []


def test_the_other_zone_of_a_rebuilt_image_gets_it_too(zone: Zone) -> None:
    made = zone.create(directory("/etc"))
    other = site_at(zone.site.store.root, zone.scratch / "other")
    apply.create(zone.plan(directory("/etc")), other, REQUEST, {"a": 1})
    os.utime(zone.source / "usr/tool", ns=(OLD, OLD))  # the image's inode too: it is not as it was built
    image._checked.clear()
    assert zone.update(directory("/etc"))
    assert len(os.listdir(zone.site.store.images)) == 2  # the other zone has the old one mounted
    assert (zone.scratch / "other/root/usr/tool").read_text() == "tool"
    told = receipt.read(zone.scratch / "other")
    assert told is not None
    assert apply.update(zone.plan(directory("/etc")), other, REQUEST, {"a": 1}, told)
    assert not apply.update(zone.plan(directory("/etc")), other, REQUEST, {"a": 1}, told)
    assert verify(other.zonepath, told) == []
    image.sweep(zone.site.store, zone.site.store.images)
    assert os.listdir(zone.site.store.images) == [made.digest]


def test_a_damaged_image_is_rebuilt(zone: Zone) -> None:
    made = zone.create(directory("/etc"))
    (Path(made.image or "") / "usr/tool").unlink()
    image._checked.clear()
    assert zone.update(directory("/etc"))
    assert (zone.root / "usr/tool").read_text() == "tool"
    assert zone.findings() == []
