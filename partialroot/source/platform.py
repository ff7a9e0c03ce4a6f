"""Which system a source is, told from its files alone."""

from partialroot.paths import RootPath
from partialroot.source.tree import Tree

# What illumos roots have and no Linux has: the C library, for either class, by the name that programs need,
# and the program behind the commands that there are for both.
_ILLUMOS = tuple(RootPath(path) for path in ("/lib/libc.so.1", "/lib/amd64/libc.so.1", "/usr/lib/isaexec"))
_OS_RELEASE = (RootPath("/etc/os-release"), RootPath("/usr/lib/os-release"))
_LIMIT = 1 << 16


def detect_platform(tree: Tree) -> str:
    """Return ``illumos`` or ``linux``; a root that shows neither counts as the second."""
    found = any(tree.resolve(path).node is not None for path in _ILLUMOS)
    return "illumos" if found else "linux"


def distribution(tree: Tree) -> tuple[str, str]:
    """Return ID and VERSION_ID of a source's os-release(5), "" for what it does not say."""
    path = next((path for path in _OS_RELEASE if tree.resolve(path).node is not None), None)
    if path is None:
        return "", ""
    lines = tree.read(path, _LIMIT).decode("utf-8", "surrogateescape").split("\n")
    pairs = dict(line.partition("=")[::2] for line in lines)
    return pairs.get("ID", "").strip("\"' "), pairs.get("VERSION_ID", "").strip("\"' ")
