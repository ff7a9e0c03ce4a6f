"""The state of a zone: broken before drifted before stale before current, and because of what."""

import os
import shutil
from pathlib import Path

import pytest
from needs import needs
from ready import Make, Ready, make_zone, scratch, zone
from test_verify import PRIVATE, SHARED, Change, counted_manifests, replaced

from partialroot.errors import NoReceiptError
from partialroot.zone.receipt import read
from partialroot.zone.state import MOST_LINES, Known, state
from partialroot.zone.verify import verify

__all__ = ["make_zone", "scratch", "zone"]  # fixtures


def test_a_new_zone_is_current(zone: Ready) -> None:
    assert state(zone.path, zone.receipt) == ("current", ())


@needs("mount", "root")
def test_and_with_its_mounts(make_zone: Make) -> None:
    zone = make_zone(mount=True)
    assert state(zone.path, zone.receipt) == ("current", ())


# --- broken -------------------------------------------------------------------------------------------


def test_without_a_receipt_it_is_broken(zone: Ready) -> None:
    assert state(zone.path, None) == ("broken", ("it has no receipt",))


def test_with_a_bad_receipt_it_is_broken(zone: Ready) -> None:
    (zone.path / "receipt.json").write_bytes(b"{")
    with pytest.raises(NoReceiptError) as caught:
        read(zone.path)
    name, because = state(zone.path, caught.value)
    assert name == "broken"
    assert because[0].startswith(f"{zone.path}/receipt.json: is not a receipt of ours")


def test_without_a_root_it_is_broken(zone: Ready) -> None:
    shutil.rmtree(zone.root)
    assert state(zone.path, zone.receipt)[0] == "broken"


def test_without_its_image_it_is_broken(zone: Ready) -> None:
    shutil.rmtree(zone.image)
    assert state(zone.path, zone.receipt) == ("broken", (f"its image is gone: {zone.image}",))


# --- drifted: verify would say so ---------------------------------------------------------------------

CHANGES = {name: change for name, (change, _) in PRIVATE.items()}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_drifted_is_what_verify_calls_an_error(zone: Ready, change: Change) -> None:
    change(zone.root)
    drift = any(finding.severity == "error" for finding in verify(zone.path, zone.receipt))
    assert state(zone.path, zone.receipt)[0] == ("drifted" if drift else "current")


@pytest.mark.parametrize("name", ["mode", "content", "gone"])
def test_an_image_drifts_too(zone: Ready, name: str) -> None:
    SHARED[name][0](zone.image)
    assert state(zone.path, zone.receipt)[0] == "drifted"


def test_it_says_why(zone: Ready) -> None:
    (zone.root / "etc/hosts").chmod(0o600)
    assert state(zone.path, zone.receipt) == ("drifted", ("/etc/hosts: mode 0600, was 0644",))
    (zone.root / "etc/hosts").unlink()
    assert state(zone.path, zone.receipt) == ("drifted", ("/etc/hosts: missing, was file 0644 0:0",))


def test_it_does_not_say_everything(zone: Ready) -> None:
    shutil.rmtree(zone.image / "usr")
    _, because = state(zone.path, zone.receipt)
    assert len(because) == MOST_LINES + 1
    assert because[-1].startswith("and ")


def test_names_are_data(zone: Ready) -> None:
    """Whoever prints them escapes them, once."""
    replaced(zone.source / "etc/alternatives/salute", lambda path: path.symlink_to("\x1b[2J\n\\"))
    assert state(zone.path, zone.receipt) == (
        "stale",
        ("/etc/alternatives/salute: leads to \x1b[2J\n\\ now in the source",),
    )


# --- stale: the source has changed --------------------------------------------------------------------


def upgraded(path: Path, data: bytes | None = None, mode: int | None = None) -> None:
    """Replace a file by rename, as packages do."""
    before = path.stat()
    fresh = path.with_name("fresh")
    fresh.write_bytes(path.read_bytes() if data is None else data)
    fresh.chmod(before.st_mode & 0o7777 if mode is None else mode)
    fresh.rename(path)


STALE: dict[str, tuple[Change, str]] = {
    "shared file upgraded": (
        lambda source: upgraded(source / "usr/bin/greet", b"#!/bin/sh\necho HELLO\n"),
        "/usr/bin/greet: has changed",
    ),
    "shared file grown": (
        lambda source: upgraded(source / "usr/bin/greet", b"#!/bin/sh\n"),
        "/usr/bin/greet: has changed",
    ),
    "private file upgraded": (
        lambda source: upgraded(source / "etc/hosts", b"127.0.0.1 LOCALHOST\n"),
        "/etc/hosts: has changed",
    ),
    "private file changed in place": (
        lambda source: (source / "etc/hosts").write_text("127.0.0.1 LOCALHOST\n"),
        "/etc/hosts: has changed",
    ),
    "gone": (lambda source: (source / "usr/bin/greet").unlink(), "/usr/bin/greet: is gone"),
    "private mode": (lambda source: (source / "etc/hosts").chmod(0o600), "/etc/hosts: has mode 0600 now"),
    "copied mode": (
        lambda source: (source / "usr/bin/rise").chmod(0o755),
        "/usr/bin/rise: has mode 0755 now",
    ),
    "type": (
        lambda source: replaced(source / "usr/bin/greet", lambda path: path.symlink_to("env")),
        "/usr/bin/greet: is a symlink now",
    ),
    "alternative": (
        lambda source: replaced(source / "etc/alternatives/salute", lambda path: path.symlink_to("/x")),
        "/etc/alternatives/salute: leads to /x now",
    ),
}


@pytest.mark.parametrize(("change", "why"), STALE.values(), ids=STALE.keys())
def test_stale(zone: Ready, change: Change, why: str) -> None:
    change(zone.source)
    assert state(zone.path, zone.receipt) == ("stale", (f"{why} in the source",))


NOT_STALE: dict[str, Change] = {
    "replaced by its like": lambda source: upgraded(source / "usr/bin/greet"),
    "touched": lambda source: os.utime(source / "usr/bin/greet"),
    "private touched": lambda source: os.utime(source / "etc/hosts"),
    "new file": lambda source: (source / "etc/new").write_text("x"),
    "read": lambda source: (source / "etc/hosts").read_text(),
    "linked": lambda source: os.link(source / "usr/bin/greet", source / "usr/bin/hello"),
    "alternative made anew": lambda source: replaced(
        source / "etc/alternatives/salute", lambda path: path.symlink_to("/usr/bin/greet")
    ),
}


@pytest.mark.parametrize("change", NOT_STALE.values(), ids=NOT_STALE.keys())
def test_what_a_refresh_would_not_act_on_is_not_stale(zone: Ready, change: Change) -> None:
    change(zone.source)
    assert state(zone.path, zone.receipt) == ("current", ())


def test_a_source_that_is_gone(zone: Ready) -> None:
    zone.source.rename(zone.source.with_name("away"))
    name, because = state(zone.path, zone.receipt)
    assert name == "stale"
    assert "the source is not a directory" in because[0]


def test_drifted_is_worse_than_stale(zone: Ready) -> None:
    upgraded(zone.source / "etc/hosts", b"x")
    (zone.root / "etc/hosts").unlink()
    assert state(zone.path, zone.receipt)[0] == "drifted"


def test_images_and_sources_are_looked_at_once(make_zone: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    zones = [make_zone("one"), make_zone("two")]
    manifests = counted_manifests(monkeypatch)
    known = Known()
    upgraded(zones[0].source / "usr/bin/greet", b"x")
    for one in zones:
        assert state(one.path, one.receipt, known)[0] == "stale"
    assert manifests == [zones[0].image]


@pytest.mark.hostile
def test_a_source_of_symlinks_is_not_left(zone: Ready, scratch: Path) -> None:
    """The source may be somebody's tree too: its /etc now leads to ours."""
    (scratch / "etc").mkdir()
    shutil.copy2(zone.source / "etc/hosts", scratch / "etc/hosts")
    replaced(zone.source / "etc", lambda path: path.symlink_to("../etc"))
    _, because = state(zone.path, zone.receipt)
    assert "/etc/hosts: is gone in the source" in because


def test_what_we_made_ourselves_is_never_stale(zone: Ready) -> None:
    made = [entry._replace(identity=None) for entry in zone.receipt.entries]
    upgraded(zone.source / "etc/hosts", b"x")
    assert state(zone.path, zone.receipt._replace(entries=tuple(made))) == ("current", ())
