"""mvi's notation of a profile: lists in files of one name, and two scripts.

``NAME.pkgs`` names packages, ``NAME.dirs`` directories to make and ``NAME.files`` files to take; ``NAME.rc``
runs when the zone starts, ``NAME-fix.sh`` while its root is built. Which of them exist decides what NAME
is. All names come on top of the base lists ``zmvi.pkgs``, ``mvi.dirs`` and ``mvi.files``, as in zmvix.sh.
The notation is literal: what the lists name is what the zone gets (module plan.literal).
"""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from partialroot.errors import ProfileError
from partialroot.model import Fragment, Profile
from partialroot.nodes import Item
from partialroot.profiles.items import parse_path
from partialroot.profiles.wording import quoted

BASE = "zmvi"
"""The profile of the base lists, which every other one uses."""

SUFFIXES = (".pkgs", ".dirs", ".files", ".rc", "-fix.sh")

# What zmvix.sh makes and takes itself, beside its lists. getent: zlogin asks it for a user's shell.
_BASE_DIRECTORIES = (
    "usr",
    "sbin",
    "lib",
    "lib/inet",
    "usr/lib",
    "usr/sbin",
    "usr/bin",
    "usr/bin/i86",
    "usr/bin/amd64",
)
_BASE_FILES = ("usr/bin/getent",)
_BASE_WHERE = "zmvix.sh"


def names_in(directory: Path) -> set[str]:
    """Return the names of the fragments in a directory."""
    files = [entry.name for entry in os.scandir(directory)]
    return {name.removesuffix(suffix) for name in files for suffix in SUFFIXES if name.endswith(suffix)} - {
        ""
    }


def read_profile(directory: Path, name: str, read: Callable[[Path], str]) -> Profile:
    """Return the profile ``name`` of the fragments in ``directory``; ``read`` returns the text of a file.

    Raises ProfileError, with file and line, for what cannot be a path or a package.
    """

    def text(suffix: str, stem: str = name) -> tuple[str, str | None]:
        file = directory / (stem + suffix)
        return file.name, read(file) if os.path.lexists(file) else None

    base = name == BASE
    stem = "mvi" if base else name
    fragment = Fragment(
        name=name,
        directory=os.path.abspath(directory),
        packages=tuple(_packages(*text(".pkgs"))),
        directories=tuple(_paths(*text(".dirs", stem), _BASE_DIRECTORIES if base else ())),
        files=tuple(_paths(*text(".files", stem), _BASE_FILES if base else ())),
        rc=None if base else text(".rc")[1],
        fix=None if base else text("-fix.sh")[1],
    )
    return Profile(
        name=name,
        where=str(directory / name),
        summary=_summary(fragment),
        uses=() if base else (Item(BASE, name),),
        fragments=(fragment,),
    )


def _summary(fragment: Fragment) -> str:
    lists = (
        ("package", "packages", fragment.packages),
        ("directory", "directories", fragment.directories),
        ("file", "files", fragment.files),
    )
    counts = (f"{len(items)} {one if len(items) == 1 else more}" for one, more, items in lists if items)
    scripts = (what for what, text in (("an rc script", fragment.rc), ("a fix script", fragment.fix)) if text)
    return "mvi: " + ", ".join((*counts, *scripts))


def _packages(file: str, text: str | None) -> Iterator[Item]:
    """Yield packages, without the version that follows the first dot: no package has a dot in its name."""
    for word in _words(file, text):
        name = word.text.split(".")[0]
        if not name:
            raise ProfileError(f"{quoted(word.text)} is not the name of a package", path=word.where)
        yield Item(name, word.where)


def _paths(file: str, text: str | None, more: Iterable[str]) -> Iterator[Item]:
    for path in more:
        yield Item(f"/{path}", _BASE_WHERE)
    for word in _words(file, text):
        if word.text.startswith("/"):
            hint = "mvi's paths are relative to the root of the zone"
            raise ProfileError(f"{quoted(word.text)} begins with a slash", path=word.where, hint=hint)
        yield Item(parse_path(f"/{word.text}", word.where), word.where)


def _words(file: str, text: str | None) -> Iterator[Item]:
    """Yield the words of a list: a line that begins with # is a comment, blanks separate words."""
    for number, line in enumerate((text or "").split("\n"), 1):
        if not line.startswith("#"):
            for word in line.split():
                yield Item(word, f"{file}:{number}")
