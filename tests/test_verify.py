"""verify finds every difference between a zone and what was written; drift is told from the zone's rights."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from needs import needs
from ready import Make, Ready, make_zone, scratch, zone

from partialroot.errors import ZonepathError
from partialroot.model import Finding, Record
from partialroot.zone import receipt
from partialroot.zone import verify as module
from partialroot.zone.verify import MOST_EXTRA, Images, verify

__all__ = ["make_zone", "scratch", "zone"]  # fixtures

CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")

Change = Callable[[Path], object]
Found = set[tuple[str, str, str]]


def found(findings: list[Finding]) -> Found:
    return {(one.path, one.kind, one.severity) for one in findings}


def rewritten(path: Path, data: bytes) -> None:
    """Change a file's content and put its time back."""
    before = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced(path: Path, make: Callable[[Path], object]) -> None:
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    make(path)


def acl(path: Path, *options: str) -> None:
    subprocess.run(["setfacl", *options, "-m", "u:12345:rwx", path], check=True)


def moved(one: Path, other: Path) -> None:
    one.rename(other)


@pytest.mark.parametrize("contents", [True, False])
def test_a_new_zone_is_as_it_was_written(zone: Ready, contents: bool) -> None:
    assert verify(zone.path, zone.receipt, contents=contents) == []


@needs("mount", "root")
@pytest.mark.parametrize("contents", [True, False])
def test_and_with_its_mounts(make_zone: Make, contents: bool) -> None:
    zone = make_zone(mount=True)
    assert (zone.root / "usr/bin/greet").exists()
    assert verify(zone.path, zone.receipt, contents=contents) == []


# --- the private layer --------------------------------------------------------------------------------

PRIVATE: dict[str, tuple[Change, Found]] = {
    "nothing": (lambda root: None, set()),
    "touched": (lambda root: os.utime(root / "etc/hosts"), set()),
    "edited": (
        lambda root: rewritten(root / "etc/hosts", b"127.0.0.1 LOCALHOST\n"),
        {("/etc/hosts", "edited", "note")},
    ),
    "longer": (lambda root: (root / "etc/hosts").write_text("x" * 99), {("/etc/hosts", "edited", "note")}),
    "link led elsewhere": (
        lambda root: replaced(root / "etc/alternatives/salute", lambda path: path.symlink_to("/bin/sh")),
        {("/etc/alternatives/salute", "edited", "note")},
    ),
    "new file": (lambda root: (root / "srv/new").write_text("x"), {("/srv/new", "extra", "note")}),
    "new tree": (
        lambda root: (root / "srv/a/b/c").mkdir(parents=True),
        {("/srv/a", "extra", "note")},
    ),
    "second name": (
        lambda root: os.link(root / "etc/hosts", root / "etc/h"),
        {("/etc/h", "extra", "note")},
    ),
    "mode": (lambda root: (root / "etc/hosts").chmod(0o666), {("/etc/hosts", "mode", "error")}),
    "set-id": (lambda root: (root / "etc/hosts").chmod(0o4644), {("/etc/hosts", "mode", "error")}),
    "sticky": (lambda root: (root / "tmp").chmod(0o777), {("/tmp", "mode", "error")}),
    "root's mode": (lambda root: root.chmod(0o777), {("/", "mode", "error")}),
    "gone": (lambda root: (root / "etc/hosts").unlink(), {("/etc/hosts", "missing", "error")}),
    "tree gone": (
        lambda root: shutil.rmtree(root / "etc/alternatives"),
        {("/etc/alternatives", "missing", "error"), ("/etc/alternatives/salute", "missing", "error")},
    ),
    "moved": (
        lambda root: moved(root / "etc/hosts", root / "srv/hosts"),
        {("/etc/hosts", "missing", "error"), ("/srv/hosts", "extra", "note")},
    ),
    "file to directory": (
        lambda root: replaced(root / "etc/hosts", Path.mkdir),
        {("/etc/hosts", "type", "error")},
    ),
    "file to link": (
        lambda root: replaced(root / "etc/hosts", lambda path: path.symlink_to("/etc/hosts")),
        {("/etc/hosts", "type", "error")},
    ),
    "directory to link": (
        lambda root: replaced(root / "etc/alternatives", lambda path: path.symlink_to("/etc/alternatives")),
        {("/etc/alternatives", "type", "error"), ("/etc/alternatives/salute", "missing", "error")},
    ),
    "mount point gone": (lambda root: (root / "usr").rmdir(), {("/usr", "missing", "error")}),
    "mount point a link": (
        lambda root: replaced(root / "usr", lambda path: path.symlink_to("/usr")),
        {("/usr", "type", "error")},
    ),
    "below a mount point": (
        lambda root: (root / "usr/new").write_text("x"),
        {("/usr/new", "extra", "note")},
    ),
}


@pytest.mark.parametrize(("change", "expected"), PRIVATE.values(), ids=PRIVATE.keys())
def test_what_a_zone_did_to_its_own_files(zone: Ready, change: Change, expected: Found) -> None:
    change(zone.root)
    assert found(verify(zone.path, zone.receipt)) == expected
    drift = {one for one in expected if one[2] == "error"}
    quick = found(verify(zone.path, zone.receipt, contents=False))
    assert drift <= quick <= expected, "without contents all drift is found too"


PERMISSIONS: dict[str, tuple[str, Change, Found]] = {
    "capability": (
        "capability",
        lambda root: os.setxattr(root / "etc/hosts", "security.capability", CAPABILITY),
        {("/etc/hosts", "permissions", "error")},
    ),
    "ACL": (
        "acl",
        lambda root: acl(root / "etc/hosts"),
        {("/etc/hosts", "mode", "error"), ("/etc/hosts", "permissions", "error")},
    ),
    "ACL of what will be made": (
        "acl",
        lambda root: acl(root / "srv", "-d"),
        {("/srv", "permissions", "error")},
    ),
    "user's own": (
        "xattr",
        lambda root: os.setxattr(root / "etc/hosts", "user.note", b"x"),
        {("/etc/hosts", "edited", "note")},
    ),
    "owner": (
        "root",
        lambda root: os.chown(root / "etc/alternatives/salute", 5, 6, follow_symlinks=False),
        {("/etc/alternatives/salute", "owner", "error")},
    ),
    "device": (
        "root",
        lambda root: replaced(root / "etc/hosts", lambda path: os.mknod(path, 0o20644, os.makedev(1, 5))),
        {("/etc/hosts", "type", "error")},
    ),
}


@pytest.mark.parametrize(
    ("change", "expected"),
    [pytest.param(*rest, marks=needs(need), id=name) for name, (need, *rest) in PERMISSIONS.items()],
)
def test_permissions_beyond_the_mode(zone: Ready, change: Change, expected: Found) -> None:
    change(zone.root)
    assert found(verify(zone.path, zone.receipt)) == expected


def test_many_new_files_are_counted_not_listed(zone: Ready) -> None:
    for number in range(MOST_EXTRA + 20):
        (zone.root / f"tmp/{number}").write_text("")
    findings = verify(zone.path, zone.receipt)
    assert len(findings) == MOST_EXTRA + 1
    assert Finding("/tmp", "extra", "", "20 more in it", "note") in findings


def test_findings_say_what_was_and_what_is(zone: Ready) -> None:
    (zone.root / "etc/hosts").chmod(0o600)
    (zone.root / "etc/group").unlink()
    assert verify(zone.path, zone.receipt) == [
        Finding("/etc/group", "missing", f"file 0644 {os.geteuid()}:{os.getegid()}", ""),
        Finding("/etc/hosts", "mode", "0644", "0600"),
    ]


# --- the shared layer ---------------------------------------------------------------------------------

APP = "usr/share/app/data one"
SHARED: dict[str, tuple[Change, Found]] = {
    "mode": (lambda image: (image / "usr/bin/greet").chmod(0o777), {("/usr/bin/greet", "mode", "error")}),
    "longer": (
        lambda image: (image / "usr/bin/greet").write_text("x"),
        {("/usr/bin/greet", "size", "error")},
    ),
    "content": (
        lambda image: (image / "usr/bin/greet").write_bytes(b"#!/bin/sh\necho HELLO\n"),
        {("/usr/bin/greet", "content", "error")},
    ),
    "touched": (lambda image: os.utime(image / "usr/bin/greet"), set()),
    "both names": (
        lambda image: (image / APP).write_text("atad\n"),
        {("/usr/share/app/data one", "content", "error"), ("/usr/share/app/data two", "content", "error")},
    ),
    "gone": (lambda image: (image / "usr/bin/greet").unlink(), {("/usr/bin/greet", "missing", "error")}),
    "new": (lambda image: (image / "usr/new").mkdir(), {("/usr/new", "extra", "error")}),
    "new at the top": (lambda image: (image / "opt").mkdir(), {("/opt", "extra", "error")}),
    "looks like ours": (
        lambda image: (image / "usr/manifest.json").write_text(""),
        {("/usr/manifest.json", "extra", "error")},
    ),
    "link led elsewhere": (
        lambda image: replaced(image / "usr/bin/salute", lambda path: path.symlink_to("/bin/sh")),
        {("/usr/bin/salute", "target", "error")},
    ),
    "type": (
        lambda image: replaced(image / "usr/bin/greet", os.mkfifo),
        {("/usr/bin/greet", "type", "error")},
    ),
}


@pytest.mark.parametrize("contents", [True, False])
@pytest.mark.parametrize(("change", "expected"), SHARED.values(), ids=SHARED.keys())
def test_any_difference_in_an_image_is_drift(
    zone: Ready, change: Change, expected: Found, contents: bool
) -> None:
    change(zone.image)
    assert found(verify(zone.path, zone.receipt, contents=contents)) == expected


def test_content_changed_behind_its_time_takes_reading(zone: Ready) -> None:
    rewritten(zone.image / "usr/bin/greet", b"#!/bin/sh\necho HELLO\n")
    assert verify(zone.path, zone.receipt, contents=False) == []
    assert found(verify(zone.path, zone.receipt)) == {("/usr/bin/greet", "content", "error")}


def test_an_image_is_looked_at_once_for_many_zones(make_zone: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    zones = [make_zone("one"), make_zone("two")]
    assert zones[0].image == zones[1].image
    (zones[0].image / "usr/bin/greet").chmod(0o700)
    manifests = counted_manifests(monkeypatch)
    images = Images()
    for one in zones:
        assert found(verify(one.path, one.receipt, images)) == {("/usr/bin/greet", "mode", "error")}
    (zones[0].image / "usr/bin/greet").chmod(0o755)
    assert verify(zones[0].path, zones[0].receipt, images) != []
    assert verify(zones[0].path, zones[0].receipt) == []
    assert manifests == [zones[0].image] * 2


def counted_manifests(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return a list that grows with each manifest that is read."""
    manifests: list[Path] = []
    real = receipt.read_manifest

    def counted(image: Path) -> tuple[Record, ...]:
        manifests.append(image)
        return real(image)

    monkeypatch.setattr(module, "read_manifest", counted)
    return manifests


def test_an_image_that_is_gone(zone: Ready) -> None:
    shutil.rmtree(zone.image)
    assert [(one.kind, one.path) for one in verify(zone.path, zone.receipt)] == [("image", str(zone.image))]


def test_a_manifest_that_others_could_write_is_not_believed(zone: Ready) -> None:
    (zone.image / "manifest.json").chmod(0o666)
    assert [one.actual for one in verify(zone.path, zone.receipt)] == ["can be written by others"]


def test_the_pointer_must_be_to_the_receipt_s_image(zone: Ready) -> None:
    pointer = zone.path / "image"
    pointer.unlink()
    assert found(verify(zone.path, zone.receipt)) == {(str(pointer), "image", "error")}
    pointer.symlink_to("/")
    assert found(verify(zone.path, zone.receipt)) == {(str(pointer), "image", "error")}


def test_the_image_must_be_of_the_receipt_s_digest(zone: Ready) -> None:
    other = zone.receipt._replace(digest="0" * 64)
    assert [one.expected for one in verify(zone.path, other)] == [f"digest {'0' * 64}"]


# --- mounts -------------------------------------------------------------------------------------------


@pytest.fixture
def mount_zone(make_zone: Make) -> Ready:
    return make_zone(mount=True)


@pytest.mark.parametrize("contents", [True, False])
@needs("mount", "root")
def test_something_else_mounted_over_the_shared_layer(
    mount_zone: Ready, mounted: Callable[[Path], Path], contents: bool
) -> None:
    mounted(mount_zone.root / "usr")
    assert found(verify(mount_zone.path, mount_zone.receipt, contents=contents)) == {
        ("/usr", "mount", "error")
    }


@needs("mount", "root")
@pytest.mark.parametrize(
    ("options", "wrong"),
    [("rw,nodev", "mounted writable"), ("ro,dev", "mounted with devices"), ("ro,nodev", "")],
)
def test_the_shared_layer_is_mounted_read_only_without_devices(zone: Ready, options: str, wrong: str) -> None:
    place = zone.root / "usr"
    subprocess.run(["mount", "--bind", zone.image / "usr", place], check=True)
    subprocess.run(["mount", "-o", f"remount,bind,{options}", place], check=True)
    try:
        findings = verify(zone.path, zone.receipt)
    finally:
        subprocess.run(["umount", place], check=True)
    assert [one.actual for one in findings] == [wrong][: bool(wrong)]


@pytest.mark.parametrize("contents", [True, False])
@needs("mount", "root")
def test_a_mount_that_hides_ours_is_drift(
    zone: Ready, mounted: Callable[[Path], Path], contents: bool
) -> None:
    mounted(zone.root / "etc")
    assert found(verify(zone.path, zone.receipt, contents=contents)) == {("/etc", "mount", "error")}


@needs("mount", "root")
def test_a_mount_that_hides_nothing_is_said(zone: Ready, mounted: Callable[[Path], Path]) -> None:
    mounted(zone.root / "srv")
    (zone.root / "srv/inside").write_text("x")
    assert found(verify(zone.path, zone.receipt)) == {("/srv", "mount", "note")}


# --- no root ------------------------------------------------------------------------------------------


@pytest.mark.hostile
@pytest.mark.parametrize("make", [lambda path: None, Path.touch, lambda path: path.symlink_to("/")])
def test_a_root_that_is_none_is_refused(zone: Ready, make: Change) -> None:
    zone.root.rename(zone.path / "away")
    make(zone.root)
    with pytest.raises(ZonepathError, match="no usable root"):
        verify(zone.path, zone.receipt)


@pytest.mark.hostile
def test_a_zonepath_behind_a_symlink_is_refused(zone: Ready, scratch: Path) -> None:
    (scratch / "link").symlink_to("zone")
    with pytest.raises(ZonepathError, match="no usable root"):
        verify(scratch / "link", zone.receipt)
