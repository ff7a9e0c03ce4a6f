"""Wishes that cannot both be fulfilled: a file and a text at one path, a file and an exclude of it."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from partialroot.errors import ConflictError
from partialroot.globs import is_glob, matcher
from partialroot.model import Profile
from partialroot.nodes import Item
from partialroot.paths import RootPath
from partialroot.profiles.family import Family, Said, conflict

_SAYS = {
    "file": "wants the file {}",
    "secret": "wants the file {}",
    "program": "wants the program {}",
    "text": "writes the text {}",
    "directory": "makes the directory {}",
    "edit": "edits {}",
    "exclude": "excludes {}",
}
_CONTESTS = (
    (frozenset({"text"}), frozenset({"file", "secret", "directory"})),
    (frozenset(_SAYS) - {"exclude"}, frozenset({"exclude"})),
)
"""Kinds that clash with each other at one path: each of the first set with each of the second."""


class Claim(NamedTuple):
    """What a profile wants at a path: ``kind`` is one of those in the table above."""

    kind: str
    path: str

    def __str__(self) -> str:
        return _SAYS[self.kind].format(self.path)


def overruled(family: Family) -> frozenset[Claim]:
    """Return the claims that give way to those of a profile that uses theirs.

    An exclude never gives way as a whole: what is named literally is taken although an exclude of a used
    profile covers it. Raises ConflictError when two profiles clash of which neither uses the other.
    """
    claims: dict[str, list[Said[Claim]]] = {}
    for member in family.members:
        for kind, path, where in _claims(member):
            claims.setdefault(path, []).append(Said(member.name, where, Claim(kind, path)))
    excludes = _Excludes(family.members)
    lost: set[Claim] = set()
    for path, group in claims.items():
        everything = [*group, *excludes.covering(RootPath(path))]
        for sides in _CONTESTS:
            lost |= _losers(family, [[one for one in everything if one.value.kind in side] for side in sides])
    return frozenset(one for one in lost if one.kind != "exclude")


def _losers(family: Family, sides: list[list[Said[Claim]]]) -> set[Claim]:
    """Return the claims of the side that does not have the last word; ConflictError if both have it."""
    winners = family.last_words([one for side in sides for one in side])
    first, second = ([one for one in side if one in winners] for side in sides)
    if first and second:
        raise _clash(first[0], second[0])
    return {one.value for one in (sides[0] if second else sides[1])}


def _claims(profile: Profile) -> Iterator[tuple[str, str, str]]:
    """Yield kind, path and place of everything that is named literally."""
    for kind, items in (("file", profile.files), ("secret", profile.secrets), ("program", profile.programs)):
        for item in items:
            if item.text.startswith("/") and not is_glob(item.text):
                yield kind, item.text, item.where
    for text in profile.texts:
        yield "text", text.path, text.where
    for directory in profile.directories:
        yield "directory", directory.path, directory.where
    for edit in profile.edits:
        yield "edit", edit.path, edit.where


class _Excludes:
    """All excludes, to be asked which of them cover a path."""

    def __init__(self, profiles: Iterable[Profile]) -> None:
        said = [(profile.name, item) for profile in profiles for item in profile.exclude]
        self._globs = [(matcher(item.text), by, item) for by, item in said if is_glob(item.text)]
        self._literal = [(by, item) for by, item in said if not is_glob(item.text)]

    def covering(self, path: RootPath) -> Iterator[Said[Claim]]:
        above = (path, *path.ancestors)
        for by, item in self._literal:
            if item.text in above or item.text == "/":
                yield _excluding(by, item)
        for pattern, by, item in self._globs:
            if any(map(pattern.fullmatch, above)):
                yield _excluding(by, item)


def _excluding(by: str, item: Item) -> Said[Claim]:
    return Said(by, item.where, Claim("exclude", item.text))


def _clash(one: Said[Claim], other: Said[Claim]) -> ConflictError:
    hint = "remove one of the two" if one.by == other.by else None
    return conflict(one.where, str(one.value), other.where, str(other.value), hint)
