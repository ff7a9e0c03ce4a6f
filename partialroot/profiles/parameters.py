"""Parameters: their values, and putting these where ``@name@`` stands."""

import re
from collections.abc import Mapping
from typing import Any

from partialroot.errors import ProfileError
from partialroot.model import DirectoryWish, EditWish, Profile, Start, TextWish
from partialroot.nodes import Item
from partialroot.profiles.family import Family, Said
from partialroot.profiles.items import ITEM_FIELDS, check_command, check_size, checked, parse_path
from partialroot.profiles.wording import quoted, suggestion


def settle(family: Family, given: Mapping[str, str]) -> dict[str, str]:
    """Return the value of every parameter: as given by the user, else as the profiles agree on.

    Raises ProfileError for one that no profile has, ConflictError when defaults differ.
    """
    said: dict[str, list[Said[str]]] = {}
    for member in family.members:
        for name, value in member.parameters.items():
            where = member.places.get(f"parameters.{name}", member.where)
            said.setdefault(name, []).append(Said(member.name, where, value))
    for name, value in given.items():
        if name not in said:
            hint = suggestion(name, said, "parameters")
            raise ProfileError(f"these profiles have no parameter {quoted(name)}", hint=hint)
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise ProfileError(f"the value of {name} is not UTF-8: {quoted(value)}")
    values = dict(given)
    for name in said.keys() - given.keys():
        hint = f"choose with --set {name}=VALUE"
        agreed = family.agreed(said[name], f"the parameter {name} a value", hint)
        values[name] = agreed.value if agreed else ""
    return dict(sorted(values.items()))


class Replacer:
    """Puts values in the place of ``@name@``; names that are no parameters stay as they are."""

    def __init__(self, values: Mapping[str, str]) -> None:
        names = "|".join(map(re.escape, values))
        self._values = values
        self._pattern = re.compile(f"@({names})@") if names else None
        self._put_in = 0

    def __call__(self, text: str, where: str) -> str:
        """Return ``text`` with values; ProfileError when all that was put in so far gets too large."""
        if self._pattern is None or "@" not in text:
            return text
        self._put_in += sum(len(self._values[name]) for name in self._pattern.findall(text))
        check_size(self._put_in, where)
        return self._pattern.sub(lambda match: self._values[match[1]], text)

    def profile(self, profile: Profile) -> Profile:
        """Return ``profile`` with values in all its wishes, which are checked again."""
        lists: dict[str, Any] = {field: self._items(profile, field) for field in ITEM_FIELDS}
        return profile._replace(
            directories=tuple(map(self._directory, profile.directories)),
            texts=tuple(map(self._text, profile.texts)),
            edits=tuple(map(self._edit, profile.edits)),
            start=None if profile.start is None else self._start(profile.start),
            **lists,
        )

    def _items(self, profile: Profile, field: str) -> tuple[Item, ...]:
        items: tuple[Item, ...] = getattr(profile, field)
        return tuple(checked(field, Item(self(item.text, item.where), item.where)) for item in items)

    def _account(self, name: str | None, where: str) -> str | None:
        return None if name is None else checked("users", Item(self(name, where), where)).text

    def _directory(self, wish: DirectoryWish) -> DirectoryWish:
        return wish._replace(
            path=parse_path(self(wish.path, wish.where), wish.where),
            owner=self._account(wish.owner, wish.where),
            group=self._account(wish.group, wish.where),
        )

    def _text(self, wish: TextWish) -> TextWish:
        content = self(wish.content, wish.where)
        check_size(len(content.encode()), wish.where)
        return wish._replace(
            path=parse_path(self(wish.path, wish.where), wish.where),
            content=content,
            owner=self._account(wish.owner, wish.where),
            group=self._account(wish.group, wish.where),
        )

    def _edit(self, wish: EditWish) -> EditWish:
        def lines(texts: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(self(text, wish.where) for text in texts)

        return wish._replace(
            path=parse_path(self(wish.path, wish.where), wish.where),
            drop=lines(wish.drop),
            substitute=tuple((self(old, wish.where), self(new, wish.where)) for old, new in wish.substitute),
            append=lines(wish.append),
        )

    def _start(self, start: Start) -> Start:
        command = tuple(self(word, start.where) for word in start.command)
        check_command(command, start.where)
        return start._replace(command=command)
