"""A profile as text: written anew, or lines added to one that is there, which otherwise stays as it is."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from partialroot.errors import ProfileError
from partialroot.learn.propose import Line, grouped
from partialroot.profiles.positions import positions
from partialroot.profiles.toml import parse_profile

LISTS = ("programs", "packages", "files", "secrets", "exclude", "private", "users", "groups")
"""The lists that are learned, in the order in which they are written."""

_WIDEST = 58
_TOKEN = re.compile(r'"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|#[^\n]*|[\[\],]|\s+|.', re.DOTALL)


class Place(NamedTuple):
    """A directory that the zone needs; ``mode``, ``owner`` and ``group`` are said where the zone writes."""

    path: str
    why: str
    mode: str | None = None
    owner: str | None = None
    group: str | None = None


class Learned(NamedTuple):
    """All that a profile says, each with why; ``remarks`` are for whoever reads it."""

    summary: str
    uses: Sequence[str]
    lines: Sequence[Line] = ()
    places: Sequence[Place] = ()
    pam: Sequence[str] = ()
    parameters: Mapping[str, str] = {}
    command: Sequence[str] = ()
    remarks: Sequence[str] = ()


def quoted(text: str) -> str:
    """Return a TOML basic string; a byte that is no UTF-8 cannot be in one: ProfileError."""
    if any(0xD800 <= ord(character) < 0xE000 for character in text):
        raise ProfileError(f"{text!r} is no UTF-8, and a profile must be")
    plain = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in plain) + '"'


def written(learned: Learned) -> str:
    """Return a profile's text."""
    blocks = [_head(learned), *_lists(learned.lines), _remarks(learned.remarks)]
    if learned.pam:
        blocks.append(f"modules = {{ pam = [{', '.join(map(quoted, learned.pam))}] }}\n")
    if learned.parameters:
        pairs = (f"{name} = {quoted(value)}\n" for name, value in learned.parameters.items())
        blocks.append("[parameters]\n" + "".join(pairs))
    if learned.places:
        blocks.append("[directories]\n" + "".join(map(_place, learned.places)))
    if learned.command:
        blocks.append(f"[start]\ncommand = [{', '.join(map(quoted, learned.command))}]\n")
    return "\n".join(filter(None, blocks))


def _head(learned: Learned) -> str:
    uses = ", ".join(map(quoted, learned.uses))
    return (
        "# Learned by partialroot learn from a run. What the programs need to be loaded follows by itself.\n"
        f"summary = {quoted(learned.summary)}\nuses    = [{uses}]\n"
    )


def _lists(lines: Iterable[Line]) -> Iterator[str]:
    by_key = grouped(lines)
    for key in LISTS:
        if key in by_key:
            lines = by_key[key] if key == "programs" else sorted(by_key[key])
            yield f"{key} = [\n{''.join(map(_line, lines))}]\n"


def _line(line: Line) -> str:
    return _commented(f"    {quoted(line.text)},", line.why)


def _place(place: Place) -> str:
    says = {"mode": place.mode, "owner": place.owner, "group": place.group}
    pairs = ", ".join(f"{key} = {quoted(value)}" for key, value in says.items() if value is not None)
    text = f"{quoted(place.path)} = {{ {pairs} }}" if pairs else f"{quoted(place.path)} = {{}}"
    return _commented(text, place.why)


def pasted(wish: Line | Place) -> str:
    """Return a line that can be pasted into a profile that has no such key yet."""
    if isinstance(wish, Line):
        return f"{wish.key} = [{quoted(wish.text)}]"
    return f"directories.{_place(wish._replace(why='')).rstrip()}"


def _commented(text: str, why: str) -> str:
    return f"{text.ljust(_WIDEST)}  # {_safe(why)}\n" if why else f"{text}\n"


def _remarks(remarks: Iterable[str]) -> str:
    return "".join(f"# {_safe(remark)}\n" for remark in remarks)


def _safe(text: str) -> str:
    """Return a text as a comment can hold it."""
    return "".join(character if character.isprintable() else "?" for character in text)


# --- adding to what is there ------------------------------------------------------------------------


def added(text: str, learned: Learned, file: str) -> str:
    """Return a profile's text with what was learned added: lines to its lists, tables at its end.

    What is there stays, with its comments. Raises ProfileError where that cannot be written so, or the text
    is no profile.
    """
    parse_profile(text, "learned", file)
    by_key = grouped(learned.lines)
    for key in reversed(LISTS):
        if key in by_key:
            text = _with_lines(text, key, by_key[key], file)
    remarks = [remark for remark in learned.remarks if f"# {_safe(remark)}\n" not in text]
    if remarks:
        text = _inserted(text, _first_table(text, file), f"{_remarks(remarks)}\n")
    for place in learned.places:
        text = _with_place(text, place, file)
    parse_profile(text, "learned", file)
    return text


def _with_lines(text: str, key: str, lines: Sequence[Line], file: str) -> str:
    line = positions(text, file).get((key,))
    if line is None:
        block = f"{key} = [\n{''.join(map(_line, lines))}]\n\n"
        return _inserted(text, _first_table(text, file), block)
    start = sum(len(one) for one in text.splitlines(keepends=True)[: line - 1])
    end, last, comma = _array(text, text.index("=", start) + 1)
    new = "".join(map(_line, lines))
    before = text[:last] + ("," if comma else "") + text[last:end]
    if not before.rstrip(" \t").endswith("\n"):
        before += "\n"
    return before.rstrip(" \t") + new + text[end:]


def _array(text: str, start: int) -> tuple[int, int, bool]:
    """Return where an array's ``]`` is, where its last element ends, and whether that lacks a comma."""
    depth, last, comma = 0, start, False
    for token in _TOKEN.finditer(text, start):
        kind = token[0]
        if kind == "]" and depth == 1:
            return token.start(), last, comma
        if not kind.isspace() and not kind.startswith("#"):
            depth += {"[": 1, "]": -1}.get(kind, 0)
            last, comma = token.end(), kind not in ("[", ",")
    raise ProfileError("an array has no end")


def _first_table(text: str, file: str) -> int:
    """Return where the first ``[table]`` begins, or the end: top-level keys must come before."""
    lines = text.splitlines(keepends=True)
    headers = [
        number
        for path, number in positions(text, file).items()
        if isinstance(path[0], str) and lines[number - 1].lstrip().startswith(f"[{path[0]}")
    ]
    return sum(map(len, lines[: min(headers) - 1])) if headers else len(text)


def _inserted(text: str, at: int, block: str) -> str:
    before = text[:at] if not text[:at] or text[:at].endswith("\n") else text[:at] + "\n"
    return before + block + text[at:]


def _with_place(text: str, place: Place, file: str) -> str:
    """Add a directory below the others, or in a table of its own at the end."""
    lines = text.splitlines(keepends=True)
    known = {path: number for path, number in positions(text, file).items() if path[:1] == ("directories",)}
    header = known.get(("directories",), 0)
    if header and lines[header - 1].strip().startswith("[directories]") and lines[header - 1].endswith("\n"):
        at = max([header, *(number for number in known.values() if lines[number - 1].startswith('"'))])
        return "".join([*lines[:at], _place(place), *lines[at:]])
    says = {"mode": place.mode, "owner": place.owner, "group": place.group}
    pairs = "".join(f"{key} = {quoted(value)}\n" for key, value in says.items() if value is not None)
    return _inserted(text, len(text), f"\n[directories.{quoted(place.path)}]  # {_safe(place.why)}\n{pairs}")
