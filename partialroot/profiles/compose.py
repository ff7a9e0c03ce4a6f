"""Several profiles become one: lists are united, and a profile has the last word over those it uses."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from partialroot.model import DirectoryWish, EditWish, Fragment, Profile, Start, TextWish
from partialroot.nodes import Item
from partialroot.paths import RootPath
from partialroot.profiles.contradictions import Claim, overruled
from partialroot.profiles.family import Family, Said
from partialroot.profiles.items import ITEM_FIELDS
from partialroot.profiles.parameters import Replacer, settle

Wish = TypeVar("Wish", DirectoryWish, TextWish, EditWish)

_ONE_VALUE = ("lean", "read_only", "network")
_KINDS = {"files": "file", "secrets": "secret", "programs": "program"}


def compose(
    profiles: Sequence[Profile], used: Mapping[str, Profile], parameters: Mapping[str, str]
) -> Profile:
    """Return one profile that says what all of ``profiles`` and those they use say.

    ``used`` has by name what they may use, ``parameters`` the values that override defaults. The result uses
    nothing and has its parameters filled in; the order of ``profiles`` makes no difference, but to fragments
    in mvi's notation, which run in it. Raises ProfileError for what is unknown or cannot be a wish,
    ConflictError for contradictions, with both sides.
    """
    family = Family(profiles, used)
    values = settle(family, parameters)
    family = family.changed(Replacer(values).profile)
    lost = overruled(family)
    asked = [member for member in family.members if member.name in family.names]
    lists: dict[str, Any] = {field: _united(family, field, lost) for field in ITEM_FIELDS if field != "uses"}
    one_values = {key: _one_value(family, key) for key in _ONE_VALUE}
    return Profile(
        name="+".join(family.names),
        where=", ".join(dict.fromkeys(member.where for member in asked)),
        summary="; ".join(dict.fromkeys(member.summary for member in asked if member.summary)),
        parameters=values,
        start=_start(family),
        directories=_directories(family, lost),
        texts=_texts(family, lost),
        edits=_edits(family, lost),
        fragments=_fragments(profiles, family),
        places={key: said.where for key, said in one_values.items() if said},
        **{key: said.value for key, said in one_values.items() if said},
        **lists,
    )


def _united(family: Family, field: str, lost: frozenset[Claim]) -> tuple[Item, ...]:
    """Unite lists, each item once, with the place where it is said first."""
    items: dict[str, Item] = {}
    for member in family.members:
        for item in getattr(member, field):
            if Claim(_KINDS.get(field, field), item.text) not in lost:
                items.setdefault(item.text, item)
    return tuple(items.values())


def _one_value(family: Family, key: str) -> Said[Any] | None:
    said = [
        Said(member.name, member.places.get(key, member.where), value)
        for member in family.members
        if (value := getattr(member, key)) is not None
    ]
    return family.agreed(said, f"{key} a value")


def _start(family: Family) -> Start | None:
    said = [
        Said(member.name, member.start.where, member.start._replace(where=""))
        for member in family.members
        if member.start is not None
    ]
    agreed = family.agreed(said, "the zone a start")
    return agreed.value._replace(where=agreed.where) if agreed else None


def _fragments(profiles: Sequence[Profile], family: Family) -> tuple[Fragment, ...]:
    """Return all fragments, first those of used profiles, then in the order of what was asked for."""
    asked = {profile.name for profile in profiles}
    ordered = [*(member for member in family.members if member.name not in asked), *profiles]
    return tuple(dict.fromkeys(fragment for profile in ordered for fragment in profile.fragments))


# --- wishes by path -----------------------------------------------------------------------------------


def _by_path(
    family: Family, wishes: Callable[[Profile], Sequence[Wish]]
) -> list[tuple[RootPath, list[Said[Wish]]]]:
    """Group what all members wish by path, in order of the paths."""
    groups: dict[RootPath, list[Said[Wish]]] = {}
    for member in family.members:
        for wish in wishes(member):
            groups.setdefault(wish.path, []).append(Said(member.name, wish.where, wish))
    return sorted(groups.items())


def _directories(family: Family, lost: frozenset[Claim]) -> tuple[DirectoryWish, ...]:
    """Unite directories; who says nothing of mode or owner leaves it to the others."""
    return tuple(
        DirectoryWish(
            path,
            group[0].where,
            mode=_agreed_part(family, group, "mode"),
            owner=_agreed_part(family, group, "owner"),
            group=_agreed_part(family, group, "group"),
        )
        for path, group in _by_path(family, lambda profile: profile.directories)
        if Claim("directory", path) not in lost
    )


def _agreed_part(family: Family, group: Sequence[Said[DirectoryWish]], part: str) -> Any:
    said = [
        Said(one.by, one.where, value) for one in group if (value := getattr(one.value, part)) is not None
    ]
    agreed = family.agreed(said, f"the directory {group[0].value.path} its {part}")
    return agreed.value if agreed else None


def _texts(family: Family, lost: frozenset[Claim]) -> tuple[TextWish, ...]:
    texts = []
    for path, group in _by_path(family, lambda profile: profile.texts):
        said = [Said(one.by, one.where, one.value._replace(where="")) for one in group]
        agreed = family.agreed(said, f"{path} a content, mode or owner")
        if agreed and Claim("text", path) not in lost:
            texts.append(agreed.value._replace(where=agreed.where))
    return tuple(texts)


def _edits(family: Family, lost: frozenset[Claim]) -> tuple[EditWish, ...]:
    """Unite the edits of each file; a profile that writes the file anew leaves none of those it uses."""
    written = dict(_by_path(family, lambda profile: profile.texts))
    edits = []
    for path, group in _by_path(family, lambda profile: profile.edits):
        writers = [text.by for text in written.get(path, ())]
        kept = [one for one in group if not any(family.overrides(by, one.by) for by in writers)]
        if kept and Claim("edit", path) not in lost:
            edits.append(_united_edit(family, path, kept))
    return tuple(edits)


def _united_edit(family: Family, path: RootPath, group: Sequence[Said[EditWish]]) -> EditWish:
    drop: dict[str, None] = {}
    append: list[str] = []
    pairs: dict[str, list[Said[str]]] = {}
    for one in group:
        drop |= dict.fromkeys(one.value.drop)
        append += [line for line in one.value.append if line not in append]
        for old, new in one.value.substitute:
            pairs.setdefault(old, []).append(Said(one.by, one.where, new))
    agreed = {old: family.agreed(said, f"{old!r} in {path} a substitute") for old, said in pairs.items()}
    return EditWish(
        path,
        group[0].where,
        drop=tuple(drop),
        substitute=tuple((old, said.value) for old, said in agreed.items() if said),
        append=tuple(append),
    )
