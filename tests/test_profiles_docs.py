"""docs/profiles.md: every key is there, its examples are profiles, and its errors are what is really said."""

import re
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

import pytest

from partialroot.errors import PartialRootError
from partialroot.profiles.compose import compose
from partialroot.profiles.toml import KEYS, parse_profile

DOCUMENT = (Path(__file__).resolve().parent.parent / "docs/profiles.md").read_text()
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_FILE = re.compile(r"# (\w+)\.toml\n")


class Refused(NamedTuple):
    """Profiles by name that are refused when put together, and what is said."""

    profiles: dict[str, str]
    message: str


def file_name(block: str) -> str:
    """Return the name in a block's first line, "" if it has none."""
    match = _FILE.match(block)
    return match[1] if match else ""


def examples(text: str) -> tuple[list[str], list[Refused]]:
    """Return the profiles a text shows as right, and those it shows as wrong with their message."""
    right: list[str] = []
    wrong: list[Refused] = []
    blocks = [(match[1], match[2]) for match in _BLOCK.finditer(text)]
    for index, (kind, block) in enumerate(blocks):
        if kind == "text":
            before = takewhile(file_name, (block for _, block in reversed(blocks[:index])))
            wrong.append(Refused({file_name(one): one for one in before}, block.strip()))
        elif not file_name(block):
            right.append(block)
    return right, wrong


SECTIONS = {
    match[1]: match[2]
    for match in re.finditer(r"^#{3,4} `([\w.]+)`\n(.*?)(?=^##|\Z)", DOCUMENT, re.DOTALL | re.MULTILINE)
}
RIGHT, WRONG = examples(DOCUMENT)


def test_every_key_has_its_section_and_no_section_is_of_another() -> None:
    assert sorted(SECTIONS) == sorted(KEYS)


@pytest.mark.parametrize("key", SECTIONS)
def test_every_key_has_an_example_and_an_error(key: str) -> None:
    right, wrong = examples(SECTIONS[key])
    last = key.rpartition(".")[2]
    assert any(re.search(rf"\b{last}\b", example) for example in right)
    assert wrong


@pytest.mark.parametrize("text", RIGHT)
def test_examples_are_profiles(text: str) -> None:
    parse_profile(text, "example", "example.toml")


@pytest.mark.parametrize("refused", WRONG, ids=lambda refused: refused.message[:40])
def test_errors_are_what_is_said(refused: Refused) -> None:
    assert refused.profiles
    with pytest.raises(PartialRootError) as caught:
        compose(
            [parse_profile(text, name, f"{name}.toml") for name, text in refused.profiles.items()], {}, {}
        )
    assert str(caught.value) == refused.message
