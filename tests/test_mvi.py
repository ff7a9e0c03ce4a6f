"""mvi's own manifests: the tree is the one that zmvix.sh builds."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import globalzone
import mvi_checkout
import pytest
import treedump
import zmvix
from needs import needs

from partialroot.model import Entry, FileType, Profile, Selection, ZoneSettings
from partialroot.pipeline.fixing import fix
from partialroot.plan.fragments import content, with_fragments
from partialroot.plan.policy import shared_tops
from partialroot.profiles.library import Library
from partialroot.source.packages import Packages
from partialroot.source.packages.svr4 import Svr4
from partialroot.source.tree import Tree


class Source:
    """A global zone, and the profiles of a checkout of mvi."""

    def __init__(self, zone: Path, checkout: Path) -> None:
        self.zone = zone
        self.checkout = checkout
        self.tree = Tree(zone)
        self.packages: Packages = Svr4(self.tree)
        self.library = Library([checkout], "illumos")

    def select(self, *names: str, keep_going: bool = False, add_closure: bool = False) -> Selection:
        profile = self.library.compose(names, {})
        return with_fragments(
            self.nothing(profile),
            profile.fragments,
            self.tree,
            self.packages,
            lambda selection: fix(selection, profile.fragments, self.tree),
            keep_going=keep_going,
            add_closure=add_closure,
        )

    def nothing(self, profile: Profile) -> Selection:
        return Selection(
            profiles=(profile.name,),
            source=self.zone,
            platform="illumos",
            entries=(),
            missing=(),
            warnings=(),
            tops=shared_tops("illumos", self.tree.lstat),
            settings=ZoneSettings(profile.start),
        )


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    top = tmp_path_factory.mktemp("mvi")
    return Source(globalzone.build(top / "zone"), mvi_checkout.make(top / "mvi"))


def lines(selection: Selection, tree: Tree) -> Iterator[str]:
    """Yield the lines that treedump has of a tree, but for times and hard links."""
    for entry in selection.entries:
        words = [entry.path, entry.type, f"{entry.mode:04o}", f"{entry.uid}:{entry.gid}", *_more(entry, tree)]
        yield " ".join(words)


def _more(entry: Entry, tree: Tree) -> list[str]:
    if entry.type is FileType.SYMLINK:
        return ["->", str(entry.target)]
    if entry.type is FileType.DIR:
        return []
    data = content(entry, tree)
    assert entry.size == len(data), entry.path
    return [f"size={len(data)}", f"sha256={sha256(data).hexdigest()}"]


def dumped(root: Path) -> list[str]:
    """Return the lines of treedump in the same form."""
    return [_plain(line) for line in treedump.dump(root, times=False) if not line.startswith("/ ")]


def _plain(line: str) -> str:
    line = line.partition(" links=")[0]
    head, arrow, target = line.partition(" -> ")
    return head.rpartition(" size=")[0] + arrow + target if arrow else line


@needs("root", "ksh", "mount")
@pytest.mark.parametrize("names", ["nonet node", "node zlogin", "nginx", "zlogin", "zlogin nginx node"])
def test_the_tree_is_that_of_zmvix(names: str, source: Source, tmp_path: Path) -> None:
    expected = zmvix.build(tmp_path / "root", source.zone, source.checkout, names.split())
    selected = source.select(*names.split(), keep_going=True)
    assert list(lines(selected, source.tree)) == dumped(expected)
