"""On which line each key and each array element of a TOML text stands: what tomllib does not tell.

The scanner knows just enough of TOML to find the places of things in a text that tomllib accepts. It runs
first, takes linear time, and refuses what is nested deeper than any profile: tomllib would need quadratic
time for a long dotted key and would exhaust the stack on deep arrays.
"""

import re
import tomllib
from bisect import bisect_left
from contextlib import suppress

from partialroot.errors import ProfileError

Path = tuple[str | int, ...]
"""Where a value is in the document: ``("directories", "/srv", "mode")``, ``("files", 0)``."""

MOST_NESTED = 16

# Loops are written out (normal (special normal)*): each character can match in one way only, so a text
# that lacks a closing quote fails in linear time.
_BASIC = r'"[^"\\\r\n]*(?:\\.[^"\\\r\n]*)*"'
_LITERAL = r"'[^'\r\n]*'"
_SPACE = re.compile(r"[ \t]*")
_GAP = re.compile(r"(?:[ \t\r\n]+|#[^\r\n]*)*")
_KEY_PART = re.compile(rf"([A-Za-z0-9_-]+)|({_BASIC})|({_LITERAL})")
_VALUE = re.compile(
    r'"""[^"\\]*(?:(?:\\.|"(?!""))[^"\\]*)*""""{0,2}|'
    r"'''[^']*(?:'(?!'')[^']*)*''''{0,2}|"
    rf"(?!\"{{3}}|'{{3}})(?:{_BASIC}|{_LITERAL})|[^\[\]{{}},#\r\n\"']+",
    re.DOTALL,
)


def positions(text: str, file: str) -> dict[Path, int]:
    """Return the line (from 1) of every key, table and array element of ``text``.

    In a text that is no TOML the scan ends at the first surprise; tomllib will say what is wrong. Raises
    ProfileError when the text is nested too deeply.
    """
    scanner = _Scanner(text, file)
    with suppress(_NotTomlError):
        scanner.document()
    return scanner.lines


class _NotTomlError(Exception):
    """The text is not TOML from here on."""


class _Scanner:
    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.file = file
        self.at = 0
        self.lines: dict[Path, int] = {}
        self._ends = [match.start() for match in re.finditer("\n", text)]
        self._tables_in: dict[Path, int] = {}

    def document(self) -> None:
        table: Path = ()
        while self._skip(_GAP) < len(self.text):
            if self._take("["):
                table = self._header()
            else:
                self._pair(table)

    def _header(self) -> Path:
        """``[table]`` or ``[[array of tables]]``; the bracket has been taken."""
        is_array = self._take("[")
        self._skip(_SPACE)
        path = self._key(())
        if is_array:
            self._tables_in[path] = self._tables_in.get(path, -1) + 1
            path = self._note((*path, self._tables_in[path]), self.at)
        self._expect("]]" if is_array else "]")
        return self._current(path)

    def _pair(self, table: Path) -> None:
        path = self._key(table)
        self._expect("=")
        self._skip(_SPACE)
        self._value(path)

    def _key(self, table: Path) -> Path:
        """A key, perhaps dotted, with the blanks after it; every table it passes through is noted."""
        path = table
        while True:
            start = self.at
            path = self._note((*self._current(path), self._key_part()), start)
            self._skip(_SPACE)
            if not self._take("."):
                return path
            self._skip(_SPACE)

    def _key_part(self) -> str:
        match = _KEY_PART.match(self.text, self.at)
        if match is None:
            raise _NotTomlError
        self.at = match.end()
        bare, basic, _ = match.groups()
        if bare is not None:
            return bare
        if basic is None or "\\" not in basic:
            return match[0][1:-1]
        return _unescaped(basic)

    def _value(self, path: Path) -> None:
        if self._take("["):
            self._array(path)
        elif self._take("{"):
            self._inline_table(path)
        else:
            match = _VALUE.match(self.text, self.at)
            if match is None:
                raise _NotTomlError
            self.at = match.end()

    def _array(self, path: Path) -> None:
        index = 0
        while not self._closes("]"):
            self._value(self._note((*path, index), self.at))
            index += 1
            self._skip(_GAP)
            if not self._take(","):
                self._expect("]")
                return

    def _inline_table(self, path: Path) -> None:
        while not self._closes("}"):
            self._pair(path)
            self._skip(_GAP)
            if not self._take(","):
                self._expect("}")
                return

    def _closes(self, bracket: str) -> bool:
        self._skip(_GAP)
        return self._take(bracket)

    def _current(self, path: Path) -> Path:
        """In an array of tables, keys belong to its last table."""
        return (*path, self._tables_in[path]) if path in self._tables_in else path

    def _note(self, path: Path, at: int) -> Path:
        line = bisect_left(self._ends, at) + 1
        if len(path) > MOST_NESTED:
            raise ProfileError("nested deeper than any profile", path=f"{self.file}:{line}")
        self.lines.setdefault(path, line)
        return path

    def _skip(self, blanks: re.Pattern[str]) -> int:
        match = blanks.match(self.text, self.at)
        self.at = match.end() if match else self.at
        return self.at

    def _take(self, word: str) -> bool:
        if not self.text.startswith(word, self.at):
            return False
        self.at += len(word)
        return True

    def _expect(self, word: str) -> None:
        if not self._take(word):
            raise _NotTomlError


def _unescaped(basic: str) -> str:
    try:
        return str(tomllib.loads(f"key = {basic}")["key"])
    except ValueError:
        raise _NotTomlError from None
