"""A zone goes back to what it was before its last change, and forth again; no edit of its tenant is lost."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from killing import run
from needs import needs
from places import Place
from test_apply_update import Zone, lose_mount_point
from test_apply_update import zone as zone  # the fixture
from treedump import differences, dump
from zones import directory, link, taken, text

from partialroot.errors import ConflictError, NoReceiptError
from partialroot.model import Action, Layer
from partialroot.zone import apply, image, previous

pytestmark = needs("root", "mount")

OLD = [
    directory("/etc"),
    text("/etc/a", "1"),
    text("/etc/gone", "gone", 0o640),
    link("/etc/link", "a"),
    directory("/d"),
    directory("/d/deep"),
    text("/d/deep/file", "deep"),
    text("/same", "same"),
]
NEW = [
    directory("/etc", 0o750),
    text("/etc/a", "2", 0o600),
    link("/etc/link", "b"),
    text("/etc/b", "b"),
    text("/d", "now a file"),
    text("/same", "same"),
]


def upgrade(zone: Zone, content: str = "newer tool") -> None:
    """Replace a program of the source as a package manager does."""
    fresh = zone.source / "usr/fresh"
    fresh.write_text(content)
    fresh.rename(zone.source / "usr/tool")


def roll_back(zone: Zone) -> None:
    apply.roll_back(zone.site, zone.receipt)


def rooted(zone: Zone) -> list[str]:
    """Return what is in the root, without the times that copies keep only to be measured again."""
    return dump(zone.root, times=False)


def changed(zone: Zone) -> tuple[list[str], list[str]]:
    """Make a zone and change it; return its root before and after."""
    zone.create(*OLD)
    before = rooted(zone)
    upgrade(zone)
    assert zone.update(*NEW)
    return before, rooted(zone)


def test_back_and_forth(zone: Zone) -> None:
    before, after = changed(zone)
    images = set(os.listdir(zone.site.store.images))
    assert len(images) == 2
    for state in (before, after, before):
        roll_back(zone)
        assert differences(state, rooted(zone)) == []
        assert zone.findings() == []
        assert set(os.listdir(zone.site.store.images)) == images
    assert (zone.root / "usr/tool").read_text() == "tool"
    assert sorted(os.listdir(zone.path)) == ["config.json", "image", "receipt.json", "root"]


def test_a_mount_point_that_was_removed_comes_back(zone: Zone) -> None:
    before, _ = changed(zone)
    lose_mount_point(zone)
    roll_back(zone)
    assert differences(before, rooted(zone)) == []
    assert zone.findings() == []


def test_the_receipt_is_that_of_then(zone: Zone) -> None:
    made = zone.create(*OLD)
    upgrade(zone)
    zone.update(*NEW)
    roll_back(zone)
    now = zone.receipt
    assert now._replace(created=0, entries=()) == made._replace(created=0, entries=())
    plain = [record._replace(mtime_ns=0) for record in now.entries]
    assert plain == [record._replace(mtime_ns=0) for record in made.entries]


def test_metadata_come_back(zone: Zone) -> None:
    (zone.source / "file").write_text("1")
    (zone.source / "file").chmod(0o4711)
    os.chown(zone.source / "file", 12, 34)
    (zone.source / "file").chmod(0o4711)
    os.setxattr(zone.source / "file", "user.x", b"1")
    zone.create(taken(zone.source, "/file", Layer.PRIVATE))
    before = dump(zone.root)
    assert zone.update(text("/file", "2"))
    roll_back(zone)
    assert differences(before, dump(zone.root)) == []


def test_what_was_edited_since_is_kept(zone: Zone) -> None:
    changed(zone)
    (zone.root / "etc/a").write_text("mine")
    (zone.root / "etc/b").write_text("mine, too")
    roll_back(zone)
    assert (zone.root / "etc/a").read_text() == "mine"
    assert (zone.root / "etc/a.new").read_text() == "1"
    assert (zone.root / "etc/b").read_text() == "mine, too"
    assert {
        "/etc/a: edited in the zone and kept; see /etc/a.new",
        "/etc/b: edited in the zone and kept, though not wanted any more",
    } <= set(zone.receipt.warnings)
    assert zone.findings() == [("/etc/a", "edited"), ("/etc/a.new", "extra"), ("/etc/b", "extra")]


def test_what_was_edited_before_stays_edited(zone: Zone) -> None:
    zone.create(*OLD)
    (zone.root / "etc/a").write_text("mine")
    zone.update(*NEW)
    assert (zone.root / "etc/a.new").read_text() == "2"
    roll_back(zone)
    assert (zone.root / "etc/a").read_text() == "mine"
    assert (zone.root / "etc/gone").read_text() == "gone"
    assert zone.findings() == [("/etc/a", "edited"), ("/etc/a.new", "extra")]


def test_what_only_comes_again_is_nothing_to_go_back_from(zone: Zone) -> None:
    before, _ = changed(zone)
    (zone.root / "etc/b").unlink()
    (zone.root / "same").chmod(0o666)
    assert zone.update(*NEW)
    roll_back(zone)
    assert differences(before, rooted(zone)) == []


def test_a_file_of_which_no_copy_was_kept_is_left_alone(zone: Zone) -> None:
    changed(zone)
    (zone.root / "same").unlink()
    roll_back(zone)
    assert zone.findings() == [("/same", "missing")]
    assert zone.update(*OLD)
    assert zone.findings() == []


def test_from_shared_to_private_and_back(zone: Zone) -> None:
    zone.create(directory("/etc"))
    private = [taken(zone.source, "/usr", Layer.PRIVATE), taken(zone.source, "/usr/tool", Layer.PRIVATE)]
    zone.update(directory("/etc"), *private, tops=())
    assert not zone.receipt.mounts
    roll_back(zone)
    assert list(zone.receipt.mounts) == ["/usr"]
    assert os.stat(zone.root / "usr/tool").st_ino == os.stat(zone.source / "usr/tool").st_ino
    assert zone.findings() == []
    roll_back(zone)
    assert os.stat(zone.root / "usr/tool").st_nlink == 1
    assert zone.findings() == []


def test_the_spec_comes_back(zone: Zone) -> None:
    zone.create(*OLD)
    spec = (zone.path / "config.json").read_bytes()
    apply.update(zone.plan(*OLD), zone.site, zone.receipt.request, {"a": 2}, zone.receipt)
    assert (zone.path / "config.json").read_bytes() != spec
    roll_back(zone)
    assert (zone.path / "config.json").read_bytes() == spec


def test_a_zone_that_was_never_changed(zone: Zone) -> None:
    zone.create(*OLD)
    before = dump(zone.scratch)
    with pytest.raises(ConflictError, match="it was never changed"):
        roll_back(zone)
    assert differences(before, dump(zone.scratch)) == []


def damaged_image(zone: Zone, kept: Path) -> None:
    (Path(os.readlink(kept / "image")) / "usr/tool").unlink()
    image._checked.clear()


def damaged_receipt(_: Zone, kept: Path) -> None:
    (kept / "receipt.json").write_text("{}")


@pytest.mark.parametrize("damage", [damaged_image, damaged_receipt])
def test_what_was_kept_is_damaged(zone: Zone, damage: object) -> None:
    changed(zone)
    [kept] = (zone.site.store.root / "previous").iterdir()
    assert callable(damage)
    damage(zone, kept)
    before = dump(zone.scratch)
    with pytest.raises((ConflictError, NoReceiptError)):
        roll_back(zone)
    assert differences(before, dump(zone.scratch)) == []


def test_a_damaged_copy_does_not_come_back(zone: Zone) -> None:
    changed(zone)
    [kept] = (zone.site.store.root / "previous").iterdir()
    (kept / "root/etc/a").write_text("?")
    (kept / "root/etc/gone").unlink()
    roll_back(zone)
    assert (zone.root / "etc/a").read_text() == "2"
    assert zone.findings() == [("/etc/a", "edited"), ("/etc/a", "mode"), ("/etc/gone", "missing")]


def test_a_removed_zone_leaves_nothing_to_go_back_to(zone: Zone) -> None:
    changed(zone)
    apply.remove(zone.site, zone.receipt)
    assert os.listdir(zone.site.store.images) == []
    assert os.listdir(zone.site.store.root / "previous") == []


def test_an_image_to_go_back_to_is_in_use(zone: Zone) -> None:
    made = zone.create(*OLD)
    upgrade(zone)
    zone.update(*NEW)
    assert made.image is not None
    assert list(previous.images(zone.site.store)) == [made.image]
    assert not image.release_image(zone.site.store, Path(made.image))
    shutil.rmtree(zone.site.store.root / "previous")
    (zone.site.store.root / "previous").mkdir(0o700)
    assert image.release_image(zone.site.store, Path(made.image))


def test_a_hostile_copy_is_not_followed(zone: Zone, tmp_path: Path) -> None:
    """A file that the tenant made a symlink of is not copied to where we keep it."""
    (tmp_path / "secret").write_text("secret")
    private: list[Action] = [directory("/etc"), text("/etc/a", "1")]
    zone.create(*private)
    (zone.root / "etc/a").unlink()
    (zone.root / "etc/a").symlink_to(tmp_path / "secret")
    zone.update(directory("/etc"), text("/etc/a", "2"))
    kept = [path for path in (zone.site.store.root / "previous").rglob("*") if path.is_file()]
    assert not [path for path in kept if "secret" in path.read_text()]


def test_no_zone_goes_back_where_others_could_put_another(
    tmp_path: Path, mounted: Callable[..., Path]
) -> None:
    place = Place(mounted(tmp_path, "-o", "mode=0755"), "rollback")
    try:
        place.prepare()
        place.zone.parent.chmod(0o777)
        before = place.look(times=True)
        for words in ((), ("-n",)):
            done = run("rollback", place.zone, *words, "--store", place.store)
            assert done.code == 2 and "can be written by others" in done.err
        assert place.look(times=True) == before
        place.zone.parent.chmod(0o755)
        assert run("rollback", place.zone, "--store", place.store).code == 0
    finally:
        place.clear()
