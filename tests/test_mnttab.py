"""/etc/mnttab of illumos: mounts, what lofs hides of a source, and what it shows."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zone_data import DATA

from partialroot.errors import PartialRootError, SourceError
from partialroot.host.illumos.mnttab import (
    Mount,
    MountTable,
    covered,
    hidden_files,
    is_shown,
    own_view,
    parse,
    why_unprotected,
)
from partialroot.model import Entry, Layer, Selection, ZoneSettings
from partialroot.nodes import FileType, Reason
from partialroot.paths import RootPath
from partialroot.pipeline.choosing import refuse_covered

HWCAP = "/usr/lib/libc/libc_hwcap1.so.1"
LIBC = f"{HWCAP}\t/lib/libc.so.1\tlofs\tdev=4410002\t1762000003\n"
TEXT = (DATA / "files/etc/mnttab").read_text()


def is_file(path: str) -> bool:
    return path.endswith(".so.1")


def table(*mounts: str) -> MountTable:
    """Return a table of ``SPECIAL POINT TYPE``."""
    return parse("".join("\t".join([*mount.split(), "rw", "1"]) + "\n" for mount in mounts))


def test_a_global_zones_mounts() -> None:
    mounts = parse(TEXT)
    assert mounts[0] == Mount("rpool/ROOT/tribblix", "/", "zfs", ("dev=4410002",))
    assert {"devfs", "ctfs", "proc", "mntfs", "tmpfs", "objfs", "sharefs"} <= {one.fstype for one in mounts}
    assert mounts[-1].options[:2] == ("rw", "devices")
    assert hidden_files(mounts, "/", is_file) == ()


# --- what holds a path --------------------------------------------------------------------------------


def test_the_latest_mount_above_a_path_holds_it() -> None:
    mounts = table("r / zfs", "r/b /a/b zfs", "x /a lofs", "r/c /a/c zfs")
    points = {path: mounts.holding(path).special for path in ("/", "/ab", "/a", "/a/b", "/a/b/x", "/a/c/x")}
    assert points == {"/": "r", "/ab": "r", "/a": "x", "/a/b": "x", "/a/b/x": "x", "/a/c/x": "r/c"}
    assert mounts.beneath("/a").special == "r"
    assert mounts.points == {"/", "/a/b", "/a", "/a/c"}


def test_where_nothing_is_mounted_nothing_holds() -> None:
    assert parse("").holding("/etc") == Mount("", "/", "", ())


# --- hidden files -------------------------------------------------------------------------------------


def test_the_variant_of_libc_hides_the_libc() -> None:
    assert hidden_files(parse(TEXT + LIBC), "/", is_file) == ("/lib/libc.so.1",)
    assert hidden_files(parse(TEXT + LIBC), "/a", is_file) == ()
    assert hidden_files(parse(TEXT + LIBC), "/", lambda path: False) == ()


def test_only_files_of_the_sources_own_file_system_are_hidden() -> None:
    mounts = table(
        "r / zfs",
        "r/web /z/web/root zfs",
        f"{HWCAP} /z/web/root/lib/libc.so.1 lofs",  # of a zone: nothing may be mounted of its root (3.5)
        "/x /opt lofs",
        "/y /opt/lib.so.1 lofs",  # what it hides is no longer seen
        "/v /lib/libv.so.1 lofs",
        "tmp /lib/libv.so.1 tmpfs",
    )
    assert hidden_files(mounts, "/", is_file) == ("/opt/lib.so.1",)
    assert hidden_files(mounts, "/opt", is_file) == ()


def test_a_source_need_not_be_the_root() -> None:
    mounts = table("r / zfs", "r/be2 /mnt/be2 zfs", f"{HWCAP} /mnt/be2/lib/libc.so.1 lofs")
    assert hidden_files(mounts, "/mnt/be2", is_file) == ("/mnt/be2/lib/libc.so.1",)
    assert hidden_files(mounts, "/", is_file) == ()


# --- what is shown instead ----------------------------------------------------------------------------


def test_what_a_loopback_shows_is_covered() -> None:
    mounts = table("r / zfs", "/x /opt lofs", f"{HWCAP} /lib/libc.so.1 lofs", "r/o /opt/own zfs")
    paths = ["/lib/libc.so.1", "/lib/libc.so.10", "/opt/x", "/opt/own/x", "/optional", "/etc/motd"]
    assert covered(mounts, "/", paths) == ("/lib/libc.so.1", "/opt/x")
    assert covered(mounts, "/opt", ["/opt/x"]) == ()
    assert covered(parse(TEXT), "/", paths) == ()


@pytest.mark.parametrize("line", ["x", "a\tb\tlofs\tro\t1", "a\t/b\tlofs\tro\tone", "a\t/b\tlofs\tro", " "])
def test_what_is_no_mount(line: str) -> None:
    with pytest.raises(SourceError, match="no mount"):
        parse(f"{TEXT}{line}\n")


@given(st.text(alphabet="/a.\t\n0é"), st.text(alphabet="/a."))
def test_any_text_is_mounts_or_refused(text: str, path: str) -> None:
    try:
        mounts = parse(text + LIBC)
    except PartialRootError:
        return
    holding = mounts.holding(f"/{path}")
    assert holding.point == "/" or f"/{path}/".startswith(f"{holding.point}/")
    assert covered(mounts, "/", ["/lib/libc.so.1"]) == ("/lib/libc.so.1",)


def test_the_own_view_leaves_out_mounts_and_rights() -> None:
    assert own_view("/", "/store/view")[-4:] == ("-o", "ro,nosub,nodevices,nosetuid", "/", "/store/view")


def chosen(path: str, **more: object) -> Selection:
    why = (Reason("needed", "/sbin/init"),)
    entry = Entry(RootPath(path), FileType.FILE, 0o755, 0, 2, Layer.SHARED, why, source=RootPath(path))
    made = Selection(("x",), Path("/"), "illumos", (entry,), (), (), (), ZoneSettings())
    return made._replace(**more)  # type: ignore[arg-type]


def test_a_covered_file_is_never_taken_for_the_sources_own() -> None:
    libc = chosen("/lib/libc.so.1")
    refuse_covered(libc, parse(TEXT))
    with pytest.raises(SourceError, match=r"mounted over /lib/libc\.so\.1") as caught:
        refuse_covered(libc, parse(TEXT + LIBC))
    assert "umount /lib/libc.so.1" in str(caught.value.hint)
    refuse_covered(
        chosen("/lib/libc.so.1", views={"/lib/libc.so.1": "/view/lib/libc.so.1"}), parse(TEXT + LIBC)
    )


# --- an image's mounts --------------------------------------------------------------------------------


def test_an_image_is_shown_by_whatever_name_it_was_mounted(tmp_path: Path) -> None:
    """The name leads through a link that may have been flipped; the inode is what is mounted."""
    for name in ("image/usr", "other/usr"):
        (tmp_path / name).mkdir(parents=True)
    os.symlink(tmp_path / "image/usr", tmp_path / "root")  # stands for the mount: stat(2) passes through
    shown = table("r / zfs", f"/z/web/image/usr {tmp_path}/root lofs")
    assert is_shown(shown, tmp_path / "image")
    assert not is_shown(shown, tmp_path / "other")
    assert not is_shown(table(f"x {tmp_path}/root zfs"), tmp_path / "image")
    assert not is_shown(table("x /no/such/place lofs"), tmp_path / "image")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ("ro,nodevices,dev=1", ""),
        ("ro,nosuid", ""),
        ("ro", "mounted with devices"),
        ("rw,nodevices", "mounted writable"),
    ],
)
def test_a_mount_protects_by_its_options(options: str, why: str) -> None:
    assert why_unprotected(parse(f"/i/usr\t/z/root/usr\tlofs\t{options}\t1\n").at("/z/root/usr")) == why


def test_no_mount_protects_nothing() -> None:
    assert why_unprotected(None) == "mounted writable"
