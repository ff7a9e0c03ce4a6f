"""The actions of IPS manifests: what a package puts where, a line for each (pkg(7)).

file 3c5b...e1 path=usr/bin/login mode=4555 owner=root group=bin pkg.size=30732
link path=sbin/sh target=../usr/bin/i86/ksh93
set name=variant.opensolaris.zone value=global value=nonglobal
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from partialroot.errors import SourceError

ZONE = "variant.opensolaris.zone"
INSTALLING = frozenset({"file", "dir", "link", "hardlink"})

COMMAND = ("/usr/bin/pkg", "contents", "-H", "-o", "pkg.name,action.raw")
"""The command whose output contents() reads: all actions of all packages."""

_WORD = re.compile(
    r"""
    [ \t]*
    (?:
        (?P<key>[^\s="']+)=
        (?: "(?P<double>(?:[^"\\]|\\.)*)" | '(?P<single>(?:[^'\\]|\\.)*)' | (?P<plain>[^\s"']\S*|) )
        | (?P<digest>[^\s="']+)
    )
    (?=[ \t]|\Z)
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


class Action(NamedTuple):
    """A line of a manifest. ``digest`` is a file's hash; attributes can have several values."""

    kind: str
    digest: str | None
    attributes: dict[str, tuple[str, ...]]

    def value(self, name: str) -> str | None:
        """Return the first value of an attribute, None if there is none."""
        return self.attributes.get(name, (None,))[0]


def manifest(text: str, where: str) -> Iterator[Action]:
    """Yield the actions of a manifest. Raises SourceError, naming the file ``where``."""
    for line in text.replace("\\\n", " ").split("\n"):
        if line.strip() and not line.startswith(("#", "<")):
            yield action(line, where)


def contents(text: str, where: str) -> Iterator[tuple[str, Action]]:
    """Yield package and action of each line that COMMAND printed. Raises SourceError as manifest() does."""
    for line in text.split("\n"):
        if line:
            package, tab, rest = line.partition("\t")
            if not tab:
                raise SourceError(f"a line has no package and action: {line[:80]!r}", path=where)
            yield package, action(rest, where)


def action(line: str, where: str) -> Action:
    """Return the action that a line describes. Raises SourceError, naming the file ``where``."""
    kind, _, rest = line.strip().partition(" ")
    digest, attributes = None, dict[str, tuple[str, ...]]()
    try:
        for key, value in _words(rest):
            if key:
                attributes[key] = (*attributes.get(key, ()), value)
            else:
                digest = value
    except ValueError:
        raise SourceError(f"an action cannot be understood: {line[:80]!r}", path=where) from None
    return Action(kind, digest, attributes)


def _words(text: str) -> Iterator[tuple[str, str]]:
    """Yield key and value of the attributes; a word that is no attribute has an empty key."""
    if '"' not in text and "'" not in text:
        for word in text.split():
            key, equals, value = word.partition("=")
            yield (key, value) if equals else ("", key)
        return
    at = 0
    while at < len(text):
        found = _WORD.match(text, at)
        if found is None:
            raise ValueError
        at = found.end()
        yield (found["key"], _value(found)) if found["key"] else ("", found["digest"])


def _value(word: re.Match[str]) -> str:
    """Return the value of an attribute; in quotes, a backslash protects the next character."""
    quoted = word["double"] if word["double"] is not None else word["single"]
    return word["plain"] if quoted is None else _ESCAPED.sub(r"\1", quoted)
