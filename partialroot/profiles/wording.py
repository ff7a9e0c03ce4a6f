"""How messages about profiles quote what the user wrote, and what they suggest instead."""

from collections.abc import Iterable

_LONGEST = 60


def quoted(text: str) -> str:
    """Return ``text`` in quotes, safe for a terminal and not longer than a line."""
    return repr(text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "...")


def suggestion(word: str, known: Iterable[str], kind: str) -> str:
    """Return the hint for an unknown word: the nearest known one, else all of them (``kind``: plural)."""
    from difflib import get_close_matches

    words = sorted(known)
    near = get_close_matches(word[:_LONGEST], words, 1)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"{kind}: {', '.join(words)}" if words else f"there are no {kind}"
