"""Programs by their names."""

from partialroot.nodes import FileType, Node
from partialroot.paths import STANDARD_PATH, RootPath
from partialroot.source.tree import Tree


def find_program(tree: Tree, name: str) -> RootPath | None:
    """Return the first executable called ``name`` on the standard path."""
    for directory in STANDARD_PATH:
        path = RootPath(directory) / name
        if is_program(tree.resolve(path).node):
            return path
    return None


def is_program(node: Node | None) -> bool:
    """Whether what lstat(2) said is that of an executable file."""
    return node is not None and node.type is FileType.FILE and bool(node.mode & 0o111)
