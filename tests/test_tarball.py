"""Tests of reading and unpacking tarballs: what is honest comes out as it is, what is hostile not at all."""

import gzip
import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from needs import needs
from tarballs import HOSTILE, directory, link, member, symlink, tarball
from treedump import dump

from partialroot.errors import PartialRootError, SourceError, SpaceError
from partialroot.nodes import FileType
from partialroot.source.tarball import ALWAYS_ALLOWED, MOST_RATIO, Room, Tarball
from partialroot.zone import unpack
from partialroot.zone.store import Store
from partialroot.zone.unpack import unpacked

ROOM = Room(1 << 30, 1 << 20)
HONEST = [
    directory("./", mode=0o777),
    directory("./usr", mode=0o755),
    directory("./usr/bin", mode=0o1775, uid=3, gid=4),
    member("./usr/bin/tool", data=b"tool" * 1000, mode=0o4755, mtime=1_600_000_000),
    link("./usr/bin/other", "./usr/bin/tool"),
    symlink("./bin", "./usr/bin", uid=7),
    symlink("./evil", "/etc/shadow"),
    member("./etc/motd", data=b"welcome", mode=0o600, uid=0, gid=12),
    member("./empty"),
    member("./odd\nname \udcff", data=b"x"),
    directory("./usr", mode=0o751),
]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@needs("root")
@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
@pytest.mark.parametrize("name", ["zone.tar.gz", "zone.tar"])
def test_it_comes_out_as_tar_would_unpack_it(tmp_path: Path, store: Store, form: int, name: str) -> None:
    made = tarball(tmp_path / name, HONEST, form)
    reference = tmp_path / "reference"
    reference.mkdir()
    tar = ["tar", "-x", "-p", "--numeric-owner", "--same-owner", "-f", str(made), "-C", str(reference)]
    subprocess.run(tar, check=True)
    with unpacked(store.root, made) as found:
        ours = dump(found.root, times=False)
        assert found.root.stat().st_mode & 0o777 == 0o700  # nobody else looks at it
        assert found.root.parent == store.images
    assert ours[1:] == dump(reference, times=False)[1:]
    assert os.listdir(store.images) == [] and os.listdir(store.root / "locks") == []


def test_times_and_missing_parents(tmp_path: Path, store: Store) -> None:
    made = tarball(tmp_path / "z.tar.gz", [member("a/b/c", data=b"x", mtime=1_600_000_000, mode=0o640)])
    with unpacked(store.root, made) as found:
        file = found.root / "a/b/c"
        assert (file.stat().st_mtime, file.stat().st_mode & 0o7777) == (1_600_000_000, 0o640)
        assert (found.root / "a").stat().st_mode & 0o777 == 0o755


@needs("root")
def test_attributes_that_a_zone_may_have_are_kept(tmp_path: Path, store: Store) -> None:
    headers = {
        f"SCHILY.xattr.{key}": "\x01\udcff" for key in ("user.x", "trusted.overlay.opaque", "security.ima")
    }
    made = tarball(tmp_path / "z.tar.gz", [member("f", pax_headers=headers)])
    with unpacked(store.root, made) as found:
        assert {key: os.getxattr(found.root / "f", key) for key in os.listxattr(found.root / "f")} == {
            "user.x": b"\x01\xff"
        }


@pytest.mark.parametrize("what", HOSTILE)
def test_what_could_harm_is_refused_before_anything_is_written(
    tmp_path: Path, store: Store, what: str
) -> None:
    members, why = HOSTILE[what]
    made = tarball(tmp_path / "zone.tar.gz", [member("first", data=b"x"), *members])
    before = dump(tmp_path)
    with pytest.raises(SourceError, match=why) as refused, unpacked(store.root, made):
        pass
    assert str(made) in str(refused.value)
    assert dump(tmp_path) == before


def test_bombs_are_refused(tmp_path: Path, store: Store) -> None:
    zeros = tmp_path / "zeros.tar.gz"
    size = 2 * ALWAYS_ALLOWED
    with gzip.open(zeros, "wb", compresslevel=6) as file:
        info, _ = member("zeros")
        info.size = size
        file.write(info.tobuf())
        for _ in range(size >> 20):
            file.write(bytes(1 << 20))
    with pytest.raises(SpaceError, match="larger") as refused, unpacked(store.root, zeros):
        pass
    assert f"{MOST_RATIO} times" in str(refused.value)
    assert os.listdir(store.images) == []


@pytest.mark.parametrize("size", [1 << 40, (1 << 63) - 1])
def test_a_size_is_believed_no_further_than_there_is_room(tmp_path: Path, size: int) -> None:
    """Refused by its header: nothing of it is read."""
    info, _ = member("huge")
    info.size = size
    path = tmp_path / "huge.tar"
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(10240))
    with pytest.raises(SpaceError):
        Tarball(path, ROOM)


def test_room_counts(tmp_path: Path) -> None:
    made = tarball(tmp_path / "z.tar", [member(str(number), data=bytes(600)) for number in range(9)])
    Tarball(made, ROOM)
    with pytest.raises(SpaceError, match="8 entries"):
        Tarball(made, Room(1 << 30, 8))
    with pytest.raises(SpaceError, match="larger"):
        Tarball(made, Room(9 * 1024, 1 << 20))


def test_a_header_has_its_bounds(tmp_path: Path) -> None:
    """A pax header of a gigabyte would be read into memory; many in a row are a recursion."""
    info, _ = member("x", tarfile.XHDTYPE)
    info.size = 1 << 30
    (tmp_path / "long.tar.gz").write_bytes(gzip.compress(info.tobuf() + bytes(1 << 20)))
    with pytest.raises(PartialRootError):
        Tarball(tmp_path / "long.tar.gz", ROOM)
    info.size = 512
    one = info.tobuf() + b"20 comment=abcdefgh\n".ljust(512, b"\0")
    (tmp_path / "many.tar").write_bytes(one * 3000 + bytes(1024))
    with pytest.raises(SourceError):
        Tarball(tmp_path / "many.tar", ROOM)


def whole() -> bytes:
    """Return an honest tar."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, data in HONEST:
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


WHOLE = whole()


@pytest.mark.parametrize("part", [0, 0.03, 0.1, 0.3, 0.5])
def test_what_ends_too_early_is_refused(tmp_path: Path, part: float) -> None:
    for name, data in (("cut.tar", WHOLE), ("cut.tar.gz", gzip.compress(WHOLE))):
        (tmp_path / name).write_bytes(data[: int(part * len(data))])
        with pytest.raises(SourceError):
            Tarball(tmp_path / name, ROOM)


def test_checksums_and_what_follows(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(WHOLE))
    packed[-6] ^= 1  # of gzip's checksum
    (tmp_path / "wrong.tar.gz").write_bytes(packed)
    (tmp_path / "more.tar").write_bytes(WHOLE + b"more")
    for name in ("wrong.tar.gz", "more.tar"):
        with pytest.raises(SourceError):
            Tarball(tmp_path / name, ROOM)


@given(st.data())
def test_whatever_it_is_it_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    damaged = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, 9000))
        damaged[at] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.tar"
    path.write_bytes(damaged)
    try:
        for one in Tarball(path, ROOM).members:
            assert ".." not in one.path.parts and one.type in (FileType.FILE, FileType.DIR, FileType.SYMLINK)
    except PartialRootError as error:
        assert error.message and str(path) in str(error)


@pytest.mark.parametrize(
    ("name", "make", "why"),
    [
        ("absent.tar.gz", lambda path: None, "No such file"),
        ("pipe.tar.gz", os.mkfifo, "not a regular file"),
        ("dir.tar.gz", Path.mkdir, "directory"),
        ("zone.zip", Path.touch, "ends in"),
        ("empty.tar.gz", Path.touch, "tarball"),
        ("text.tar.gz", lambda path: path.write_text("text" * 500), "tarball"),
    ],
)
def test_what_is_no_tarball(tmp_path: Path, name: str, make: object, why: str) -> None:
    make(tmp_path / name)  # type: ignore[operator]
    with pytest.raises(SourceError, match=why):
        Tarball(tmp_path / name, ROOM)


def test_what_changes_between_the_readings_is_refused(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tarball(tmp_path / "z.tar.gz", [member("a", data=b"x"), member("b", data=b"x")])
    other = tarball(tmp_path / "other.tar.gz", [member("a", data=b"x"), symlink("b", "/etc")])
    fewer = tarball(tmp_path / "fewer.tar.gz", [member("a", data=b"x")])
    data = {path: path.read_bytes() for path in (made, other, fewer)}
    for replacement in (other, fewer):
        made.write_bytes(data[made])
        found = Tarball(made, ROOM)
        made.write_bytes(data[replacement])
        monkeypatch.setattr(unpack, "Tarball", lambda *_, found=found: found)
        with pytest.raises(SourceError, match="changed while"), unpacked(store.root, made):
            pass
        assert os.listdir(store.images) == []


def test_what_unpackers_left_that_died_is_swept(tmp_path: Path, store: Store) -> None:
    (store.images / (".new-" + "0" * 64)).mkdir()
    with unpacked(store.root, tarball(tmp_path / "z.tar.gz", [member("a")])) as found:
        assert os.listdir(store.images) == [found.root.name]
