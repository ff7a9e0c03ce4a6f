"""Every zonepath that is refused, with its message and its remedy."""

import os
from pathlib import Path

import pytest
from children import as_nobody, in_child, in_user_namespace
from needs import needs

from partialroot.errors import ZonepathError
from partialroot.zone.zonepath import STICKY, SYSTEM, Checker, check_vacant, check_zonepath

SOURCE, STORE = Path("/"), Path("/var/lib/no-store")  # which no machine has


def refusal(text: str | Path, source: Path = SOURCE, store: Path = STORE) -> ZonepathError:
    with pytest.raises(ZonepathError) as caught:
        check_zonepath(str(text), source=source, store=store)
    assert (caught.value.code, caught.value.kind) == (2, "zonepath")
    return caught.value


def accepted(text: str | Path, source: Path = SOURCE, store: Path = STORE) -> Path:
    return check_zonepath(str(text), source=source, store=store)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("web", "zonepaths are absolute"),
        ("", "zonepaths are absolute"),
        ("./web", "zonepaths are absolute"),
        ("/", "the root directory cannot be a zone"),
        ("///", "the root directory cannot be a zone"),
        ("/zones/../etc", "has no '..'"),
        ("/..", "has no '..'"),
        ("/zones/a\nb", "printable"),
        ("/zones/\x1b[2J", "printable"),
        ("/zones/a\0b", "printable"),
        ("/zones/\udce9", "printable"),
        ("/zones/.partialroot/images/x", "where images are kept"),
        ("/var/lib/no-store", "is the store"),
        ("/var/lib/no-store/images/x", "is the store"),
        ("/var/lib", "lies below it"),
    ],
)
def test_refused_by_its_name(text: str, message: str) -> None:
    assert message in str(refusal(text))


@pytest.mark.parametrize("top", sorted([*(one.name for one in SYSTEM), "lib", "lib64", "libx32"]))
@pytest.mark.parametrize("below", ["", "/", "/web", "/a/b/c"])
def test_system_directories(top: str, below: str) -> None:
    assert f"/{top} belongs to the system" in str(refusal(f"/{top}{below}"))


@pytest.mark.parametrize("text", ["/zones/web", "/zones/web/", "//zones//web", "/zones/./web"])
def test_a_new_place_is_accepted_however_it_is_written(text: str) -> None:
    assert accepted(text) == Path("/zones/web")


def test_symlinks_in_any_component(scratch: Path) -> None:
    (scratch / "real").mkdir()
    (scratch / "link").symlink_to("real")
    (scratch / "dangling").symlink_to("nothing")
    for name in ("link", "link/web", "link/a/web", "dangling", "dangling/web"):
        error = refusal(scratch / name)
        assert "is a symlink" in error.message
    assert str(scratch / "real/web") in str(refusal(scratch / "link/web").hint)


def test_no_directory(scratch: Path) -> None:
    (scratch / "file").touch()
    for name in ("file", "file/web"):
        assert f"{scratch}/file is not a directory" in str(refusal(scratch / name))


def test_a_name_that_is_too_long(scratch: Path) -> None:
    assert "cannot be looked at: File name too long" in str(refusal(scratch / ("x" * 256)))


@pytest.mark.parametrize("mode", [0o757, 0o777, 0o1777])
@pytest.mark.parametrize("below", ["shared", "shared/web", "shared/own/web"])
@needs("root")
def test_a_parent_that_others_can_write(scratch: Path, mode: int, below: str) -> None:
    (scratch / "shared/own").mkdir(parents=True)
    (scratch / "shared").chmod(mode)
    error = refusal(scratch / below)
    assert f"{scratch}/shared can be written by others than root" in error.message
    assert error.hint == f"chown root {scratch}/shared; chmod go-w {scratch}/shared"


@needs("root")
def test_a_group_s_and_somebody_s_parent(scratch: Path) -> None:
    (scratch / "group").mkdir()
    (scratch / "group").chmod(0o775)
    assert accepted(scratch / "group/web") == scratch / "group/web"  # group root
    os.chown(scratch / "group", 0, 50)
    (scratch / "group").chmod(0o755)
    assert accepted(scratch / "group/web") == scratch / "group/web"  # the group may only read
    (scratch / "group").chmod(0o775)
    assert "can be written by others" in str(refusal(scratch / "group/web"))
    (scratch / "group").chmod(0o755)
    for owner in (33, 65534):
        os.chown(scratch / "group", owner, 0)
        assert "can be written by others" in str(refusal(scratch / "group/web"))


@needs("root")
@pytest.mark.parametrize("top", ["/tmp", "/var/tmp"])
def test_sticky_places_are_excepted(top: str) -> None:
    if Path(top).is_symlink():
        pytest.skip(f"{top} is a symlink")
    assert accepted(f"{top}/no-such-zone") == Path(f"{top}/no-such-zone")


@needs("root")
def test_sticky_places_are_excepted_while_they_are_sticky(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (scratch / "tmp").mkdir()
    monkeypatch.setattr("partialroot.zone.zonepath.STICKY", (*STICKY, scratch / "tmp"))
    (scratch / "tmp").chmod(0o1777)
    assert accepted(scratch / "tmp/web") == scratch / "tmp/web"
    (scratch / "tmp").chmod(0o777)
    assert "can be written by others" in str(refusal(scratch / "tmp/web"))


@needs("root")
def test_without_root_the_parent_is_one_s_own_affair(scratch: Path) -> None:
    (scratch / "shared").mkdir()
    (scratch / "shared").chmod(0o777)
    scratch.chmod(0o755)
    assert in_child(as_nobody, lambda: accepted(scratch / "shared/web")) == scratch / "shared/web"


@needs("root", "userns")
def test_in_a_user_namespace_real_root_is_still_trusted(scratch: Path) -> None:
    assert in_child(in_user_namespace, lambda: accepted(scratch / "web")) == scratch / "web"


def test_source_and_zone_lie_beside_each_other(scratch: Path) -> None:
    source = scratch / "source"
    assert f"lies below the source ({source})" in str(refusal(source / "zones/web", source=source))
    assert f"lies below the source ({source})" in str(refusal(source, source=source))
    assert f"the source ({source}) lies below it" in str(refusal(scratch, source=source))
    assert accepted(scratch / "source2", source=source) == scratch / "source2"


def test_store_and_zone_lie_beside_each_other(scratch: Path) -> None:
    store = scratch / "store"
    assert "is the store" in str(refusal(store / "zones/x", store=store))
    assert f"the store ({store}) lies below it" in str(refusal(scratch, store=store))


def test_no_zone_in_a_zone(scratch: Path) -> None:
    (scratch / "web/root/srv").mkdir(parents=True)
    (scratch / "web/receipt.json").touch()
    for name in ("web/root", "web/root/srv/inner", "web/other"):
        assert f"lies inside the zone at {scratch / 'web'}" in str(refusal(scratch / name))
    assert accepted(scratch / "web") == scratch / "web"
    (scratch / "receipt.json").touch()  # somebody's, of something else
    assert accepted(scratch / "web") == scratch / "web"


@pytest.mark.parametrize("names", [("a", "b", "b/c"), ("a/c", "b", "b/c/d"), ("b/c/d", "a", "b")])
def test_no_zone_in_one_of_the_same_command(scratch: Path, names: tuple[str, ...]) -> None:
    checker = Checker(SOURCE, STORE)
    *others, last = (str(scratch / name) for name in names)
    for one in others:
        assert checker.check(one) == Path(one)
    with pytest.raises(ZonepathError, match="lies inside"):
        checker.check(last)


def test_the_system_s_directories_are_known() -> None:
    assert {"usr", "bin", "sbin", "etc", "boot", "proc", "sys", "dev", "run"} <= {one.name for one in SYSTEM}


# --- what is in it ------------------------------------------------------------------------------------


def test_vacant_places(scratch: Path) -> None:
    (scratch / "empty").mkdir()
    check_vacant(scratch / "empty")
    check_vacant(scratch / "nothing")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["root"], "has a root that is not ours"),
        (["lost+found"], "is not empty (it has 'lost+found')"),
        (["b", "a"], "is not empty (it has 'a')"),
        ([".partialroot-new"], "has unfinished work of another store"),
        ([".partialroot-old", "root"], "has unfinished work of another store"),
    ],
)
def test_occupied_places(scratch: Path, names: list[str], message: str) -> None:
    for name in names:
        (scratch / "web" / name).mkdir(parents=True)
    with pytest.raises(ZonepathError) as caught:
        check_vacant(scratch / "web")
    assert message in caught.value.message
    assert caught.value.hint
