"""The TOML notation of a profile: which keys there are, and what each must hold."""

import re
from collections.abc import Callable
from itertools import chain
from typing import Any

from partialroot.model import DirectoryWish, EditWish, Profile, Start, TextWish
from partialroot.nodes import Item
from partialroot.profiles.document import Value, load
from partialroot.profiles.items import check_command, check_size, checked, parse_path
from partialroot.profiles.wording import quoted, suggestion

Fields = dict[str, Any]
"""A key's share of a Profile, by the names of its fields."""

NETWORKS = ("private", "host")

_MODE = re.compile("[0-7]{3,4}")
_PARAMETER = re.compile("[A-Za-z][A-Za-z0-9_-]*")

_LISTS = {
    "uses": 'uses = ["base"]',
    "programs": 'programs = ["node"]',
    "packages": 'packages = ["libc6"]',
    "files": 'files = ["/etc/hosts"]',
    "optional": 'optional = ["/etc/localtime"]',
    "secrets": 'secrets = ["/etc/ssl/private/site.key"]',
    "exclude": 'exclude = ["/usr/share/doc"]',
    "private": 'private = ["/usr/lib/app/state"]',
    "users": 'users = ["www-data"]',
    "groups": 'groups = ["ssl-cert"]',
}
_MODULES = {"pam": 'pam = ["login"]', "nss": 'nss = ["passwd", "hosts"]'}
_OWNERSHIP = {"mode": 'mode = "0755"', "owner": 'owner = "www-data"', "group": 'group = "www-data"'}
_TEXT = {"content": 'content = "..."', **_OWNERSHIP}
_EDIT = {
    "drop": 'drop = ["a whole line"]',
    "substitute": 'substitute = [["from", "to"]]',
    "append": 'append = ["a line"]',
}
_START = {"command": 'command = ["/bin/sh"]', "setuid": "setuid = true", "pause": "pause = true"}


def parse_profile(text: str, name: str, where: str) -> Profile:
    """Return the profile called ``name`` that is written in ``text``; ``where`` is its file's name.

    Raises ProfileError, with the line, for what is no TOML, unknown keys, wrong types, relative paths and
    whatever else cannot be a wish.
    """
    top = load(text, where)
    fields: Fields = {}
    for key, value in top.table(_KEYS, 'programs = ["node"]').items():
        fields |= _KEYS[key](value)
    said = [(key,) for key in _ONE_VALUE if key in fields]
    parameters = [("parameters", parameter) for parameter in fields.get("parameters", ())]
    places = {".".join(path): top.document.where(path) for path in (*said, *parameters)}
    return Profile(name=name, where=where, places=places, **fields)


# --- one function per key -----------------------------------------------------------------------------


def _summary(value: Value) -> Fields:
    text = value.string('summary = "A web server"')
    if not text.isprintable():
        value.fail("summary must be one line that can be printed")
    return {"summary": text}


def _list(value: Value) -> Fields:
    return {value.key: _items(value, value.key, _LISTS[value.key])}


def _modules(value: Value) -> Fields:
    parts = value.table(_MODULES, 'modules = { pam = ["login"] }')
    return {key: _items(part, key, _MODULES[key]) for key, part in parts.items()}


def _flag(value: Value) -> Fields:
    return {value.key: value.flag()}


def _network(value: Value) -> Fields:
    network = value.string('network = "private"')
    if network not in NETWORKS:
        value.fail(f"network {quoted(network)} is not known", suggestion(network, NETWORKS, "known networks"))
    return {"network": network}


def _parameters(value: Value) -> Fields:
    parameters = dict(value.entries('[parameters] port = "8000"'))
    for name, default in parameters.items():
        if not _PARAMETER.fullmatch(name):
            default.fail(
                f"{quoted(name)} is not the name of a parameter", "a letter, then letters, digits, - and _"
            )
    return {"parameters": {name: one.string(f'{name} = "8000"') for name, one in parameters.items()}}


def _directories(value: Value) -> Fields:
    return {"directories": tuple(_directory(*entry) for entry in value.entries('[directories."/srv"]'))}


def _directory(path: str, value: Value) -> DirectoryWish:
    says = value.table(_OWNERSHIP, '[directories."/srv"]')
    mode = _mode(says["mode"]) if "mode" in says else None
    return DirectoryWish(
        parse_path(path, value.where), value.where, mode, _owner(says, "owner"), _owner(says, "group")
    )


def _texts(value: Value) -> Fields:
    return {"texts": tuple(_text(*entry) for entry in value.entries('[text."/etc/motd"]'))}


def _text(path: str, value: Value) -> TextWish:
    says = value.table(_TEXT, '[text."/etc/motd"]')
    if "content" not in says:
        value.fail(f"the text {quoted(path)} has no content", 'for example: content = "..."')
    content = says["content"].string(_TEXT["content"])
    check_size(len(content.encode()), says["content"].where)
    mode = _mode(says["mode"]) if "mode" in says else 0o644
    return TextWish(
        parse_path(path, value.where),
        value.where,
        content,
        mode,
        _owner(says, "owner"),
        _owner(says, "group"),
    )


def _mode(value: Value) -> int:
    mode = value.string(_OWNERSHIP["mode"])
    if not _MODE.fullmatch(mode):
        value.fail(f"{quoted(mode)} is not a mode", 'three or four octal digits: "0755"')
    return int(mode, 8)


def _owner(says: dict[str, Value], key: str) -> str | None:
    """Return the user or group, by name or number, or None."""
    if key not in says:
        return None
    raw = says[key].raw
    if type(raw) is int and raw >= 0:
        return str(raw)
    return checked("users", Item(says[key].string(_OWNERSHIP[key]), says[key].where)).text


def _edits(value: Value) -> Fields:
    return {"edits": tuple(_edit(*entry) for entry in value.entries('[edit."/etc/inittab"]'))}


def _edit(path: str, value: Value) -> EditWish:
    says = value.table(_EDIT, '[edit."/etc/inittab"]')
    if not says:
        value.fail(f"the edit of {quoted(path)} changes nothing", "give it " + ", ".join(_EDIT))
    lines = {
        key: tuple(_line(one, _EDIT[key]) for one in says[key].array(_EDIT[key]))
        for key in ("drop", "append")
        if key in says
    }
    pairs = says["substitute"].array(_EDIT["substitute"]) if "substitute" in says else ()
    return EditWish(
        parse_path(path, value.where),
        value.where,
        drop=lines.get("drop", ()),
        substitute=tuple(map(_pair, pairs)),
        append=lines.get("append", ()),
    )


def _line(value: Value, example: str) -> str:
    line = value.string(example)
    if "\n" in line:
        value.fail("a line cannot hold a line break", "write one string per line")
    return line


def _pair(value: Value) -> tuple[str, str]:
    pair = [part.string(_EDIT["substitute"]) for part in value.array(_EDIT["substitute"])]
    if len(pair) != 2 or not pair[0]:
        value.fail(
            "substitute must hold pairs of what is there and what comes instead",
            f"for example: {_EDIT['substitute']}",
        )
    return pair[0], pair[1]


def _start(value: Value) -> Fields:
    says = value.table(_START, "[start]")
    flags = {key: says[key].flag() for key in ("setuid", "pause") if key in says}
    words = says["command"].array(_START["command"]) if "command" in says else ()
    command = tuple(word.string(_START["command"]) for word in words)
    check_command(command, value.where)
    if bool(command) == flags.get("pause", False):
        value.fail("start must have either a command or pause = true", f"for example: {_START['command']}")
    return {"start": Start(value.where, command, **flags)}


def _items(value: Value, field: str, example: str) -> tuple[Item, ...]:
    return tuple(checked(field, item) for item in value.items(example))


_KEYS: dict[str, Callable[[Value], Fields]] = {
    "summary": _summary,
    **dict.fromkeys(_LISTS, _list),
    "modules": _modules,
    "lean": _flag,
    "read_only": _flag,
    "network": _network,
    "parameters": _parameters,
    "directories": _directories,
    "text": _texts,
    "edit": _edits,
    "start": _start,
}
_ONE_VALUE = ("lean", "read_only", "network")

KEYS = tuple(
    chain(
        _KEYS,
        (f"modules.{key}" for key in _MODULES),
        (f"directories.{key}" for key in _OWNERSHIP),
        (f"text.{key}" for key in _TEXT),
        (f"edit.{key}" for key in _EDIT),
        (f"start.{key}" for key in _START),
    )
)
"""Every key of the notation; those of a table with the table's name before a dot."""
