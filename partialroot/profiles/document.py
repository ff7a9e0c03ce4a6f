"""A TOML document whose every value knows its line, read with the type that is wanted there."""

import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple, NoReturn

from partialroot.errors import ProfileError
from partialroot.nodes import Item
from partialroot.profiles.positions import Path, positions
from partialroot.profiles.wording import quoted, suggestion

MAX_PROFILE = 2 << 20
"""Bytes in one profile: a text of the largest size, and room for the rest."""

_WORDS = {str: "a string", bool: "true or false", int: "a number", list: "an array", dict: "a table"}
_TOMLLIB_PLACE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


class Document(NamedTuple):
    """The file's name, as messages give it, and the line of everything in it."""

    file: str
    lines: Mapping[Path, int]

    def where(self, path: Path) -> str:
        """Return ``FILE:LINE`` of what is at ``path``, or of what holds it."""
        while path not in self.lines and path:
            path = path[:-1]
        return f"{self.file}:{self.lines.get(path, 1)}"


class Value(NamedTuple):
    """A value of the document: its methods return it as what is wanted, or raise ProfileError."""

    document: Document
    path: Path
    raw: object

    @property
    def where(self) -> str:
        """Where the value is written: ``node.toml:3``."""
        return self.document.where(self.path)

    @property
    def key(self) -> str:
        """The value's key as it would be written in full."""
        names = [part for part in self.path if isinstance(part, str)]
        return ".".join(name if re.fullmatch(r"[\w-]+", name) else quoted(name) for name in names)

    def fail(self, message: str, hint: str | None = None) -> NoReturn:
        """Raise ProfileError at this place."""
        raise ProfileError(message, path=self.where, hint=hint)

    def _wrong(self, wanted: str, example: str) -> NoReturn:
        found = _WORDS.get(type(self.raw), f"a {type(self.raw).__name__}")
        which = f"each of {self.key}" if isinstance(self.path[-1], int) else self.key
        self.fail(f"{which} must be {wanted}, not {found}", f"for example: {example}")

    def string(self, example: str) -> str:
        """Return a string; ``example`` shows in the error how it would be right."""
        return self.raw if isinstance(self.raw, str) else self._wrong("a string", example)

    def flag(self) -> bool:
        """Return a boolean."""
        name = self.path[-1]
        return self.raw if isinstance(self.raw, bool) else self._wrong("true or false", f"{name} = true")

    def array(self, example: str) -> tuple["Value", ...]:
        """Return the elements of an array."""
        if not isinstance(self.raw, list):
            self._wrong("an array", example)
        return tuple(Value(self.document, (*self.path, i), raw) for i, raw in enumerate(self.raw))

    def items(self, example: str) -> tuple[Item, ...]:
        """Return the elements of an array of strings, each with its own line."""
        return tuple(Item(value.string(example), value.where) for value in self.array(example))

    def entries(self, example: str) -> Iterator[tuple[str, "Value"]]:
        """Yield what is in a table whose keys are the profile's own."""
        if not isinstance(self.raw, dict):
            self._wrong("a table", example)
        for name, raw in self.raw.items():
            yield name, Value(self.document, (*self.path, name), raw)

    def table(self, known: Collection[str], example: str) -> dict[str, "Value"]:
        """Return what is in a table whose keys are ours to know."""
        values = dict(self.entries(example))
        for name, value in values.items():
            if name not in known:
                of = f" in {self.key}" if self.path else ""
                value.fail(f"unknown key {quoted(name)}{of}", suggestion(name, known, "known keys"))
        return values


def load(text: str, file: str) -> Value:
    """Return the top table of a TOML text. Raises ProfileError when it is no TOML, or too large."""
    if len(text.encode(errors="surrogatepass")) > MAX_PROFILE:
        raise ProfileError(f"larger than {MAX_PROFILE} bytes", path=file)
    lines = positions(text, file)
    try:
        return Value(Document(file, lines), (), tomllib.loads(text))
    except ValueError as error:
        raise _not_toml(str(error), text, file) from None


def _not_toml(complaint: str, text: str, file: str) -> ProfileError:
    """Say what tomllib says, with the line where all our messages have it."""
    place = _TOMLLIB_PLACE.search(complaint)
    if place is None:
        return ProfileError(f"not TOML: {complaint}", path=file)
    line = place[1] or text.count("\n") + 1
    return ProfileError(f"not TOML: {complaint[: place.start()]}", path=f"{file}:{line}")
