"""What was chosen of a source for a request: all of a plan that does not depend on what this host offers.

It can be written down as values that the module marshal knows, but for what lstat(2) says: that is asked each
time, so that what is read back is what choosing again would make.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from partialroot.errors import Missing
from partialroot.model import Entry, Layer, Selection, Start, Supplier, ZoneSettings
from partialroot.nodes import NOTHING, Content, FileType, Node, Reason
from partialroot.paths import RootPath
from partialroot.source.memory import kind

FORM = kind(
    "chosen",
    *(one._fields for one in (Selection, Entry, Reason, Missing, ZoneSettings, Start, Content, Supplier)),
)
"""Names how :func:`pack` writes: another way (of a later release) has another name."""

NodeAt = Callable[[str], Node]
"""Returns what lstat(2) says of a path of the host."""
PlaceOf = Callable[[Node], str]
"""Returns a path of the host at which lstat(2) says so; KeyError where none is known."""


class Chosen(NamedTuple):
    """A selection, the content of its files by where they come from, and who supplied them by path."""

    selection: Selection
    contents: Mapping[RootPath, Content]
    suppliers: Mapping[RootPath, Supplier]


# --- writing down -------------------------------------------------------------------------------------


def pack(chosen: Chosen, place_of: PlaceOf) -> tuple[Any, ...]:
    """Return what :func:`unpack` takes; KeyError where it cannot be known where a node was seen."""
    selection = chosen.selection
    head = selection._asdict() | {"source": str(selection.source), "entries": (), "views": ()}
    return (
        _plain(tuple(head.values())),
        tuple(_pack_entry(entry, place_of) for entry in selection.entries),
        tuple((str(path), *_plain(content)) for path, content in chosen.contents.items()),
        tuple((str(path), *_plain(supplier)) for path, supplier in chosen.suppliers.items()),
    )


def _plain(value: Any) -> Any:
    """Return tuples, texts and mappings as themselves, not as types of ours."""
    if isinstance(value, str):
        return str(value)
    return tuple(map(_plain, value)) if isinstance(value, tuple) else value


def _pack_entry(entry: Entry, place_of: PlaceOf) -> tuple[Any, ...]:
    """Return an entry's fields, plain; a time that is its node's is left to that. There may be thousands."""
    path, kind, mode, uid, gid, layer, reasons, size, time, target, source, node, text = entry
    return (
        str(path),
        kind.value,
        mode,
        uid,
        gid,
        layer.value,
        tuple((str(rule), str(origin)) for rule, origin in reasons),
        size,
        None if node is not None and node.mtime_ns == time else time,
        None if target is None else str(target),
        None if source is None else str(source),
        None if node is None else place_of(node),
        text,
    )


# --- reading back -------------------------------------------------------------------------------------

_TYPES = {one.value: one for one in FileType}
_LAYERS = {one.value: one for one in Layer}


def unpack(packed: tuple[Any, ...], node_at: NodeAt) -> Chosen:
    """Return what was packed, with what lstat(2) says now."""
    head, entries, contents, suppliers = packed
    selection = Selection(*head)
    start, network, read_only = selection.settings
    return Chosen(
        selection._replace(
            source=Path(selection.source),
            entries=tuple(_unpack_entry(entry, node_at) for entry in entries),
            missing=tuple(Missing(*one) for one in selection.missing),
            tops=tuple(map(RootPath, selection.tops)),
            settings=ZoneSettings(start and Start(*start), network, read_only),
            views=NOTHING,
        ),
        {RootPath(path): Content(*fields) for path, *fields in contents},
        {RootPath(path): Supplier(*fields) for path, *fields in suppliers},
    )


def _unpack_entry(packed: tuple[Any, ...], node_at: NodeAt) -> Entry:
    path, kind, mode, uid, gid, layer, reasons, size, time, target, source, place, text = packed
    node = None if place is None else node_at(place)
    return Entry(
        RootPath(path),
        _TYPES[kind],
        mode,
        uid,
        gid,
        _LAYERS[layer],
        tuple(Reason(*reason) for reason in reasons),
        size,
        node.mtime_ns if time is None and node is not None else time,
        target,
        None if source is None else RootPath(source),
        node,
        text,
    )
