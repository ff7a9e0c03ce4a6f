"""``.note.dlopen``: what an object says it opens at run time (UAPI.12, ELF_DLOPEN_METADATA)."""

from collections.abc import Iterator
from typing import NamedTuple


class DlopenNote(NamedTuple):
    """Names of which the first that is there is opened; required, recommended or suggested."""

    names: tuple[str, ...]
    priority: str


def parse(note: bytes) -> tuple[DlopenNote, ...]:
    """Return what one note says; nothing when it is not to be understood."""
    import json

    try:
        content = json.loads(note.rstrip(b"\0").decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return ()
    return tuple(_notes(content))


def _notes(content: object) -> Iterator[DlopenNote]:
    """The first draft had a bare object, and a bare name; both are still met."""
    for one in content if isinstance(content, list) else [content]:
        if isinstance(one, dict):
            names = one.get("soname")
            listed = names if isinstance(names, list) else [names]
            texts = tuple(name for name in listed if isinstance(name, str) and name)
            if texts:
                yield DlopenNote(texts, str(one.get("priority", "recommended")))
