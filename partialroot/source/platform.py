"""Which system a source is, told from its files alone."""

from partialroot.paths import RootPath
from partialroot.source.tree import Tree

# What illumos roots have and no Linux has: the C library, for either class, by the name that programs need,
# and the program behind the commands that there are for both.
_ILLUMOS = tuple(RootPath(path) for path in ("/lib/libc.so.1", "/lib/amd64/libc.so.1", "/usr/lib/isaexec"))


def detect_platform(tree: Tree) -> str:
    """Return ``illumos`` or ``linux``; a root that shows neither counts as the second."""
    found = any(tree.resolve(path).node is not None for path in _ILLUMOS)
    return "illumos" if found else "linux"
