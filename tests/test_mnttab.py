"""/etc/mnttab of illumos: mounts, and what lofs covers in a source."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zone_data import DATA

from partialroot.errors import PartialRootError, SourceError
from partialroot.host.illumos.mnttab import Mount, covered, own_view, parse
from partialroot.model import Entry, FileType, Layer, Reason, Selection, ZoneSettings
from partialroot.paths import RootPath
from partialroot.pipeline.planning import refuse_covered

LIBC = "/usr/lib/libc/libc_hwcap1.so.1\t/lib/libc.so.1\tlofs\tdev=4410002\t1762000003\n"
TEXT = (DATA / "files/etc/mnttab").read_text()


def test_a_global_zones_mounts() -> None:
    mounts = parse(TEXT)
    assert mounts[0] == Mount("rpool/ROOT/tribblix", "/", "zfs", ("dev=4410002",))
    assert {"devfs", "ctfs", "proc", "mntfs", "tmpfs", "objfs", "sharefs"} <= {one.fstype for one in mounts}
    assert mounts[-1].options[:2] == ("rw", "devices")
    assert covered(mounts) == {}


def test_the_variant_of_libc_is_seen() -> None:
    assert covered(parse(TEXT + LIBC)) == {"/lib/libc.so.1": "/usr/lib/libc/libc_hwcap1.so.1"}
    assert covered(parse(TEXT + LIBC), "/a") == {}


def test_paths_are_those_of_the_source() -> None:
    text = "/x\t/a/lib\tlofs\tro\t1\n/y\t/a\tlofs\tro\t1\n/z\t/ab/lib\tlofs\tro\t1\n/y\t/a/lib\tlofs\tro\t2\n"
    assert covered(parse(text), "/a") == covered(parse(text), "/a/") == {"/lib": "/y"}


@pytest.mark.parametrize("line", ["x", "a\tb\tlofs\tro\t1", "a\t/b\tlofs\tro\tone", "a\t/b\tlofs\tro", " "])
def test_what_is_no_mount(line: str) -> None:
    with pytest.raises(SourceError, match="no mount"):
        parse(f"{TEXT}{line}\n")


@given(st.text(alphabet="/a.\t\n0é"))
def test_any_text_is_mounts_or_refused(text: str) -> None:
    try:
        found = covered(parse(text + LIBC))
    except PartialRootError:
        return
    assert "/lib/libc.so.1" in found


def test_the_own_view_leaves_out_mounts() -> None:
    assert own_view("/", "/var/run/view")[-3:] == ("ro,nosub", "/", "/var/run/view")


def test_a_covered_file_is_never_taken_for_the_sources_own() -> None:
    libc = RootPath("/lib/libc.so.1")
    why = (Reason("needed", "/sbin/init"),)
    entry = Entry(libc, FileType.FILE, 0o755, 0, 2, Layer.SHARED, why, source=libc)
    chosen = Selection(("x",), Path("/"), "illumos", (entry,), (), (), (), ZoneSettings())
    refuse_covered(chosen, parse(TEXT))
    with pytest.raises(SourceError, match=r"mounted over /lib/libc\.so\.1") as caught:
        refuse_covered(chosen, parse(TEXT + LIBC))
    assert "nosub / DIRECTORY, then --source DIRECTORY" in str(caught.value.hint)
