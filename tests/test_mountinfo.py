"""The mountinfo parser: against the kernel's own word, and against text the kernel would never write."""

import os
import random
import string
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from needs import needs

from partialroot.errors import PartialRootError
from partialroot.host.linux.mountinfo import Mount, MountTable, escape, parse, read

Mounter = Callable[[Path], Path]

LINE = r"36 35 98:0 /a\040b /mnt\0114\134x rw,noatime master:1 shared:7 - fuse.x /dev/my\040disk rw,errors=x"


def kernel_mount_id(path: Path) -> int:
    """Return the id of the mount that holds a path, as the kernel tells of an open descriptor."""
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW)
    try:
        lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines()
    finally:
        os.close(descriptor)
    return next(int(line.split()[1]) for line in lines if line.startswith("mnt_id:"))


def test_a_line_is_read_field_by_field() -> None:
    assert parse(LINE + "\n") == (
        Mount(
            id=36,
            parent=35,
            dev="98:0",
            root="/a b",
            point="/mnt\t4\\x",
            options=("rw", "noatime"),
            propagation=("master:1", "shared:7"),
            fstype="fuse.x",
            source="/dev/my disk",
        ),
    )


@pytest.mark.parametrize(
    "broken", ["36", LINE.replace(" - ", " "), LINE.replace("36", "x"), LINE + r"\n"[:0]]
)
def test_what_the_kernel_would_not_write_is_one_error(broken: str) -> None:
    if broken == LINE:
        broken = LINE.replace(r"\040b", r"\4b")
    with pytest.raises(PartialRootError, match="mountinfo has a line"):
        parse(broken)


names = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=8)
paths = st.lists(names, max_size=4).map(lambda parts: "/" + "/".join(parts))


@given(point=paths, root=paths, source=names.filter(lambda name: "/" not in name))
def test_any_name_comes_back_from_the_kernels_escapes(point: str, root: str, source: str) -> None:
    line = f"1 0 8:1 {escape(root)} {escape(point)} rw - ext4 {escape(source)} rw"
    (mount,) = parse(line)
    assert (mount.root, mount.point, mount.source) == (root, point, source)


@given(st.text(max_size=200))
def test_any_text_is_mounts_or_one_error(text: str) -> None:
    with suppress(PartialRootError):
        ask_everything(parse(text))


lines = st.builds(
    "{} {} 8:{} {} {} rw{} - ext4 x rw".format,
    st.integers(0, 5),
    st.integers(0, 5),
    st.integers(0, 2),
    st.sampled_from(["/", "/a", "/a//deleted", "mnt:[4026531840]"]),
    st.sampled_from(["/", "/a", "/a/b", "/a/b/c", "/ab"]),
    st.sampled_from(["", " shared:1", " master:2 propagate_from:1", " unbindable"]),
)


@given(st.lists(lines, max_size=8), st.integers(0, 500))
def test_mounts_in_loops_and_twice_never_hang(text: list[str], cut: int) -> None:
    ask_everything(parse("\n".join(text)))
    with suppress(PartialRootError):
        ask_everything(parse("\n".join(text)[:cut]))


def ask_everything(mounts: MountTable) -> None:
    """Call everything that can be asked; each answer is one of the table, or its stand-in for ``/``."""
    for path in ("/", "/a", "/a/b", "/a/b/c", "/ab/c"):
        held = mounts.holding(path)
        assert held in mounts or held.dev == ""
        assert path == held.point or path.startswith(held.point.rstrip("/") + "/")
        seen = mounts.at(path)
        assert seen is None or seen.point == path
        assert set(mounts.below(path)) <= set(mounts)
        mounts.inside(path)


def test_every_mount_of_this_machine_is_found_as_the_kernel_finds_it() -> None:
    mounts = read()
    for point in mounts.points:
        if os.path.exists(point):
            assert mounts.holding(point).id == kernel_mount_id(Path(point)), point


@needs("mount")
def test_stacked_and_hidden_mounts(scratch: Path, mounted: Mounter) -> None:
    inner = scratch / "a/b"
    inner.mkdir(parents=True)
    hidden = mounted(inner)
    mounted(scratch / "a")
    inner.mkdir()
    assert read().holding(hidden).id == kernel_mount_id(hidden) == read().holding(scratch / "a").id
    assert read().at(hidden) is None
    mounted(scratch / "a")
    top = read().at(scratch / "a")
    assert top is not None and top.id == kernel_mount_id(scratch / "a")
    assert [mount.point for mount in read().below(scratch)] == [str(scratch / "a")] * 2 + [str(inner)]


@needs("mount")
@pytest.mark.parametrize("seed", range(3))
def test_random_mounts_with_ugly_names(scratch: Path, mounted: Mounter, seed: int) -> None:
    dice = random.Random(seed)
    ugly = " \t\n\\#\r\x0b\x85\u2028é\udcff-" + string.ascii_letters
    places = [scratch]
    for _ in range(12):
        place = dice.choice(places) / ("n" + "".join(dice.choices(ugly, k=6)))
        place.mkdir(exist_ok=True)
        places.append(place)
        if dice.random() < 0.6:
            mounted(place)
    for place in filter(os.path.lexists, places):
        assert read().holding(place).id == kernel_mount_id(place)


@needs("mount")
def test_below_is_an_order_to_unmount_in(scratch: Path) -> None:
    for name in ("a", "a/b", "a/b/c", "d"):
        (scratch / name).mkdir()
        for _ in range(2):
            subprocess.run(["mount", "-t", "tmpfs", "none", scratch / name], check=True)
    points = [mount.point for mount in read().below(scratch)]
    assert len(points) == 8
    for point in points:
        subprocess.run(["umount", point], check=True)


def test_a_sibling_with_the_same_beginning_is_not_below() -> None:
    text = "1 0 8:1 / / rw - ext4 x rw\n2 1 8:2 / /ab rw - ext4 y rw\n3 1 8:3 / /a rw - ext4 z rw"
    mounts = parse(text)
    assert [mount.point for mount in mounts.below("/a")] == ["/a"]
    assert mounts.holding("/abc").point == "/"
    assert mounts.inside("/ab/c") == ("8:2", "/c")
    assert mounts.inside("/ab") == ("8:2", "/")


def test_the_name_inside_a_file_system_starts_at_the_mounts_root() -> None:
    mounts = parse("1 0 8:1 / / rw - ext4 x rw\n2 1 8:2 /@var /var rw - btrfs y rw")
    assert mounts.inside("/var/lib") == ("8:2", "/@var/lib")
    assert mounts.inside("/var") == ("8:2", "/@var")
    assert mounts.inside("/variant") == ("8:1", "/variant")


def test_in_a_chroot_the_mount_of_the_root_is_not_known() -> None:
    mounts = parse("40 27 0:5 / /proc rw - proc proc rw")
    assert not mounts.is_rooted
    assert mounts.holding("/usr").dev == ""
    assert mounts.holding("/proc/1").point == "/proc"
    assert read().is_rooted
