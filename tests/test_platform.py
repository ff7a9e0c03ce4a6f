"""The platform of a source, told from its files."""

from pathlib import Path

import pytest

from partialroot.source.platform import detect_platform
from partialroot.source.tree import Tree


def test_a_global_zone(global_zone: Path) -> None:
    assert detect_platform(Tree(global_zone)) == "illumos"


def test_this_system_and_a_small_linux_root(source: Path) -> None:
    assert detect_platform(Tree(Path("/"))) == "linux"
    assert detect_platform(Tree(source)) == "linux"


def test_an_empty_root(tmp_path: Path) -> None:
    assert detect_platform(Tree(tmp_path)) == "linux"


@pytest.mark.parametrize("path", ["lib/libc.so.1", "lib/amd64/libc.so.1", "usr/lib/isaexec"])
def test_any_sign_is_enough(tmp_path: Path, path: str) -> None:
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).touch()
    assert detect_platform(Tree(tmp_path)) == "illumos"
