"""Disks that are full or fail, sources that change: exit 1, one sentence with the path, all as before."""

import errno
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from killing import Act, Point, Ran, failing_at, run, same_second, warm_up
from needs import needs
from places import Place
from spaces import LoopFs
from treedump import differences

pytestmark = needs("root", "mount")

ERRORS = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS, errno.EMLINK)
STEP = 2
"""Every second effect of a command fails here; test_apply_crash.py has all, below the command line."""


def first(points: list[Point], name: str, what: str = "") -> int:
    """Return the number of the first effect called ``name`` about something with ``what``."""
    return next(number for number, point in enumerate(points) if point[0] == name and what in point[1])


# --- each effect fails ----------------------------------------------------------------------------------


def test_a_disk_that_fails_at_each_effect(place: Place) -> None:
    place.prepare()
    done = run(*place.words)
    after, points = place.look(), done.points
    before, ends = place.prepare(), ""
    for number in range(first(points, "open", "zone-"), len(points), STEP):
        error = ERRORS[number % len(ERRORS)]
        failed = failing_at(number, error, *place.words)
        end = place.judge(before, after)
        check_said(place, failed, error, end, points[number])
        ends += end[0]
        if end == "after" or place.verb == "populate":
            before = place.prepare()
    assert ends.count("b") > 6, ends
    assert ends.endswith("a"), ends


def check_said(place: Place, failed: Ran, error: int, end: str, point: Point) -> None:
    """Check the exit code, and that what failed is named, with where."""
    if failed.code == 0:  # after the commit what failed once is done again; a lock may name nobody
        assert end == "after" or point[0] == "write", point
        return
    assert (failed.code in (1, 2), end) == (True, "before"), (point, failed.err)
    lines = [line for line in failed.err.splitlines() if line.startswith("partialroot: error: ")]
    assert len(lines) == 1, failed.err
    assert os.strerror(error) in lines[0], (point, lines)
    assert str(place.top) in lines[0], (point, lines)
    assert "interrupted" not in run(*place.next()).err


# --- real disks -----------------------------------------------------------------------------------------


@pytest.fixture
def disk(loop_fs: LoopFs, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """All on a small journalled disk, with a zone there that is to be changed."""
    warm_up()
    made = Place(loop_fs("ext4", "16M"), "change")
    made.prepare()
    with same_second(monkeypatch):
        yield made
    made.clear()


def fill_bytes(top: Path) -> None:
    """Use up all blocks."""
    with open(top / "filler", "wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(1 << 16)):
            pass
    with open(top / "filler2", "wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(1024)):
            pass


def fill_inodes(top: Path) -> None:
    """Use up all inodes."""
    (top / "fillers").mkdir()
    with suppress(OSError):
        for number in range(1 << 20):
            (top / f"fillers/{number}").touch()


def meanwhile(number: int, change: Callable[[], object]) -> Act:
    """Return what lets something else happen just before an effect."""

    def act(count: int, _: Point) -> None:
        if count == number:
            change()

    return act


@pytest.mark.parametrize("fill", [fill_bytes, fill_inodes], ids=["bytes", "inodes"])
@needs("ext4")
def test_a_disk_that_is_full(disk: Place, fill: Callable[[Path], None]) -> None:
    """Full when the command begins: refused; full a moment later: undone."""
    before = disk.look(times=True)
    points = run("plan", *disk.words[2:]).points
    (disk.top / "new.toml").write_text(BIG)
    fill(disk.top)
    full = disk.look(times=True)
    refused = run(*disk.words)
    assert refused.code in (1, 2), refused.err
    assert str(disk.top) in refused.err or "free, " in refused.err, refused.err
    assert full == before == disk.look(times=True)
    subprocess.run(["rm", "-rf", *disk.top.glob("filler*")], check=True)
    failed = run(*disk.words, act=meanwhile(len(points) + 8, lambda: fill(disk.top)))
    assert failed.code == 1, failed.err
    assert "No space left on device (ENOSPC)" in failed.err
    assert f"error: {disk.zone}" in failed.err or f"error: {disk.store}" in failed.err
    assert "hint: free some bytes or inodes on that file system" in failed.err
    assert disk.look(times=True) == before
    subprocess.run(["rm", "-rf", *disk.top.glob("filler*")], check=True)
    assert run(*disk.words).code == 0


BIG = "".join(f'[text."/var/new/{number}"]\ncontent = "{"x" * 9000}"\n' for number in range(40))


@needs("ext4")
def test_a_store_that_cannot_be_written(disk: Place) -> None:
    before = disk.look(times=True)
    subprocess.run(["umount", disk.zone / "root/usr"], check=True)
    subprocess.run(["mount", "-o", "remount,ro", disk.top], check=True)
    try:
        for words in (disk.words, ("remove", disk.zone, "--store", disk.store)):
            refused = run(*words)
            assert refused.code == 2, refused.err
            assert "Read-only file system" in refused.err
            assert str(disk.top) in refused.err
    finally:
        subprocess.run(["mount", "-o", "remount,rw", disk.top], check=True)
    assert run("mount", disk.zone, "--store", disk.store).code == 0
    assert disk.look(times=True) == before


MOST_LINKS = 65000  # ext4's


@needs("ext4")
def test_past_the_limit_of_links_files_are_copied(loop_fs: LoopFs) -> None:
    """A file whose links were used up meanwhile is an error; the next command plans a copy of it."""
    warm_up()
    place = Place(loop_fs("ext4", "64M"), "populate")
    place.prepare()
    tool, others = place.source / "usr/bin/tool", place.top / "links"
    others.mkdir()
    for number in range(MOST_LINKS - 3):
        os.link(tool, others / str(number))
    points = run("plan", *place.words[2:], "--json").points
    before = place.look()

    def use_up() -> None:
        os.link(tool, others / "last")
        os.link(tool, others / "very last")

    failed = run(*place.words, act=meanwhile(len(points) + 5, use_up))
    assert failed.code == 1, failed.err
    assert "/usr/bin/tool: Too many links (EMLINK)" in failed.err
    assert place.look() == before
    done = run(*place.words, "--json")
    assert done.code == 0, done.err
    methods = {entry["path"]: entry["method"] for entry in json.loads(done.out)["entries"]}
    assert methods["/usr/bin/tool"] == "copy"
    assert not (place.zone / "root/usr/bin/tool").samefile(tool)
    assert os.lstat(place.zone / "root/usr/bin/tool").st_nlink == 1
    assert run("verify", place.zone, "--store", place.store).code == 0
    place.clear()


# --- the source -----------------------------------------------------------------------------------------


class Planned(NamedTuple):
    """A place, how it is, and the effects that its command has."""

    place: Place
    before: list[str]
    points: list[Point]

    def meanwhile(self, name: str, what: str, change: Callable[[Path], object], file: str) -> str:
        """Fail since ``change`` happens to a file of the source meanwhile; return what was said."""
        path = self.place.source / file
        number = first(self.points, name, what)
        failed = run(*self.place.words, act=meanwhile(number, lambda: change(path)))
        assert failed.code == 1, failed.err
        assert self.place.look() == self.before
        return failed.err


@pytest.fixture
def planned(tmp_path: Path, mounted: Callable[..., Path]) -> Iterator[Planned]:
    """A place without a zone, with an empty store."""
    warm_up()
    place = Place(mounted(tmp_path, "-o", "mode=0755"), "populate")
    place.prepare()
    (place.source / "etc/big").write_bytes(bytes(range(256)) * 8192)  # too large to be kept for all zones
    (place.top / "old.toml").write_text('files = ["/usr/bin/tool", "/etc/big"]\n')
    for _ in range(2):  # the first makes the store too
        points = run(*place.words).points
        assert run("remove", place.zone, "--store", place.store).code == 0
    yield Planned(place, place.look(), points)
    place.clear()


def rewrite(file: Path) -> None:
    file.write_bytes(b"other")


def append(file: Path) -> None:
    with file.open("ab") as open_file:
        open_file.write(b"more")


def replace(file: Path) -> None:
    file.with_name("beside").write_bytes(file.read_bytes())
    file.with_name("beside").rename(file)


def arm(file: Path) -> None:
    file.chmod(0o4755)


@pytest.mark.parametrize("name", ["usr/bin/tool", "etc/big"], ids=["linked", "copied"])
@pytest.mark.parametrize("change", [Path.unlink, rewrite, append, replace, arm])
def test_a_source_that_changes_after_the_plan(
    planned: Planned, change: Callable[[Path], object], name: str
) -> None:
    said = planned.meanwhile("fsync", "journal", change, name)
    what = "vanished from the source" if change is Path.unlink else "changed in the source"
    assert f"error: /{name}: {what}" in said


@pytest.mark.parametrize("change", [rewrite, append])
def test_a_source_that_changes_while_it_is_copied(planned: Planned, change: Callable[[Path], object]) -> None:
    said = planned.meanwhile("copy", "big", change, "etc/big")
    assert "/etc/big: " in said
    assert "changed in the source while it was read" in said or "became shorter" in said


def test_a_source_that_changes_all_the_time(planned: Planned) -> None:
    """While somebody writes, either the file of one moment is in the zone, or there is no zone."""
    place, before, _ = planned
    file = place.source / "etc/big"
    writing = "open(sys.argv[1], 'r+b').write(bytes([one]) * (1 << 20))"
    program = f"import sys\nwhile True:\n for one in b'ab':\n  {writing}"
    with subprocess.Popen(["python3", "-c", program, file]) as writer:
        try:
            for _ in range(10):
                done = run(*place.words)
                assert done.code in (0, 1, 2), done.err
                if done.code == 0:
                    assert run("verify", place.zone, "--store", place.store).code == 0
                    run("remove", place.zone, "--store", place.store)
                else:
                    assert "/etc/big: changed" in done.err
                assert differences(before, place.look()) == []
        finally:
            writer.kill()
