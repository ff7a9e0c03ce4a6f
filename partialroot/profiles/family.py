"""Profiles that are composed together: their order, and whose word counts."""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from typing import Generic, NamedTuple, TypeVar

from partialroot.errors import ConflictError, ProfileError
from partialroot.model import Profile
from partialroot.profiles.wording import suggestion

MOST_USES = 64
"""The longest chain of profiles that use each other."""

T = TypeVar("T")


class Said(NamedTuple, Generic[T]):
    """What one profile says of one thing, and where."""

    by: str
    where: str
    value: T


class Family:
    """The profiles asked for and all they use.

    ``members`` has each once, what is used before who uses it; the order in which they were asked for makes
    no difference. Raises ProfileError when one uses itself, is not there, or shares its name with another.
    """

    def __init__(self, asked: Sequence[Profile], used: Mapping[str, Profile]) -> None:
        self._used = used
        self._asked: dict[str, Profile] = {}
        self._members: dict[str, Profile] = {}
        self._below: dict[str, frozenset[str]] = {}
        for profile in asked:
            _refuse_twins(self._asked.setdefault(profile.name, profile), profile)
        self.names = tuple(sorted(self._asked))
        for name in self.names:
            self._join(self._asked[name], ())
        self.members = tuple(self._members.values())

    def _join(self, profile: Profile, users: tuple[str, ...]) -> None:
        """Let in what ``profile`` uses, then itself; ``users`` is the chain that leads to it."""
        if profile.name in self._members:
            return
        chain = (*users, profile.name)
        below: set[str] = set()
        for item in profile.uses:
            if item.text in chain or len(chain) > MOST_USES:
                loop = " uses ".join((*chain[-4:], item.text))
                raise ProfileError(f"the profiles use each other in a loop: {loop}", path=item.where)
            self._join(self._find(item.text, item.where), chain)
            below |= {item.text, *self._below[item.text]}
        self._members[profile.name] = profile
        self._below[profile.name] = frozenset(below)

    def _find(self, name: str, where: str) -> Profile:
        profile = self._used.get(name, self._asked.get(name))
        if profile is None:
            hint = suggestion(name, self._used, "profiles")
            raise ProfileError(f"no profile is called {name!r}", path=where, hint=hint)
        _refuse_twins(self._asked.get(name, profile), profile)
        return profile

    def overrides(self, user: str, name: str) -> bool:
        """Whether ``user`` uses ``name``, directly or not."""
        return name in self._below[user]

    def last_words(self, said: Sequence[Said[T]]) -> list[Said[T]]:
        """Return what is said by those whom nobody else who speaks here overrides."""
        return [one for one in said if not any(self.overrides(other.by, one.by) for other in said)]

    def agreed(self, said: Sequence[Said[T]], what: str, hint: str | None = None) -> Said[T] | None:
        """Return what all last words agree on, None if nothing is said. Else raise ConflictError."""
        words = self.last_words(said)
        for one in words:
            if one.value != words[0].value:
                raise conflict(words[0].where, f"gives {what}", one.where, "another", hint)
        return words[0] if words else None

    def changed(self, change: Callable[[Profile], Profile]) -> "Family":
        """Return the same family, each member with the same name but changed."""
        family = copy(self)
        family.members = tuple(map(change, self.members))
        return family


def conflict(where: str, says: str, other: str, other_says: str, hint: str | None = None) -> ConflictError:
    """Return the error that names both sides of a contradiction."""
    return ConflictError(
        f"{says}, and {other} {other_says}",
        path=where,
        hint=hint or "a profile that uses both can have the last word",
    )


def _refuse_twins(one: Profile, other: Profile) -> None:
    if one != other:
        raise ProfileError(
            f"two different profiles are called {one.name!r}: {one.where} and {other.where}",
            hint="rename one of them",
        )
