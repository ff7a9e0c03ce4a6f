"""export: what others make of it is the zone, judged by GNU tar, skopeo and mtree."""

import json
import os
import socket
import subprocess
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from command import Done, partialroot
from hypothesis import given
from hypothesis import strategies as st
from needs import needs
from treedump import dump

from partialroot.accounting.listing import Listed, Names, mtree, p5m
from partialroot.errors import ApplyError, ConflictError
from partialroot.nodes import FileType
from partialroot.paths import RootPath
from partialroot.source.packages import actions
from partialroot.zone.contents import contents
from partialroot.zone.receipt import read

PROFILE = """
files = ["/usr/share/app/**", "/srv/page"]
programs = ["/usr/bin/greet", "/usr/bin/rise"]
[text."/etc/made"]
content = "made\\n"
[directories."/var/tmp"]
mode = "1777"
[start]
command = ["/usr/bin/greet", "you"]
"""

Make = Callable[[str], Path]


@pytest.fixture
def make(scratch: Path, source: Path, store: Path) -> Make:
    """Populate a zone of the small source, with something of everything."""
    (source / "srv/page").write_text("page\n")
    profile = scratch / "app.toml"
    profile.write_text(PROFILE)

    def populate(name: str) -> Path:
        zone = scratch / "zones" / name
        partialroot("populate", zone, profile, "--source", source, "--store", store)
        return zone

    return populate


def export(zone: Path, store: Path, *words: str | Path, code: int = 0) -> Done:
    return partialroot("export", zone, *words, "--store", store, code=code)


def unpacked(archive: Path, place: Path) -> Path:
    """Unpack as root does who keeps all there is to keep."""
    place.mkdir()
    options = ["--xattrs", "--xattrs-include=*", "--numeric-owner", "-pxzf"]
    subprocess.run(["tar", "-C", place, *options, archive], check=True)
    return place


def seen(root: Path) -> list[str]:
    """Return a root as lines without times, and without its own directory, which an archive has not."""
    return dump(root, times=False)[1:]


@needs("root", "mount", "glibc", "xattr")
def test_a_tarball_unpacks_to_the_zone(scratch: Path, store: Path, make: Make) -> None:
    zone = make("web")
    os.setxattr(zone / "root/etc/made", "user.said", b"\x00\xff bytes")
    (zone / "root/etc/made").chmod(0o4711)
    os.chown(zone / "root/srv/page", 12345, 54321)
    os.utime(zone / "root/srv/page", ns=(0, 1234567890_123456789))
    os.link(zone / "root/srv/page", zone / "root/srv/same page")
    (zone / "root/srv/long").symlink_to("x" * 300)
    export(zone, store, scratch / "web.tar.gz")
    there = unpacked(scratch / "web.tar.gz", scratch / "there")
    assert seen(there) == seen(zone / "root")
    assert (there / "srv/page").stat().st_mtime_ns == 1234567890_123456789
    assert (scratch / "web.tar.gz").stat().st_mode & 0o777 == 0o600
    assert not list(scratch.glob(".web.tar.gz*"))


@needs("root", "mount", "glibc")
def test_the_same_zone_gives_the_same_bytes(scratch: Path, store: Path, make: Make) -> None:
    archives = []
    for name in ("one", "two"):
        archives.append(scratch / f"{name}.tgz")
        zone = make(name)
        time.sleep(0.02)
        export(zone, store, archives[-1])
    assert archives[0].read_bytes() == archives[1].read_bytes()


@needs("root", "mount", "glibc")
def test_a_tarball_can_be_a_source(scratch: Path, store: Path, make: Make) -> None:
    zone = make("web")
    export(zone, store, scratch / "web.tar.gz")
    again = scratch / "zones/again"
    profile = scratch / "app.toml"
    partialroot("populate", again, profile, "--source", scratch / "web.tar.gz", "--store", store)
    assert seen(again / "root") == seen(zone / "root")


@needs("root", "mount", "glibc")
def test_what_no_archive_holds_is_said(scratch: Path, store: Path, make: Make) -> None:
    zone = make("web")
    os.mkfifo(zone / "root/srv/pipe")
    os.mknod(zone / "root/srv/disk", 0o60666, os.makedev(8, 0))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(zone / "root/srv/socket"))
    (zone / "root/etc/made").unlink()
    (zone / "root/etc/made").symlink_to("/etc/shadow")
    done = export(zone, store, scratch / "web.tar", "--json")
    assert [line.split(" is ")[0] for line in done.document["left_out"]] == [
        f"/srv/{name}" for name in done_in_order(zone)
    ]
    with tarfile.open(scratch / "web.tar") as archive:
        made = archive.getmember("etc/made")
        assert (made.issym(), made.linkname) == (True, "/etc/shadow")
        assert not [one for one in archive if one.isdev()]


def done_in_order(zone: Path) -> list[str]:
    """Return the names as the directory lists them."""
    return [name for name in os.listdir(zone / "root/srv") if name != "page"]


@needs("root", "mount", "glibc")
@pytest.mark.parametrize("change", [b"longer than before", b""])
def test_a_file_that_changes_meanwhile(make: Make, change: bytes) -> None:
    zone = make("web")
    receipt = read(zone)
    assert receipt is not None
    with contents(zone, receipt) as found:
        made = next(one for one in found.members if one.path == "/etc/made")
        (zone / "root/etc/made").write_bytes(change)
        with pytest.raises(ApplyError, match="changed while it was read"):
            list(found.read(made))
        (zone / "root/etc/made").unlink()
        (zone / "root/etc/made").symlink_to("hosts")
        with pytest.raises(ApplyError, match="changed while it was read"):
            list(found.read(made))


@needs("root", "mount", "glibc")
def test_a_full_disk_leaves_what_was_there(
    scratch: Path, store: Path, make: Make, mounted: Callable[..., Path]
) -> None:
    zone = make("web")
    (zone / "root/srv/large").write_bytes(os.urandom(1 << 20))
    small = scratch / "small"
    small.mkdir()
    mounted(small, "-o", "size=256k")
    (small / "web.tar.gz").write_text("the last one")
    export(zone, store, small / "web.tar.gz", code=1)
    export(zone, store, "--oci", small / "web.oci", code=1)
    assert os.listdir(small) == ["web.tar.gz"]
    assert (small / "web.tar.gz").read_text() == "the last one"


@needs("root", "mount", "glibc", "skopeo")
def test_an_oci_image(scratch: Path, store: Path, make: Make) -> None:
    zone = make("web")
    export(zone, store, "--oci", scratch / "web.oci")
    copy = ["skopeo", "--insecure-policy", "copy", "--quiet", f"oci:{scratch}/web.oci", f"dir:{scratch}/dir"]
    subprocess.run(copy, check=True)  # it checks every digest
    inspect = ["skopeo", "inspect", "--config", f"oci:{scratch}/web.oci"]
    config = json.loads(subprocess.check_output(inspect))
    assert config["config"]["Cmd"] == ["/usr/bin/greet", "you"]
    layers = json.loads((scratch / "dir/manifest.json").read_text())["layers"]
    there = scratch / "there"
    there.mkdir()
    for layer in layers:
        blob = scratch / "dir" / layer["digest"].removeprefix("sha256:")
        subprocess.run(["tar", "-C", there, "-pxzf", blob], check=True)
    assert seen(there) == seen(zone / "root")


@needs("root", "mount", "glibc")
def test_zones_of_an_image_share_a_layer(scratch: Path, store: Path, make: Make) -> None:
    layers = []
    for name in ("one", "two"):
        zone = make(name)
        (zone / "root/etc/made").write_text(name)
        export(zone, store, "--oci", scratch / name)
        index = json.loads((scratch / name / "index.json").read_text())
        manifest = scratch / name / "blobs" / index["manifests"][0]["digest"].replace(":", "/")
        layers.append([one["digest"] for one in json.loads(manifest.read_text())["layers"]])
    assert layers[0][0] == layers[1][0]
    assert layers[0][1] != layers[1][1]


@needs("root", "mount", "glibc", "mtree")
def test_mtree_finds_the_zone_as_listed(scratch: Path, store: Path, make: Make) -> None:
    zone = make("web")
    (zone / "root/srv/two words#").write_text("and more\n")
    listing = scratch / "listing"
    listing.write_text(export(zone, store, "--manifest", "mtree").out)
    check = ["mtree", "-p", str(zone / "root"), "-f", str(listing)]
    assert subprocess.run(check, capture_output=True, text=True).stdout == ""
    (zone / "root/srv/page").write_text("PAGE\n")
    assert "srv/page" in subprocess.run(check, capture_output=True, text=True).stdout


@needs("root", "mount", "glibc")
def test_p5m_has_the_names_of_the_zone(store: Path, make: Make) -> None:
    zone = make("web")
    (zone / "root/etc/passwd").write_text("toor:*:0:0::/:/bin/sh\nweb:*:33:33::/:/bin/sh\n")
    os.chown(zone / "root/srv/page", 33, 77)
    lines = export(zone, store, "--manifest", "p5m", "--json").document["manifest"]
    found = {one.value("path"): one for one in actions.manifest("\n".join(lines), "listing")}
    page = found["srv/page"]
    assert (page.kind, page.value("owner"), page.value("group")) == ("file", "web", "77")
    assert found["usr"].value("owner") == "toor"
    assert {"hardlink", "file", "dir", "link"} == {one.kind for one in found.values()}


@needs("root", "mount", "glibc")
@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ((), "usage"),
        (("web.zip",), "usage"),
        (("no/such/directory/web.tar.gz",), "failed"),
        (("--oci", "zones"), "conflict"),
    ],
)
def test_refusals(scratch: Path, store: Path, make: Make, words: tuple[str, ...], kind: str) -> None:
    zone = make("web")
    places = [scratch / word if not word.startswith("-") else word for word in words]
    done = export(zone, store, *places, "--json", code=1 if kind == "failed" else 2)
    assert done.document["error"]["kind"] == kind


NAMES = st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1).filter(
    lambda name: name not in (".", "..")
)


@given(NAMES, NAMES)
def test_lists_hold_any_name(name: str, target: str) -> None:
    """One line a path, whatever is in it; p5m is read back by our own reader of IPS manifests."""
    path = RootPath("/") / name
    listed = [
        Listed(path, FileType.FILE, 0o644, 0, 0, 1, sha256="0" * 64),
        Listed(path / "x", FileType.SYMLINK, 0o777, 0, 0, 0, target=target),
    ]
    lines = list(mtree(listed))
    assert len(lines) == 4
    assert all(line.isascii() and line.isprintable() for line in lines)
    if (name + target).splitlines() != [name + target]:
        with pytest.raises(ConflictError, match="cannot have this name"):
            list(p5m(listed, Names({}, {})))
    else:
        read_back = list(actions.manifest("\n".join(p5m(listed, Names({}, {}))), "listing"))
        assert [one.value("path") for one in read_back] == [name, f"{name}/x"]
        assert read_back[1].value("target") == target
