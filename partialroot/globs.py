"""Globs over paths inside a root: ``* ? [..] {a,b} **``, the same in a search and in a test.

Unlike in a shell a leading dot is matched. ``*``, ``?`` and ``[..]`` never match a slash; ``**`` as a whole
component is any number of directories, none included, and as the last one everything below.
"""

import re
from collections.abc import Iterator

from partialroot.errors import ProfileError

MOST_ALTERNATIVES = 1000
_MOST_STEPS = 4 * MOST_ALTERNATIVES

_SET = r"\[!?+[^/][^]/]*\]"
_SPECIAL = r"[*?]|\{[^{}]*,[^{}]*\}|" + _SET
_BRACES = r"\{([^{}]*,[^{}]*)\}"
_TOKEN = rf"(?s:\*+|\?|{_SET}|.)"


def is_glob(text: str) -> bool:
    """Return whether ``text`` is a pattern; the program called ``/usr/bin/[`` is none."""
    return re.search(_SPECIAL, text) is not None


def alternatives(pattern: str) -> tuple[str, ...]:
    """Return the patterns without ``{a,b}`` that ``pattern`` stands for.

    Raises ProfileError when there are more than a thousand.
    """
    done: set[str] = set()
    todo, seen = [pattern], {pattern}
    while todo:
        text = todo.pop()
        braces = re.search(_BRACES, text)
        if braces is None:
            done.add(text)
        else:
            texts = {text[: braces.start()] + one + text[braces.end() :] for one in braces[1].split(",")}
            todo += texts - seen
            seen |= texts  # {a,{a,b}} comes to "a" in two ways, n times that in 2**n
        if len(todo) + len(done) > MOST_ALTERNATIVES or len(seen) > _MOST_STEPS:
            raise ProfileError(f"{pattern!r} stands for more than {MOST_ALTERNATIVES} patterns")
    return tuple(sorted(done))


def component(pattern: str) -> re.Pattern[str]:
    """Return what fully matches one name; ``pattern`` has no slash and no braces left."""
    return re.compile(_component(pattern))


def matcher(pattern: str) -> re.Pattern[str]:
    """Return what fully matches a path, existing or not: for ``exclude`` and the like."""
    return re.compile("|".join("".join(_path(text)) for text in alternatives(pattern)))


def _path(pattern: str) -> Iterator[str]:
    """Yield the regular expression of a pattern without braces, component by component."""
    parts = [part for part in pattern.split("/") if part]
    if not parts:
        yield "/"
    for number, part in enumerate(parts, 1):
        if part != "**":
            yield "/(?=[^/])" + _component(part)
        else:
            yield "(?:/[^/]+)" + ("+" if number == len(parts) else "*")


def _component(pattern: str) -> str:
    """Translate one component; stars before the last are atomic, so matching takes no exponential time."""
    pieces = [""]
    for token in re.findall(_TOKEN, pattern):
        if token[0] == "*":
            pieces.append("")
        else:
            pieces[-1] += _one(token)
    first, *rest = pieces
    if not rest:
        return first
    return first + "".join(f"(?>[^/]*?{piece})" for piece in rest[:-1]) + f"[^/]*{rest[-1]}"


def _one(piece: str) -> str:
    """Translate what matches exactly one character: ``?``, a set, or the character itself."""
    if piece == "?":
        return "[^/]"
    if len(piece) == 1:
        return re.escape(piece)
    negated = piece.startswith("[!")
    members = "".join(_members(piece[2 if negated else 1 : -1]))
    if negated:
        return f"[^/{members}]"
    return f"[{members}]" if members else "(?!)"


def _members(text: str) -> Iterator[str]:
    """Yield a set's characters and ranges; a range that runs backwards is empty."""
    while text:
        if len(text) > 2 and text[1] == "-":
            if text[0] <= text[2]:
                yield f"{re.escape(text[0])}-{re.escape(text[2])}"
            text = text[3:]
        else:
            yield re.escape(text[0])
            text = text[1:]
