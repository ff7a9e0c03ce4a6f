"""A small source, all of it selected, and the probe of what the host offers for it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from moments import descriptors
from treedump import differences, dump

from partialroot.host.facts import existing
from partialroot.host.linux.facts import probe
from partialroot.host.linux.mountinfo import read
from partialroot.model import Entry, Layer, Selection, ZoneSettings
from partialroot.nodes import FileType, Node
from partialroot.paths import RootPath
from partialroot.plan.facts import HostFacts

TYPES = {0o100000: FileType.FILE, 0o040000: FileType.DIR, 0o120000: FileType.SYMLINK}


def make_source(top: Path) -> Path:
    """Make a source: two shared programs, one of them setuid, and a private file."""
    for name, size in (("usr/bin/tool", 3000), ("usr/bin/big", 9000), ("usr/bin/su", 10), ("etc/conf", 20)):
        file = top / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x" * size)
        file.chmod(0o755)
    (top / "usr/bin/su").chmod(0o4755)
    return top


def selection(source: Path) -> Selection:
    """Select all of a source; /usr is shared."""
    found = [Path(where, name) for where, dirs, files in os.walk(source) for name in dirs + files]
    return Selection(
        profiles=("all",),
        source=source,
        platform="linux",
        entries=tuple(entry(source, path) for path in sorted(found)),
        missing=(),
        warnings=(),
        tops=(RootPath("/usr"),),
        settings=ZoneSettings(),
    )


def entry(source: Path, file: Path) -> Entry:
    """Return the entry of one file."""
    path, status = RootPath("/" + str(file.relative_to(source))), file.lstat()
    type_, mode = TYPES[status.st_mode & 0o170000], status.st_mode & 0o7777
    node = Node(
        type_,
        mode,
        status.st_uid,
        status.st_gid,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_dev,
        status.st_ino,
        status.st_nlink,
    )
    layer = Layer.SHARED if path.is_below("/usr") else Layer.PRIVATE
    return Entry(path, type_, mode, status.st_uid, status.st_gid, layer, (), source=path, node=node)


def facts(source: Path, store: Path, *zonepaths: Path) -> HostFacts:
    """Probe, and make sure that it left nothing behind."""
    with nothing_changed(source, existing(store), *map(existing, zonepaths)):
        return probe(selection(source), store, zonepaths)


@contextmanager
def nothing_changed(*places: Path) -> Iterator[None]:
    """Make sure that the trees are as they were (but for directories' times), and no mount came or went."""
    before, mounts, count = dumps(places), read(), descriptors()
    yield
    assert not differences(before, dumps(places))
    assert (read(), descriptors()) == (mounts, count)


def dumps(places: tuple[Path, ...]) -> list[str]:
    """Dump trees; the times of directories go with what is made and removed in them."""
    lines = [f"{place}{line}" for place in places for line in dump(place)]
    return [line.partition(" mtime=")[0] if " dir " in line else line for line in lines]
