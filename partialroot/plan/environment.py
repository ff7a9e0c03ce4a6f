"""What the settings of an illumos zone name: its time zone, and the language its programs speak.

init(8) gives the variables of /etc/default/init to all it starts. libc has the C locale built in, and needs
no file for a time zone that says all of itself (localtime.c; tzset(3C)).
"""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from partialroot.model import EditWish
from partialroot.nodes import Item
from partialroot.paths import RootPath
from partialroot.profiles.edits import apply_edit

INIT = RootPath("/etc/default/init")

_ZONES = "/usr/share/lib/zoneinfo"
_LOCALES = "/usr/lib/locale"
# ``UTC0`` or ``CET-1CEST,M3.5.0,M10.5.0/3``; where nothing else is there, the time is that of UTC.
_SAYS_ALL = re.compile(r"GMT|UTC|([A-Za-z]{3,}|<[A-Za-z0-9+-]{3,}>)[+-]?[0-9]{1,2}(?![0-9]).*")
_BUILT_IN = ("C", "POSIX")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@+/-]*")


class Named(NamedTuple):
    """A file, or a directory with all below, and which variable names it; what ``must`` not be missing."""

    item: Item
    must: bool


def edited(text: str, edits: Iterable[EditWish]) -> str:
    """Return the zone's /etc/default/init: ``text`` with what a profile's edits make of it."""
    for edit in edits:
        if edit.path == INIT:
            text = apply_edit(text, edit)
    return text


def named(text: str) -> Iterator[Named]:
    """Yield what the variables of an /etc/default/init name."""
    for name, value in _variables(text).items():
        where = f"{INIT}: {name}"
        if name == "TZ":
            yield Named(Item(f"{_ZONES}/{value}", where), not _SAYS_ALL.fullmatch(value))
        elif (name == "LANG" or name.startswith("LC_")) and value not in _BUILT_IN:
            yield Named(Item(f"{_LOCALES}/{value}", where), True)


def _variables(text: str) -> dict[str, str]:
    """Return the variables by name, the last value of each; those of other forms are no names of files."""
    pairs = (line.partition("=") for line in text.split("\n") if not line.startswith("#"))
    found = {name.strip(): value.strip().strip("\"'") for name, equals, value in pairs if equals}
    return {name: value for name, value in found.items() if _NAME.fullmatch(value) and ".." not in value}
