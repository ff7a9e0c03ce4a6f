"""The state of a zone: broken > drifted > stale > current, and because of what."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path

from partialroot.errors import PartialRootError, ProfileError, SourceError
from partialroot.model import Finding, Receipt, Record, Request
from partialroot.nodes import NOTHING, FileType
from partialroot.paths import RootPath
from partialroot.plan.policy import PRIVATE_HOME
from partialroot.source.tree import Tree
from partialroot.zone import look
from partialroot.zone.verify import Images, verify

MOST_LINES = 20
"""So many reasons are given in words; the others are counted."""


class Known:
    """What one command has found out already; zones share images and sources.

    ``views`` returns where the files of a source are that something is mounted over. What images have that
    the source has otherwise, and what audit found in them, is kept by image and source.
    """

    def __init__(self, views: Callable[[Path], Mapping[str, str]] = lambda source: NOTHING) -> None:
        self._views = views
        self.images: Images = Images()
        self.stale: dict[tuple[str, str], tuple[str, ...]] = {}
        self._definitions: dict[tuple[object, ...], Mapping[str, str] | ProfileError] = {}
        self.audited: dict[tuple[str, str], list[Finding]] = {}
        self.trees: dict[str, Tree] = {}

    def tree(self, source: str) -> Tree:
        """Return the source at ``source``; SourceError when it is gone."""
        if source not in self.trees:
            self.trees[source] = Tree(Path(source), views=self._views(Path(source)))
        return self.trees[source]

    def definitions(self, request: Request) -> Mapping[str, str]:
        """Return what the profiles of a zone are now, by name; ProfileError if one cannot be read."""
        key = (request.profiles, request.manifests, request.platform)
        if key not in self._definitions:
            self._definitions[key] = _definitions(request)
        found = self._definitions[key]
        if isinstance(found, ProfileError):
            raise found
        return found


def _definitions(request: Request) -> Mapping[str, str] | ProfileError:
    from partialroot.profiles.library import Library

    try:
        return dict(
            Library(tuple(map(Path, request.manifests)), request.platform).definitions(request.profiles)
        )
    except ProfileError as error:
        return error


def state(
    zonepath: Path, receipt: Receipt | PartialRootError | None, known: Known | None = None
) -> tuple[str, tuple[str, ...]]:
    """Return a zone's state and what makes it so, in words (names are as they are: escape them to print).

    ``receipt`` is the zone's, or the error that reading it raised. Only metadata is looked at, except for
    files whose times alone have changed. Profiles are compared with what they said: whether packages and
    globs that they name would choose other files by now is not asked here.
    """
    known = known or Known()
    if not isinstance(receipt, Receipt):
        none = "it has no receipt" if os.path.lexists(zonepath) else "there is nothing any more at its place"
        return "broken", (str(receipt) if receipt else none,)
    try:
        findings = verify(zonepath, receipt, known.images, contents=False)
    except PartialRootError as error:
        return "broken", (str(error),)
    if receipt.image is not None and not Path(receipt.image).is_dir():
        return "broken", (f"its image is gone: {receipt.image}",)
    drift = [_line(finding) for finding in findings if finding.severity == "error"]
    if drift:
        return "drifted", tuple(limited(drift))
    stale = tuple(_stale(receipt, known))
    return ("stale", tuple(limited(stale))) if stale else ("current", ())


def _line(finding: Finding) -> str:
    now = f" {finding.actual}" if finding.actual else ""
    was = f", was {finding.expected}" if finding.expected else ""
    return f"{finding.path}: {finding.kind}{now}{was}"


def limited(lines: Iterable[str]) -> Iterator[str]:
    """Yield as many lines as are told in words, then how many more there are."""
    lines = list(lines)
    yield from islice(lines, MOST_LINES)
    if len(lines) > MOST_LINES:
        yield f"and {len(lines) - MOST_LINES} more"


# --- have the profiles, or the source, changed? -----------------------------------------------------


def _stale(receipt: Receipt, known: Known) -> Iterator[str]:
    source = receipt.request.source
    if receipt.request.is_from_tarball:  # its files were unpacked for once: there is nothing to compare with
        return
    try:
        yield from changed_profiles(receipt, known)
    except ProfileError as error:
        yield str(error)
    try:
        tree = known.tree(source)
    except SourceError as error:
        yield str(error)
        return
    yield from changed_sources(receipt.entries, tree)
    if receipt.image is not None:
        key = (receipt.image, source)
        if key not in known.stale:
            known.stale[key] = tuple(changed_sources(known.images.records(receipt.image), tree))
        yield from known.stale[key]


def changed_profiles(receipt: Receipt, known: Known) -> Iterator[str]:
    """Say which of a zone's profiles are other ones since it was made; ProfileError if one cannot be read."""
    if receipt.definitions:
        differ = set(receipt.definitions) ^ set(known.definitions(receipt.request).items())
        yield from (f"profile {name}: has changed" for name in sorted({name for name, _ in differ}))


def changed_sources(records: Iterable[Record], tree: Tree) -> Iterator[str]:
    """Say of each record whose file in the source is no longer what it was, how it differs."""
    for record in records:
        why = why_changed(record, tree)
        if why:
            yield f"{source_of(record)}: {why} in the source"


def source_of(record: Record) -> RootPath:
    """Return the path in the source that a record came from."""
    if record.source is None and record.path.is_below(PRIVATE_HOME):
        return RootPath(record.path[len(PRIVATE_HOME) :])
    return record.source or record.path


def why_changed(record: Record, tree: Tree) -> str:
    """Return how what a record came from has changed since, "" if it has not or was made by us.

    A file replaced by its like has not: the same content and mode is what a refresh would find.
    """
    if record.type is FileType.SYMLINK:
        return _why_led_elsewhere(record, tree)
    if record.identity is None:
        return ""
    node = tree.lstat(source_of(record))
    if node is None:
        return "is gone"
    if node.type is not record.type:
        return f"is a {node.type} now"
    if node.mode != record.identity.mode:
        return f"has mode {node.mode:04o} now"
    before = (record.identity.ino, record.identity.size, record.identity.mtime_ns)
    if before == (node.ino, node.size, node.mtime_ns) or _has_content(record, tree):
        return ""
    return "has changed"


def _why_led_elsewhere(record: Record, tree: Tree) -> str:
    """A symlink's record does not say whether the source had it; ours to private homes it did not."""
    node = tree.lstat(source_of(record))
    made_here = RootPath(record.target or "/").is_below(PRIVATE_HOME)
    if node is None or made_here or node.target in (None, record.target):
        return ""
    return f"leads to {node.target} now"


def _has_content(record: Record, tree: Tree) -> bool:
    """Whether the source's file still has the content that was recorded."""
    try:
        descriptor = tree.open(source_of(record))
    except SourceError:
        return False
    try:
        return look.sha256(descriptor, record.size) == record.sha256
    finally:
        os.close(descriptor)
