"""What was chosen the last time is used again: never where choosing anew would choose something else."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from needs import needs
from remembered import CHANGES, UNHEEDED, WEB, World
from sources import write

from partialroot import observed
from partialroot.errors import MissingError
from partialroot.host import local
from partialroot.pipeline import remembering
from partialroot.pipeline.remembering import observations_of
from partialroot.pipeline.sources import reading
from partialroot.plan.chosen import Chosen
from partialroot.source import content, halves


@pytest.fixture
def world(scratch: Path) -> World:
    return World(scratch)


@needs("root", "glibc")
@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_the_choice_is_noticed(world: World, change: str) -> None:
    before = world.anew()
    assert world.recalled() == before
    CHANGES[change](world)
    known = world.recalled()
    try:
        after = world.anew()
    except MissingError:
        assert known is None
        return
    assert after != before, "it changed nothing"
    assert known is None or known == after
    assert world.remember() == after


@needs("root", "glibc")
@pytest.mark.parametrize("change", UNHEEDED)
def test_nothing_is_chosen_anew_without_need(
    world: World, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = world.anew()
    UNHEEDED[change](world)
    assert world.anew() == before

    def choose_anew(*_: object) -> Chosen:
        raise AssertionError("it was chosen anew")

    monkeypatch.setattr(remembering, "_choose", choose_anew)
    assert world.remember() == before


@needs("root", "glibc")
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(changes=st.lists(st.sampled_from(sorted(CHANGES)), min_size=2, max_size=4, unique=True))
def test_any_changes_one_after_another(tmp_path_factory: pytest.TempPathFactory, changes: list[str]) -> None:
    top = tmp_path_factory.mktemp("world")
    top.chmod(0o700)
    world = World(top)
    for change in changes:
        try:
            CHANGES[change](world)
        except (FileNotFoundError, FileExistsError):  # an earlier one took that away, or made it
            continue
        known = world.recalled()
        try:
            after = world.anew()
        except Exception:
            assert known is None
            continue
        assert known is None or known == after
        world.remember()


OPTIONS: dict[str, dict[str, object]] = {
    "parameters": {"parameters": {"port": "81"}},
    "manifests": {"manifests": ()},
    "platform": {"platform": "illumos"},
    "a closure for fragments": {"add_closure": True},
    "what is missing is passed over": {"keep_going": True},
    "fix scripts": {"run_fix_scripts": True},
    "overlays": {"overlays": ("x",)},
}


@needs("root", "glibc")
@pytest.mark.parametrize("option", OPTIONS)
def test_another_request_is_another(world: World, option: str) -> None:
    assert world.recalled() is not None
    assert world.recalled(**OPTIONS[option]) is None


@needs("root", "glibc")
def test_how_files_are_shared_and_the_zones_own_name_do_not_count(world: World) -> None:
    known = world.recalled()
    assert known is not None
    own = {"share": ("copy",), "trust_zone": True, "address": "10.0.0.1", "hostname": "web"}
    assert world.recalled(**own) == known == world.anew(**own)


@needs("root", "glibc")
def test_a_warning_for_the_zones_name_is_for_that_zone(world: World) -> None:
    keys = {
        observations_of(world.options(platform="illumos", hostname=name), ["web"]).key  # type: ignore[union-attr]
        for name in (None, "one", "two")
    }
    assert len(keys) == 3


@needs("root", "glibc")
def test_nothing_is_remembered_of_tarballs_views_and_illumos(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert observations_of(world.options(views={"/a": "/b"}), ["web"]) is None
    assert observations_of(world.options(unpacked="x"), ["web"]) is None
    monkeypatch.setattr(local, "is_illumos", lambda: True)
    assert observations_of(world.options(), ["web"]) is None


@needs("root", "glibc")
@pytest.mark.parametrize("why", ["a program of the source was run", "too much was looked at"])
def test_what_cannot_be_told_later_is_not_remembered(
    world: World, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    def choose_anew(*_: object) -> Chosen:
        assert observed.current is not None
        if why == "a program of the source was run":
            observed.current.spoil()
        return world.anew()

    monkeypatch.setattr(remembering, "_choose", choose_anew)
    if why == "too much was looked at":
        monkeypatch.setattr(observed, "MOST", 9)
    CHANGES["a package upgraded"](world)
    with reading(world.options()) as options:
        assert remembering.choose(options, ["web"]) == (world.anew(), None)


def test_a_profile_that_was_written_a_moment_ago_may_change_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within one tick of the clock its times would be the same."""
    profile = tmp_path / "web.toml"
    write(profile, WEB, 0o644)

    def holds(recent: int) -> bool:
        monkeypatch.setattr(observed, "_RECENT_NS", recent)
        watch = observed.Watch()
        watch.file(str(profile))
        document = {**watch.document({}), "files": {str(profile): watch.files[str(profile)]}}
        monkeypatch.setattr(observed, "_RECENT_NS", 0)
        return observed.ask(document).holds

    assert holds(recent=0)
    assert not holds(recent=10**18)


@needs("root", "glibc")
def test_another_process_or_code_chooses_for_itself(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    document = world_document(world)
    ours = {Path(path).name for path in document["files"]}
    assert {"select.py", "choosing.py", "dpkg.py", "glibc.py", "toml.py"} <= ours
    assert observed.ask(document).holds
    [code] = [path for path in document["files"] if path.endswith("/plan/select.py")]
    other = {**document, "files": {**document["files"], code: None}}
    assert not observed.ask(other).holds
    monkeypatch.setattr(observed, "host", lambda: ["other rights"])
    assert not observed.ask(document).holds
    assert world.recalled() is None


def world_document(world: World) -> dict[str, dict[str, object]]:
    found = observations_of(world.options(), ["web"])
    assert found is not None and found.ask().holds
    return found.document


@needs("root", "glibc")
def test_an_immutable_file_is_seen_where_only_its_ctime_tells(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    (world.source / "usr/bin/env").chmod(0o755)  # which changes nothing else
    assert world.recalled() is not None
    monkeypatch.setattr(observed, "is_immutable", lambda fd: True)
    assert world.recalled() is None


@needs("root", "glibc")
def test_what_a_second_process_looked_at_counts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(halves, "is_useful", lambda: True)
    monkeypatch.setattr(content, "MANY", 0)
    with observed.watching() as both:
        chosen = world.anew()
    monkeypatch.setattr(halves, "is_useful", lambda: False)
    with observed.watching() as alone:
        assert world.anew() == chosen
    assert both.nodes.keys() >= alone.nodes.keys()
    assert both.lists.keys() >= alone.lists.keys()


def test_a_second_process_tells_what_it_looked_at() -> None:
    def look(paths: Sequence[str]) -> list[str]:
        for path in paths:
            assert observed.current is not None
            observed.current.node(path, None, None)
            observed.current.file(path)
        return list(paths)

    with observed.watching() as watch:
        assert halves.halved(look, ["/a", "/b", "/c"]) == ["/a", "/b", "/c"]
    assert watch.nodes.keys() == watch.files.keys() == {"/a", "/b", "/c"}


# --- the file -----------------------------------------------------------------------------------------


def swapped(file: Path) -> None:
    file.rename(file.with_name("x"))
    file.symlink_to("x")


def no_file(file: Path) -> None:
    file.unlink()
    file.mkdir()


def a_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


BAD: dict[str, Callable[[Path], object]] = {
    "empty": lambda file: file.write_bytes(b""),
    "cut off": lambda file: os.truncate(file, file.stat().st_size // 2),
    "its end is gone": lambda file: os.truncate(file, file.stat().st_size - 1),
    "something else": lambda file: file.write_bytes(b"{}" * 99),
    "of somebody else": lambda file: os.chown(file, 33, 33),
    "others can write it": lambda file: file.chmod(0o622),
    "a symlink": swapped,
    "a directory": no_file,
    "a pipe": a_pipe,
}


@needs("root", "glibc")
@pytest.mark.parametrize("what", BAD)
def test_a_file_that_cannot_be_trusted_is_as_none(world: World, what: str) -> None:
    BAD[what](world.file)
    assert world.recalled() is None
    assert world.remember() == world.anew()


@needs("root", "glibc")
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_damaged_byte_is_never_believed(world: World, where: float, bit: int) -> None:
    data = world.file.read_bytes()
    place = int(where * len(data))
    known = world.anew()
    world.file.write_bytes(data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :])
    try:
        assert world.recalled() in (None, known)
    finally:
        world.file.write_bytes(data)


@needs("root", "glibc")
def test_the_choice_is_that_of_the_observations_beside_it(world: World) -> None:
    """Two commands that write at once may leave the observations of one and the choice of the other."""
    found = observations_of(world.options(), ["web"])
    assert found is not None and found.ask().holds
    found.name = "another"
    found.is_saved = False
