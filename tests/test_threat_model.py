"""The page on threats promises nothing that no test shows."""

import ast
import re

import pytest
from command import CHECKOUT

PAGE = (CHECKOUT / "docs/threat-model.md").read_text()
NAMED = re.compile(r"`(tests/test_\w+\.py)::(test_\w+)`")
PROMISE = re.compile(r"^\*\*(P\d+)\. .*?(?=^\*\*|^## )", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("file", "name"), sorted(set(NAMED.findall(PAGE))))
def test_the_test_exists(file: str, name: str) -> None:
    tree = ast.parse((CHECKOUT / file).read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_promise_has_tests() -> None:
    promises = {found[1]: found[0] for found in PROMISE.finditer(PAGE)}
    assert list(promises) == [f"P{number}" for number in range(1, 11)]
    assert [name for name, text in promises.items() if not NAMED.search(text)] == []


def test_the_readme_leads_there() -> None:
    assert "(docs/threat-model.md)" in (CHECKOUT / "README.md").read_text()
