"""What the words of a profile's lists must look like: names, paths, globs."""

import re
from collections.abc import Callable, Mapping, Sequence

from partialroot.errors import PartialRootError, ProfileError
from partialroot.globs import alternatives, is_glob
from partialroot.nodes import Item
from partialroot.paths import RootPath
from partialroot.profiles.wording import quoted

PLACEHOLDER = re.compile(r"@[A-Za-z][A-Za-z0-9_-]*@")
"""A parameter's place in a text: ``@port@``."""

MAX_TEXT = 1 << 20
"""Bytes in one text, or in a file after an edit."""

PATH_MAX = 4096  # linux/limits.h; SunOS has 1024

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
_ACCOUNT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\$?")
_PACKAGE = re.compile(r"[A-Za-z0-9*?[][A-Za-z0-9*?\[\]!.+:~/,_-]*")


def parse_path(text: str, where: str) -> RootPath:
    """Return a path inside a root; ProfileError when it is relative, has a ``..`` or a control character."""
    if len(text) > PATH_MAX:
        raise ProfileError(f"a path of {len(text)} characters is too long", path=where)
    try:
        path = RootPath.parse(text)
    except PartialRootError as error:
        raise ProfileError(error.message, path=where, hint="paths are absolute inside the zone") from None
    if not text.isprintable():
        raise ProfileError(f"{quoted(text)} has a character that cannot be printed", path=where)
    return path


def parse_profile_name(text: str, where: str) -> str:
    """Return the name of a profile."""
    return _matched(_NAME, text, where, "the name of a profile")


def checked(field: str, item: Item) -> Item:
    """Return an item of the list ``field`` in its normal spelling. Raises ProfileError when it cannot be one.

    What holds a placeholder is left for the time when its value is known.
    """
    if PLACEHOLDER.search(item.text):
        return item
    return Item(_CHECKS[field](item.text, item.where), item.where)


def check_command(words: Sequence[str], where: str) -> None:
    """Raise ProfileError unless ``words`` can be executed: a program by path or name, and its arguments."""
    for word in words:
        if "\0" in word:
            raise ProfileError(f"{quoted(word)} has a NUL, and no argument can", path=where)
    if words and not PLACEHOLDER.search(words[0]):
        _program(words[0], where)


def check_size(size: int, where: str) -> None:
    """Raise ProfileError when a text of ``size`` bytes would be too large."""
    if size > MAX_TEXT:
        raise ProfileError(f"{size} bytes of text are too much: {MAX_TEXT} are allowed", path=where)


def _matched(pattern: re.Pattern[str], text: str, where: str, wanted: str, hint: str | None = None) -> str:
    if not pattern.fullmatch(text):
        raise ProfileError(f"{quoted(text)} is not {wanted}", path=where, hint=hint)
    return text


def _pattern(text: str, where: str) -> RootPath:
    """Return a path, or a glob all of whose alternatives are paths (``/{.,}./x`` stands for a ``..``)."""
    try:
        paths = alternatives(text)
    except ProfileError as error:
        raise ProfileError(error.message, path=where) from None
    for path in paths:
        parse_path(path, where)
    return parse_path(text, where)


def _literal(text: str, where: str) -> RootPath:
    if is_glob(text):
        raise ProfileError(f"{quoted(text)} is a glob, and here each path is named by itself", path=where)
    return parse_path(text, where)


def _program(text: str, where: str) -> str:
    if text.startswith("/"):
        return _pattern(text, where)
    if "/" in text or not text.isprintable() or text in ("", ".", "..") or is_glob(text):
        hint = "a name is looked up on the standard path; anything else begins with /"
        raise ProfileError(f"{quoted(text)} is not the name or path of a program", path=where, hint=hint)
    return text


def _package(text: str, where: str) -> str:
    hint = 'a name as the package database has it, or a glob of names: "libc6", "lib*-dev", "*"'
    return _matched(_PACKAGE, text, where, "the name of a package", hint)


def _account(text: str, where: str) -> str:
    return _matched(_ACCOUNT, text, where, "the name of a user or group")


def _service(text: str, where: str) -> str:
    return _matched(_NAME, text, where, "the name of a service", 'names as in /etc/pam.d: "login"')


def _database(text: str, where: str) -> str:
    return _matched(
        _NAME, text, where, "the name of a database", 'names as in nsswitch.conf: "passwd", "hosts"'
    )


_CHECKS: Mapping[str, Callable[[str, str], str]] = {
    "uses": parse_profile_name,
    "programs": _program,
    "packages": _package,
    "files": _pattern,
    "optional": _pattern,
    "secrets": _literal,
    "exclude": _pattern,
    "private": _literal,
    "users": _account,
    "groups": _account,
    "pam": _service,
    "nss": _database,
}

ITEM_FIELDS = tuple(_CHECKS)
"""The fields of a Profile that are lists of items."""
