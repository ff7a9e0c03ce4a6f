"""Power cuts: what a journalled disk really holds at each effect is mounted, and the next command given.

The disk is a file behind a loop device: its content at an effect is what would be left of it. It is mounted
with all that ext4 has to lose data: names are journalled without the data they lead to, and no heuristics
save files that are renamed over others. "Metadata first" also has the names of each effect committed,
by syncing a file that has nothing to do with it.
"""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from killing import Point, Ran, run, same_second, warm_up
from needs import needs
from places import Place
from spaces import mounts_below

pytestmark = [needs("root", "mount", "ext4"), pytest.mark.kill]

HARSH = "loop,data=writeback,noauto_da_alloc,commit=300"


class Disk:
    """A disk that can be copied as it is at any moment, and replaced by such a copy."""

    def __init__(self, folder: Path) -> None:
        self.image, self.top, self.folder = folder / "image", folder / "top", folder
        self.top.mkdir()
        subprocess.run(["truncate", "-s", "12M", self.image], check=True)
        subprocess.run(["mkfs.ext4", "-q", self.image], check=True)
        self.copies: list[Path] = []
        self.mount(self.image)

    def mount(self, image: Path) -> None:
        subprocess.run(["mount", "-o", HARSH, image, self.top], check=True)

    def unmount(self) -> None:
        for mount in [*mounts_below(self.top), str(self.top)]:
            subprocess.run(["umount", mount], check=True)

    def copy(self, number: int) -> None:
        """Keep what would be left if the power failed now."""
        copy = self.folder / f"copy{number}"
        subprocess.run(["cp", "--sparse=always", self.image, copy], check=True)

    def commit_names(self) -> None:
        """Have the file system write its journal, and no data of other files."""
        fd = os.open(self.top / "unrelated", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(fd, b"x")
        os.fsync(fd)
        os.close(fd)

    def different(self, count: int) -> Iterator[Path]:
        """Yield the copies that differ from the one before; each is gone afterwards."""
        before = b""
        for number in range(count):
            copy = self.folder / f"copy{number}"
            if copy.exists():
                content = copy.read_bytes()
                if content != before:
                    yield copy
                before = content
                copy.unlink()


@pytest.fixture
def disk(tmp_path: Path, mounted: Callable[..., Path]) -> Iterator[Disk]:
    warm_up()
    made = Disk(mounted(tmp_path, "-o", "mode=0755"))
    yield made
    made.unmount()


def cut_at_each_effect(disk: Disk, place: Place, *, names: bool) -> Ran:
    """Give the command, keeping a copy of the disk at each effect and one at the end.

    With ``names`` at every second: each of these copies differs from the one before.
    """

    def act(count: int, _: Point) -> None:
        if names and count % 2:
            return
        if names:
            disk.commit_names()
        disk.copy(count)

    done = run(*place.words, act=act)
    assert done.code == 0, done.err
    disk.copy(len(done.points))
    return done


@pytest.mark.parametrize("names", [False, True], ids=["as it is", "metadata first"])
@pytest.mark.parametrize("verb", ["populate", "change", "remove"])
def test_the_disk_at_each_effect(disk: Disk, verb: str, names: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(disk.top, verb)
    with same_second(monkeypatch):
        place.prepare()
        (disk.top / "unrelated").touch()
        subprocess.run(["sync", "--file-system", disk.top], check=True)
        before = quiet(place, times=True)
        done = cut_at_each_effect(disk, place, names=names)
        after = quiet(place, times=False)
        disk.unmount()
        ends = []
        for copy in disk.different(len(done.points) + 1):
            disk.mount(copy)
            ends.append(end_of(place, before, after))
            disk.unmount()
        disk.mount(disk.image)
    assert "".join(ends).rstrip("a").strip("b") == "", ends
    assert ends[-1] == "a", "what a command said it did must be on the disk"
    assert len(ends) > (20 if names else 3), ends


def quiet(place: Place, *, times: bool) -> list[str]:
    """Return how the place is, without its mounts: none outlives a power cut."""
    for mount in mounts_below(place.zone.parent):
        subprocess.run(["umount", mount], check=True)
    return place.look(times=times)


def end_of(place: Place, before: list[str], after: list[str]) -> str:
    """Give the next command on the disk that is mounted now; return how it left the place, "b" or "a"."""
    for trial in place.trials():
        trial.unlink()
    said = run(*place.next()) if place.store.exists() else None
    assert said is None or said.code == (0 if (place.zone / "root").exists() else 2), said
    now = quiet(place, times=True)
    if now == before:
        return "b"
    assert quiet(place, times=False) == after
    return "a"
