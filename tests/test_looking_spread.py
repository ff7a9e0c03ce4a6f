"""status, verify and audit of many zones: the same answers from several processes as from one."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from children import children
from ready import Make, Ready, make_zone, scratch

from partialroot.pipeline import inspecting
from partialroot.zone import receipt
from partialroot.zone import verify as verifying
from partialroot.zone.receipt import read_manifest
from partialroot.zone.store import Store
from partialroot.zone.verify import verify

__all__ = ["make_zone", "scratch"]  # fixtures

Verb = Callable[[Path, Sequence[str]], tuple[Any, ...]]
VERBS: list[Verb] = [inspecting.status, inspecting.verify, inspecting.audit]


@pytest.fixture
def zones(make_zone: Make) -> list[Ready]:
    """Zones of one image: some drifted, one without a receipt, all others as they should be."""
    made = [make_zone(name) for name in "abcdefg"]
    (made[1].root / "etc/hosts").chmod(0o4666)
    (made[5].path / "receipt.json").unlink()
    (made[6].root / "etc/hosts").unlink()
    return made


def in_processes(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(inspecting, "allowed_cores", lambda: count)
    monkeypatch.setattr(inspecting, "WORTH_A_PROCESS", 1)


@pytest.mark.parametrize("verb", VERBS)
def test_the_answers_are_the_same(zones: list[Ready], verb: Verb, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [str(zone.path) for zone in zones]
    in_processes(monkeypatch, 1)
    alone = [repr(one) for one in verb(zones[0].store, paths)]
    in_processes(monkeypatch, 2)
    assert [repr(one) for one in verb(zones[0].store, paths)] == alone
    assert len(set(alone)) == len(alone), "each is about its own zone"


@pytest.mark.parametrize("verb", [inspecting.verify, inspecting.audit])
def test_a_receipt_is_parsed_once(zones: list[Ready], verb: Verb, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []
    decode = receipt._decode

    def counting(data: bytes, where: str, *about: Any) -> Any:
        parsed.append(where)
        return decode(data, where, *about)

    monkeypatch.setattr(receipt, "_decode", counting)
    receipt.load.cache_clear()
    verb(zones[0].store, [str(zone.path) for zone in zones])
    read = [where for where in parsed if where.endswith("/receipt.json")]
    assert sorted(read) == [f"{zone.path}/receipt.json" for zone in zones if zone is not zones[5]]


@pytest.mark.parametrize("verb", VERBS)
def test_an_image_is_looked_at_before_the_work_is_spread(
    zones: list[Ready], verb: Verb, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = os.getpid()

    def read_here(image: Path) -> Any:
        assert os.getpid() == ours, "every process reads it"
        return read_manifest(image)

    monkeypatch.setattr(verifying, "read_manifest", read_here)
    in_processes(monkeypatch, 2)
    assert len(verb(zones[0].store, [str(zone.path) for zone in zones])) == len(zones)


def test_an_interrupt_ends_all_and_leaves_no_zone_locked(
    zones: list[Ready], scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, store, paths = os.getpid(), zones[0].store, [str(zone.path) for zone in zones]
    before = children()

    def interrupted(*arguments: Any) -> Any:
        if os.getpid() == ours:
            return verify(*arguments)
        with suppress(FileExistsError):  # by the first worker that comes here: there is one interrupt
            (scratch / "interrupted").touch(exist_ok=False)
            os.kill(ours, signal.SIGINT)
        while True:
            time.sleep(0.01)

    in_processes(monkeypatch, 2)
    with monkeypatch.context() as patch:
        patch.setattr(inspecting, "verify_zone", interrupted)
        with pytest.raises(KeyboardInterrupt):
            inspecting.verify(store, paths)
    assert children() == before, "a worker lives on"
    for zone in zones:
        with Store(store).lock_zone(zone.path):
            pass
