"""What is on the disk after a power cut: the order of effects and syncs, as the one mutator announces them.

A killed process leaves every effect it had; a power cut only those that were synced, and of the others any.
So what the next command relies on must be synced before what relies on it.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from needs import needs
from test_apply_crash import VERBS, Scene

from partialroot.zone import apply, fs
from partialroot.zone.store import zone_key

pytestmark = needs("root", "mount")

Effect = tuple[str, str]
SYNCS = ("fsync", "syncfs")


@pytest.fixture(params=[verb for verb in VERBS if verb != "populate-empty"])
def effects(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    mounted: Callable[[Path], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> list[Effect]:
    """The effects of one verb, without those on locks."""
    scene = Scene(mounted(tmp_path), str(request.param))
    scene.prepare()
    scene.site()
    seen: list[Effect] = []
    monkeypatch.setattr(fs, "observe", lambda name, path: seen.append((name, path)))
    scene.work()
    monkeypatch.undo()
    scene.clear()
    locks = ("zone-", "image-")
    return [(name, path.replace(key(scene), "KEY")) for name, path in seen if not path.startswith(locks)]


def key(scene: Scene) -> str:
    return zone_key(scene.zonepath)


def at(effects: list[Effect], wanted: Effect) -> int:
    """Return where an effect is, which happens once."""
    places = [place for place, effect in enumerate(effects) if effect == wanted]
    assert len(places) == 1, (wanted, places, effects)
    return places[0]


def test_the_journal_is_durable_before_anything_happens(effects: list[Effect]) -> None:
    assert effects[:5] == [
        ("create", "KEY.new"),
        ("write", "KEY.new"),
        ("fsync", "KEY.new"),
        ("rename", "KEY"),
        ("fsync", "journal"),
    ]


def test_all_the_receipt_speaks_of_is_durable_before_it(effects: list[Effect]) -> None:
    commit = at(effects, ("rename", "receipt.json"))
    assert effects[commit - 1] == ("syncfs", "zonepath")
    assert ("write", "receipt.json") not in effects[commit:]


def test_what_was_held_goes_after_the_commit_is_durable(effects: list[Effect]) -> None:
    commit = at(effects, ("rename", "receipt.json"))
    held = commit + 1 + [name in ("unlink", "rmdir") for name, _ in effects[commit + 1 :]].index(True)
    if effects[held] != ("rmdir", ".partialroot-new"):  # where all was built: nothing was held
        assert ("syncfs", "zonepath") in effects[commit:held]
    assert all(effect != ("unlink", "KEY") for effect in effects[:commit])


def test_the_journal_goes_last(effects: list[Effect]) -> None:
    assert effects[-1] == ("unlink", "KEY")
    tidied = max(place for place, effect in enumerate(effects) if effect[1].startswith(".partialroot-"))
    assert ("fsync", "zonepath") in effects[tidied:]


def test_an_image_is_durable_before_it_has_its_name(effects: list[Effect]) -> None:
    built = [place for place, effect in enumerate(effects) if effect == ("syncfs", "image")]
    for place in built:
        name, path = effects[place + 1]
        assert name == "rename" and len(path) == 64
        assert effects[place + 2] == ("fsync", "images")
    assert len(built) == any(name == "link" for name, _ in effects)


def test_nothing_is_synced_file_by_file(
    tmp_path: Path, mounted: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of syncs does not grow with the number of files."""
    from zones import REQUEST, directory, plan_of, site_at, text

    top = mounted(tmp_path)
    counts = []
    for number in (1, 100):
        site = site_at(top / "store", top / f"zone{number}", mount=False)
        private = [directory("/"), *(text(f"/{one}", "x") for one in range(number))]
        seen: list[str] = []
        monkeypatch.setattr(fs, "observe", lambda name, path, seen=seen: seen.append(name))
        apply.create(plan_of(top, top / "store", private), site, REQUEST, {})
        counts.append(len([name for name in seen if name in SYNCS]))
    assert counts[0] == counts[1] <= 6
