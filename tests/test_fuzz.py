"""A fixed share of what scripts/fuzz does, and that it finds what there is to find."""

import json
import os
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command import CHECKOUT
from fuzz_targets import targets
from fuzzing import CHUNK, Defect, Target, chunks, execute, fuzz

from partialroot.errors import ProfileError

COUNT = 30_000


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """Run scripts/fuzz to its end; limits on memory are for a process of its own."""
    command = [sys.executable, str(CHECKOUT / "scripts/fuzz"), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=900)


def test_a_fixed_share() -> None:
    done = run("--count", str(COUNT), "--seed", "1", "--jobs", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    executions = re.findall(r"^(\d+) executions, seed 1, .* 0 defects$", done.stdout, re.MULTILINE)
    assert len(executions) == 1 and int(executions[0]) >= COUNT


def test_unknown_targets_are_refused() -> None:
    done = run("--target", "elv")
    assert done.returncode == 2
    assert "no such target: elv; there are elf," in done.stderr


def test_seeds_are_taken_and_damage_is_both(tmp_path: Path) -> None:
    """Every target takes its seeds, or damage would be all it ever sees, and some of the damage too."""
    names = set()
    for target in targets(tmp_path):
        assert all(execute(target, seed) for seed in target.seeds), target.name
        assert fuzz(target, 1, 0, 200) < 200, target.name
        names.add(target.name)
    assert len(names) > 20


FOUND = [("glob", b"/" + b"[a-c]{x,{x,z}}" * 70)]
"""What scripts/fuzz has found: the target, and what it must answer at once."""


@pytest.mark.parametrize(("name", "data"), FOUND)
def test_what_was_found(name: str, data: bytes, tmp_path: Path) -> None:
    target = next(one for one in targets(tmp_path) if one.name == name)
    started = time.process_time()
    execute(target, data)
    assert time.process_time() - started < 0.5


def test_the_same_seed_is_the_same_damage() -> None:
    seen: list[list[bytes]] = [[], [], []]
    for number, seed in enumerate((1, 1, 2)):
        fuzz(Target("any", [b"seed\nof\nlines"], seen[number].append), seed, 0, 100)
    assert seen[0] == seen[1] != seen[2]
    assert len({*seen[0]}) > 50
    assert list(chunks(CHUNK * 2 + 1)) == [(0, CHUNK), (1, CHUNK), (2, 1)]


def test_json_stays_json_often_enough() -> None:
    seen: list[bytes] = []
    fuzz(Target("json", [b'{"a": [1, "x"]}'], seen.append, is_json=True), 1, 0, 400)
    assert sum(map(is_json, seen)) > 150


def is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except ValueError:
        return False
    return True


def refused(data: bytes) -> None:
    raise ProfileError("no")


def unprintable(data: bytes) -> None:
    raise KeyError(data)


def endless(data: bytes) -> None:
    while True:
        pass


@pytest.mark.parametrize(
    ("read", "what"),
    [
        (unprintable, "KeyError"),
        (lambda data: bytes(1 << 34), "MemoryError"),
        (lambda data: time.sleep(9), "not done"),
        (endless, "not done"),
    ],
)
def test_what_must_not_be_is_found(read: object, what: str) -> None:
    """A process of its own is limited as scripts/fuzz limits it, and reads."""
    import multiprocessing

    context = multiprocessing.get_context("fork")
    process = context.Process(target=limited_execution, args=(read, what))
    process.start()
    process.join(300)
    assert process.exitcode == 0


def limited_execution(read: object, what: str) -> None:
    import fuzzing

    inherited = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    fuzzing.BYTES += inherited  # of whatever this process has imported for other tests
    fuzzing.limit()
    fuzzing.SECONDS = fuzzing.PATIENCE = 0.2
    try:
        execute(Target("bad", [], read), b"x")  # type: ignore[arg-type] # one of several callables
    except Defect as error:
        os._exit(0 if what in error.what and error.data == b"x" else 1)
    os._exit(2)


def test_a_refusal_is_none() -> None:
    assert not execute(Target("good", [], refused), b"x")
