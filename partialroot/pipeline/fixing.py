"""Run the fix scripts of mvi's fragments on a selection: stage, run, and see what they did."""

import os
from collections.abc import Iterator, Sequence

from partialroot import observed
from partialroot.model import Entry, Fragment, Selection
from partialroot.plan.fixes import with_fixes
from partialroot.source.tree import Tree

_CHUNK = 1 << 20


def fix(
    selection: Selection, fragments: Sequence[Fragment], tree: Tree, *, unconfined: bool = False
) -> Selection:
    """Return the selection as the fix scripts of ``fragments`` leave it; what they say is in its warnings.

    ``unconfined`` lets them run where nothing keeps them from the rest of this machine. Raises
    ConflictError when they cannot run, or write what zones share.
    """
    from partialroot.host.fixscripts import stage

    scripts = [one for one in fragments if one.fix is not None]
    if not scripts:
        return selection
    if observed.current:
        observed.current.spoil()
    with stage(selection.entries, lambda entry: _content(entry, tree)) as place:
        before = place.listing()
        said = place.run(scripts, unconfined=unconfined)
        names = [f"{one.name}-fix.sh" for one in scripts]
        fixed = with_fixes(selection, before, place.listing(), place.read, names)
    return _with_warnings(fixed, said)


def _with_warnings(selection: Selection, said: Sequence[str]) -> Selection:

    lines = (f"fix scripts: {line}" for line in said)
    return selection._replace(warnings=(*selection.warnings, *lines))


def _content(entry: Entry, tree: Tree) -> Iterator[bytes]:
    """Yield the content of a file of the selection."""
    if entry.text is not None or entry.source is None or entry.node is None:
        yield entry.text or b""
        return
    with os.fdopen(tree.open_node(entry.source, entry.node), "rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
