"""What a global zone in use has of its own is told from what its packages brought (P6)."""

import globalzone
import lived_in
import pytest
from needs import needs

from partialroot.nodes import FileType
from partialroot.paths import RootPath
from partialroot.source.packages import Packages, open_packages, pristine
from partialroot.source.secrets import is_closed, secret_reason
from partialroot.source.tree import Tree

pytestmark = needs("root")  # it edits files that only root may write

PUBLIC = {"/etc/defaultrouter", "/etc/resolv.conf", "/var/adm/messages"}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    return Tree(lived_in.live_in(globalzone.build(tmp_path_factory.mktemp("lived") / "root")))


@pytest.fixture(scope="module")
def packages(tree: Tree) -> Packages:
    return open_packages(tree)


def test_edited_files_have_their_shipped_copy(tree: Tree, packages: Packages) -> None:
    for name, line in lived_in.EDITS.items():
        path = RootPath(f"/{name}")
        assert not pristine(tree, packages, path)
        copy = packages.pristine_copy(path)
        assert copy is not None
        assert tree.read(copy) == tree.read(path).removesuffix(line.encode())


def test_its_own_files_are_secrets_or_of_no_package(tree: Tree, packages: Packages) -> None:
    own = {RootPath(f"/{name}") for name in lived_in.OWN}
    assert not [path for path in own if packages.owner(path) or packages.pristine_copy(path)]
    assert {path for path in own if not _is_secret(tree, path)} == PUBLIC


def test_nothing_else_looks_edited(tree: Tree, packages: Packages) -> None:
    edited = {
        path
        for top in ("/etc", "/var/adm", "/var/spool", "/root")
        for path, node in tree.walk(RootPath(top))
        if node.type is FileType.FILE and not pristine(tree, packages, path)
    }
    catalogs = {"/etc/zap/repositories/tribblix.aliases", "/etc/zap/repositories/tribblix.catalog"}
    assert edited == {f"/{name}" for name in (*lived_in.EDITS, *lived_in.OWN)} | catalogs


def _is_secret(tree: Tree, path: RootPath) -> bool:
    node = tree.lstat(path)
    assert node is not None
    return secret_reason(path, node, tree.read(path), closed=is_closed(tree, path)) is not None


def test_the_shipped_shadow_has_no_password(tree: Tree, packages: Packages) -> None:
    copy = packages.pristine_copy(RootPath("/etc/shadow"))
    assert copy is not None
    assert {line.split(b":")[1] for line in tree.read(copy).splitlines()} == {b"NP"}
