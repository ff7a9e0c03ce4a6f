"""audit: whatever lets a zone reach what is not its own is found on the disk, whatever the receipt says."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from needs import needs
from ready import Make, Ready, make_zone, scratch, zone
from test_state import upgraded
from test_verify import CAPABILITY, Change, replaced

from partialroot.errors import ZonepathError
from partialroot.model import Finding, Method
from partialroot.zone import audit as module
from partialroot.zone.audit import audit
from partialroot.zone.store import PARTS

__all__ = ["make_zone", "scratch", "zone"]  # fixtures


def audited(zone: Ready, *others: Path) -> list[Finding]:
    return audit(zone.path, zone.receipt, zone.store, others)


def found(findings: list[Finding]) -> set[tuple[str, str, str]]:
    return {(one.path, one.kind, one.severity) for one in findings}


def test_a_new_zone_has_no_findings(zone: Ready) -> None:
    assert audited(zone) == []


@needs("mount", "root")
def test_nor_with_its_mounts(make_zone: Make) -> None:
    assert audited(make_zone(mount=True)) == []


# --- inodes with a name outside (P1) ------------------------------------------------------------------


def test_a_link_to_the_source_is_named(zone: Ready) -> None:
    replaced(zone.root / "etc/hosts", lambda path: os.link(zone.source / "etc/hosts", path))
    assert audited(zone) == [
        Finding(
            "/etc/hosts",
            "linked",
            "all its names in the root",
            f"1 outside, such as {zone.source}/etc/hosts",
        )
    ]


def test_a_link_to_another_path_of_the_source_is_named(zone: Ready) -> None:
    os.link(zone.source / "etc/hosts", zone.root / "srv/mine")
    assert [one.actual for one in audited(zone)] == [f"1 outside, such as {zone.source}/etc/hosts"]


def test_a_link_to_the_image_is_named(zone: Ready) -> None:
    os.link(zone.image / "usr/bin/greet", zone.root / "srv/greet")
    names = f"{zone.image}/usr/bin/greet"
    assert [one.actual for one in audited(zone)] == [f"2 outside, such as {names}"]


def test_a_link_to_another_zone_is_named(make_zone: Make) -> None:
    one, other = make_zone("one"), make_zone("two")
    os.link(other.root / "etc/hosts", one.root / "srv/mine")
    assert [finding.actual for finding in audited(one, other.path, one.path)] == [
        f"1 outside, such as {other.root}/etc/hosts"
    ]
    assert found(audited(other, one.path)) == {("/etc/hosts", "linked", "error")}


def test_a_link_to_anywhere_is_found(zone: Ready, scratch: Path) -> None:
    (scratch / "elsewhere").write_text("x")
    os.link(scratch / "elsewhere", zone.root / "srv/mine")
    assert [one.actual for one in audited(zone)] == ["1 outside"]


def test_links_among_its_own_are_the_zone_s_business(zone: Ready) -> None:
    for place in ("etc/a", "srv/b", "tmp/c"):
        os.link(zone.root / "etc/hosts", zone.root / place)
    assert audited(zone) == []


def test_a_special_file_can_be_linked_too(zone: Ready, scratch: Path) -> None:
    os.mkfifo(scratch / "fifo")
    os.link(scratch / "fifo", zone.root / "srv/fifo")
    assert found(audited(zone)) == {("/srv/fifo", "linked", "error")}


@pytest.mark.parametrize(("trusted", "severity"), [(True, "note"), (False, "error")])
def test_links_that_were_asked_for_in_words_are_said(zone: Ready, trusted: bool, severity: str) -> None:
    replaced(zone.root / "etc/hosts", lambda path: os.link(zone.source / "etc/hosts", path))
    entries = tuple(
        entry._replace(method=Method.LINK) if entry.path == "/etc/hosts" else entry
        for entry in zone.receipt.entries
    )
    meant = zone.receipt._replace(entries=entries, request=zone.receipt.request._replace(trust_zone=trusted))
    assert found(audit(zone.path, meant, zone.store)) == {("/etc/hosts", "linked", severity)}


@pytest.mark.hostile
def test_more_links_than_can_be_counted_are_said(zone: Ready, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_LINKED", 2)
    for number in range(5):
        (zone.root / f"srv/{number}").write_text("")
        (zone.root / f"tmp/{number}").hardlink_to(zone.root / f"srv/{number}")
    assert audited(zone) == [Finding("/", "unreadable", "", "more than 2 files with several names")]


# --- files that grant rights --------------------------------------------------------------------------


def su(path: Path) -> None:
    """Make a set-user-ID file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(Path("/bin/true").read_bytes())
    path.chmod(0o4755)


RIGHTS: dict[str, tuple[Change, set[tuple[str, str, str]]]] = {
    "set-user-id": (lambda root: (root / "etc/hosts").chmod(0o4755), {("/etc/hosts", "setuid", "error")}),
    "set-group-id": (lambda root: (root / "etc/hosts").chmod(0o2755), {("/etc/hosts", "setuid", "error")}),
    "a new one": (lambda root: su(root / "srv/su"), {("/srv/su", "setuid", "error")}),
    "set-id directory": (lambda root: (root / "srv").chmod(0o2755), set()),
    "well hidden": (lambda root: su(root / "srv/a/b/su"), {("/srv/a/b/su", "setuid", "error")}),
    "below a mount point": (lambda root: su(root / "usr/su"), {("/usr/su", "setuid", "error")}),
}


@pytest.mark.parametrize(("change", "expected"), RIGHTS.values(), ids=RIGHTS.keys())
def test_set_id_files_that_nobody_gave_the_zone(
    zone: Ready, change: Change, expected: set[tuple[str, str, str]]
) -> None:
    change(zone.root)
    assert found(audited(zone)) == expected


@needs("capability")
def test_capabilities_that_nobody_gave_the_zone(zone: Ready) -> None:
    os.setxattr(zone.root / "etc/hosts", "security.capability", CAPABILITY)
    assert found(audited(zone)) == {("/etc/hosts", "capability", "error")}


@needs("root")
def test_devices(zone: Ready) -> None:
    os.mknod(zone.root / "srv/null", 0o20666, os.makedev(1, 3))
    os.mknod(zone.root / "srv/disk", 0o60666, os.makedev(7, 250))
    assert found(audited(zone)) == {("/srv/disk", "device", "error"), ("/srv/null", "device", "error")}


# --- a source that moved on ---------------------------------------------------------------------------


@pytest.fixture
def private_su(source: Path, make_zone: Make) -> Ready:
    """A zone with a set-user-ID file of its own, from the source."""
    su(source / "root/su")
    return make_zone()


def test_what_the_source_has_too_is_granted(private_su: Ready) -> None:
    assert (private_su.root / "root/su").stat().st_mode & 0o7777 == 0o4755
    assert audited(private_su) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.unlink(),
        lambda path: path.chmod(0o755),
        lambda path: upgraded(path, b"fixed"),
        lambda path: upgraded(path, mode=0o755),
    ],
    ids=["gone", "no longer set-id", "upgraded", "upgraded, no longer set-id"],
)
def test_a_stale_set_id_file_is_a_finding(private_su: Ready, change: Change) -> None:
    change(private_su.source / "root/su")
    assert found(audited(private_su)) == {("/root/su", "stale", "error")}


def test_a_stale_set_id_file_in_the_image_is_a_finding(zone: Ready) -> None:
    upgraded(zone.source / "usr/bin/rise", b"#!/bin/sh\n")
    assert found(audited(zone)) == {("/usr/bin/rise", "stale", "error")}


def test_another_stale_file_in_the_image_is_said(zone: Ready) -> None:
    upgraded(zone.source / "usr/bin/greet", b"#!/bin/sh\n")
    assert found(audited(zone)) == {("/usr/bin/greet", "stale", "note")}


def test_a_source_that_is_gone_is_said(zone: Ready) -> None:
    zone.source.rename(zone.source.with_name("away"))
    assert (str(zone.source), "unreadable", "error") in found(audited(zone))


# --- the image ----------------------------------------------------------------------------------------


def test_a_set_id_file_in_the_image_that_is_no_copy(zone: Ready) -> None:
    rise = zone.image / "usr/bin/rise"
    replaced(rise, lambda path: os.link(zone.source / "usr/bin/rise", path))
    assert found(audited(zone)) == {("/usr/bin/rise", "linked", "error")}


def test_a_second_name_in_the_image_that_the_manifest_does_not_know(zone: Ready) -> None:
    os.link(zone.image / "usr/bin/rise", zone.image / "usr/bin/rise2")
    assert found(audited(zone)) == {("/usr/bin/rise", "linked", "error")}


def test_a_loosened_mode_through_another_name(zone: Ready) -> None:
    (zone.source / "usr/bin/greet").chmod(0o777)
    kinds = {(one.path, one.kind, one.expected, one.actual) for one in audited(zone)}
    assert ("/usr/bin/greet", "loosened", "0755", "0777") in kinds


def test_an_image_that_cannot_be_read_is_a_finding(zone: Ready) -> None:
    (zone.image / "manifest.json").write_bytes(b"")
    assert found(audited(zone)) == {(f"{zone.image}/manifest.json", "unreadable", "error")}


# --- places -------------------------------------------------------------------------------------------

PLACES = ["zone", "store", *(f"store/{part}" for part in PARTS)]


@pytest.mark.parametrize("place", PLACES)
def test_loosened_places(zone: Ready, scratch: Path, place: str) -> None:
    (scratch / place).chmod(0o755)
    assert audited(zone) == [Finding(str(scratch / place), "loosened", "0700", "0755")]


@pytest.mark.parametrize("name", ["receipt.json", "config.json"])
def test_loosened_files(zone: Ready, name: str) -> None:
    (zone.path / name).chmod(0o666)
    assert audited(zone) == [Finding(str(zone.path / name), "loosened", "0644", "0666")]


def test_a_loosened_image(zone: Ready) -> None:
    zone.image.chmod(0o711)
    assert audited(zone) == [Finding(str(zone.image), "loosened", "0700", "0711")]


@needs("root")
def test_a_zonepath_given_away(zone: Ready) -> None:
    os.chown(zone.path, 12345, -1)
    assert (str(zone.path), "loosened", "error") in found(audited(zone))


@needs("root")
def test_a_zonepath_that_others_could_put_aside(zone: Ready, scratch: Path) -> None:
    scratch.chmod(0o777)
    findings = audited(zone)
    assert [(one.path, one.kind) for one in findings] == [(str(zone.path), "loosened")]
    assert "can be written by others" in findings[0].actual


def test_profiles_that_others_could_write(zone: Ready, scratch: Path) -> None:
    profiles = scratch / "profiles"
    profiles.mkdir(mode=0o777)
    profiles.chmod(0o777)
    request = zone.receipt.request._replace(manifests=(str(profiles), str(scratch / "nothing")))
    findings = audit(zone.path, zone.receipt._replace(request=request), zone.store)
    assert findings == [Finding(str(profiles), "loosened", "0755", "0777")]


# --- mounts and what cannot be looked at --------------------------------------------------------------


@needs("mount", "root")
def test_a_writable_mount_of_the_image(zone: Ready) -> None:
    place = zone.root / "usr"
    subprocess.run(["mount", "--bind", zone.image / "usr", place], check=True)
    try:
        findings = audited(zone)
    finally:
        subprocess.run(["umount", place], check=True)
    assert [(one.path, one.kind, one.actual) for one in findings] == [("/usr", "mount", "mounted writable")]


@needs("mount", "root")
def test_another_mount_is_said(zone: Ready, mounted: Callable[[Path], Path]) -> None:
    mounted(zone.root / "srv")
    assert found(audited(zone)) == {("/srv", "mount", "note")}


@needs("mount")
@pytest.mark.hostile
def test_what_lies_too_deep_is_a_finding(zone: Ready) -> None:
    from test_look import nest

    nest(zone.root / "srv", 300)
    assert {(one.kind, one.severity) for one in audited(zone)} == {("unreadable", "error")}


def test_no_root_is_refused(zone: Ready) -> None:
    shutil.rmtree(zone.root)
    with pytest.raises(ZonepathError):
        audited(zone)
