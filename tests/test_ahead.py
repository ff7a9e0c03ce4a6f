"""What was chosen in bulk is read ahead: each file is opened once, and the plan is the same as without."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import globalzone
import lived_in
import pytest
from needs import needs

from partialroot.closure.modules import brand
from partialroot.model import Selection
from partialroot.nodes import Content, Node
from partialroot.paths import RootPath
from partialroot.plan.platforms import Illumos
from partialroot.plan.select import select
from partialroot.profiles.toml import parse_profile
from partialroot.source import content, halves
from partialroot.source.packages import open_packages
from partialroot.source.tree import Tree

pytestmark = needs("root")  # it edits files that only root may write

TEXT = """
programs = ["/sbin/init"]
packages = ["*"]
files    = ["/etc/passwd", "/etc/hosts"]
secrets  = ["/etc/shadow"]
"""
SECRET = "/etc/inet/secret/ike.preshared"
READ_AS_TEXT = ("/etc/passwd", "/etc/group", "/etc/security/crypt.conf", "/etc/crypto/", "/usr/lib/brand/")
Known = tuple[Selection, Mapping[RootPath, Content]]


class Counting(Tree):
    """A tree that counts how often each file is opened."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.opened_paths = Counter[RootPath]()

    def open_node(self, path: RootPath, node: Node) -> int:
        self.opened_paths[path] += 1
        return super().open_node(path, node)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lived_in.live_in(globalzone.build(tmp_path_factory.mktemp("ahead") / "root"))


def known(tree: Tree) -> Known:
    """Select much of a lived-in global zone, and measure it."""
    profile = parse_profile(TEXT, "much", "much.toml")
    selection = select(profile, ("much",), tree, open_packages(tree), Illumos(brand.USUAL))
    files = [(one.source, one.node) for one in selection.entries if one.source and one.node]
    return selection, content.measure(tree, files)


@pytest.fixture
def usual(source: Path, monkeypatch: pytest.MonkeyPatch) -> Known:
    """What comes of it when each stage opens what it wants to look at."""
    monkeypatch.setattr(content, "MANY", 10**6)
    tree = Tree(source)
    found = known(tree)
    assert not tree.ahead
    return found


@pytest.mark.parametrize("two", [False, True], ids=["alone", "in two processes"])
def test_nothing_else_comes_of_it(
    source: Path, usual: Known, monkeypatch: pytest.MonkeyPatch, two: bool
) -> None:
    monkeypatch.setattr(content, "MANY", 0)
    monkeypatch.setattr(halves, "is_useful", lambda: two)
    tree = Counting(source)
    assert known(tree) == usual
    assert tree.ahead
    again = [path for path, times in tree.opened_paths.items() if times > 1]
    assert not [path for path in again if not path.startswith(READ_AS_TEXT)]
    assert SECRET not in tree.opened_paths
    assert any(warning.startswith(SECRET) for warning in usual[0].warnings)
