"""What a plan was made from and what was chosen then, remembered for the next who asks for the same.

::

    STORE/settled/observed-KEY     what was looked at (module observed), and what was chosen (plan.chosen)

KEY is that of the request. Each time something is chosen anew it has another name, by which zones say what
they follow from. As all that is remembered (source.memory) it may vanish, or be damaged, at any moment.
"""

import os
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from partialroot import observed
from partialroot.nodes import Node
from partialroot.paths import host_path
from partialroot.source.memory import Memory, kind

if TYPE_CHECKING:  # who asks whether all is as it was does not look at what was chosen
    from partialroot.plan.chosen import Chosen

PART = "settled"
OBSERVED = "observed-"

_SEEN = (kind("seen", observed.FORMAT),)
_THE_ONE = ""  # of each page, which has one entry


class Observations:
    """What one plan follows from: ``document`` as :meth:`observed.Watch.document` returned it.

    ``is_saved``: there is nothing new in it.
    """

    def __init__(self, store: str, key: str) -> None:
        self.key = key
        self.name = ""
        self._store = Path(store)
        self.document: dict[str, Any] = {}
        self._chosen: Chosen | None = None
        self.is_saved = True

    @property
    def _file(self) -> Path:
        return self._store / PART / f"{OBSERVED}{self.key}"

    # --- asking -------------------------------------------------------------------------------------

    def ask(self, name: str | None = None) -> observed.Found:
        """Ask whether all is as it was noted; with a ``name``, only of what was noted under that."""
        nothing = observed.Found(False, False, {})
        with Memory(self._file) as memory:
            known = memory.get(_SEEN, _THE_ONE, None)
        if known is None or (name is not None and known[0] != name):
            return nothing
        self.name, self.document = known
        found = observed.ask(self.document)
        self.is_saved = not (found.holds and found.is_newer)
        return found

    def recall(self) -> "Chosen | None":
        """Return what was chosen if all is as it was then, with what lstat(2) says now; None if not."""
        from partialroot.plan.chosen import FORM, unpack

        try:
            found = self.ask()
            if not found.holds:
                return None
            with Memory(self._file) as memory:
                packed = memory.get((FORM,), _THE_ONE, self.name)
            rows = self.document["nodes"]
            return packed and unpack(packed, lambda place: Node.of(found.nodes[place], rows[place][8]))
        except observed.DAMAGED:
            return None

    # --- noting -------------------------------------------------------------------------------------

    def note(self, watch: observed.Watch, chosen: "Chosen") -> None:
        """Note what has just been chosen, and all that was seen for that; it is written by :meth:`save`."""
        self.name = os.urandom(8).hex()
        self.document = watch.document(_contents(chosen))
        self._chosen = chosen
        self.is_saved = False

    def save(self) -> bool:
        """Write what is new, and return whether it was chosen anew; what cannot be written is forgotten."""
        if self.is_saved:
            return False
        self.is_saved = True
        with Memory(self._file) as memory:
            memory.put(_SEEN, _THE_ONE, None, (self.name, self.document))
            if self._chosen:
                from partialroot.plan.chosen import FORM, pack

                with suppress(KeyError):  # it has what was not looked at: only that it holds can be told
                    memory.put((FORM,), _THE_ONE, self.name, pack(self._chosen, self._place_of))
        return self._chosen is not None

    @cached_property
    def _places(self) -> dict[tuple[int, int], str]:
        """A path of each inode that was seen."""
        return {(row[6], row[7]): path for path, row in self.document["nodes"].items() if row}

    def _place_of(self, node: Node) -> str:
        return self._places[node.dev, node.ino]


def _contents(chosen: "Chosen") -> dict[str, observed.Sums]:
    """Return what is in the files that were chosen, by their path on the host."""
    source, views = chosen.selection.source, chosen.selection.views
    return {
        str(host_path(source, views, path)): (
            one.sha256,
            observed.attributes(dict(one.xattrs)),
            one.immutable,
        )
        for path, one in chosen.contents.items()
    }
