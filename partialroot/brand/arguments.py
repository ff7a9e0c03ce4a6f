"""The words a hook is called with. They came through a shell, unquoted: nothing in them is trusted."""

import os
import re
from collections.abc import Sequence
from getopt import GetoptError, getopt
from pathlib import Path
from typing import NamedTuple

from partialroot.errors import UsageError, ZonepathError

BRAND = "partial-root"
# Letters only: zoneadm loses the names of long options (zones facts 1.4). As <installopts> of config.xml.
INSTALL_OPTIONS = "p:o:s:i:h"
USAGE = "usage: zoneadm -z ZONE install [-p PROFILE ...] [-o OVERLAY ...] [-s FILE] | -i TARBALL"
MAX_SPEC = 1 << 20
_ZONE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
# A blank or a metacharacter would have been split or run before we are called (10.4).
_ZONEPATH = re.compile(r"/[A-Za-z0-9._/-]+")


class Call(NamedTuple):
    """Which zone a hook is called for, with the words that follow."""

    zone: str
    zonepath: Path
    words: tuple[str, ...]


class Wish(NamedTuple):
    """What install is to build: of profiles and Tribblix' overlays, or all that is in a tarball."""

    profiles: tuple[str, ...]
    overlays: tuple[str, ...]
    tarball: Path | None


def parse_call(words: Sequence[str]) -> Call:
    """Return the zone and zonepath that every hook's line begins with: ``ZONE ZONEPATH ...``."""
    if len(words) < 2:
        raise UsageError("a hook is called with a zone and its zonepath", hint="zoneadm calls it")
    zone, zonepath, *rest = words
    if not _ZONE.fullmatch(zone) or zone == "global":
        raise UsageError("is not a zone's name", path=ascii(zone))
    if not _ZONEPATH.fullmatch(zonepath) or os.path.normpath(zonepath) != zonepath:
        raise ZonepathError("a zonepath has only letters, digits and . _ - /", path=ascii(zonepath))
    return Call(zone, Path(zonepath), tuple(rest))


def parse_install(words: Sequence[str]) -> Wish:
    """Return what the options of ``zoneadm install`` ask for; UsageError for others."""
    if "--" in words:  # all that zoneadm leaves of a long option
        raise UsageError("long options are not known", hint=USAGE)
    options = _getopt(words, f"x:{INSTALL_OPTIONS}")  # zoneadm forwards its own -x
    if any(letter == "-h" for letter, _ in options):
        raise UsageError(USAGE)
    profiles: list[str] = []
    for letter, value in options:
        if letter == "-p":
            profiles.append(value)
        if letter == "-s":
            profiles += _read_spec(Path(value))
    overlays = tuple(value for letter, value in options if letter == "-o")
    tarballs = [Path(value) for letter, value in options if letter == "-i"]
    _refuse_strange_wishes(profiles, overlays, tarballs)
    return Wish(tuple(profiles), overlays, tarballs[0] if tarballs else None)


def _refuse_strange_wishes(
    profiles: Sequence[str], overlays: Sequence[str], tarballs: Sequence[Path]
) -> None:
    if not tarballs and not profiles:
        raise UsageError("no profile is named", hint=USAGE)
    if tarballs and (profiles or overlays or len(tarballs) > 1):
        raise UsageError("a tarball is all that is in its zone", path=str(tarballs[0]), hint=USAGE)
    if tarballs and not tarballs[0].is_absolute():
        raise UsageError("the path of a tarball must be absolute", path=str(tarballs[0]))


def parse_uninstall(words: Sequence[str]) -> frozenset[str]:
    """Return the options of ``zoneadm uninstall``: F, n and v."""
    return frozenset(letter[1] for letter, _ in _getopt(words, "Fnv"))


def parse_clone(words: Sequence[str]) -> str:
    """Return the zone to clone: behind zoneadm's own options, of which ``-m copy`` makes no difference."""
    try:
        options, operands = getopt(list(words), "m:s:")
    except GetoptError as error:
        raise UsageError(str(error)) from error
    if "-s" in dict(options):
        raise UsageError("a zone is cloned as it is now, not from a snapshot", hint="leave out -s")
    if len(operands) != 1:
        raise UsageError("no zone to clone is named")
    return operands[0]


def parse_upgrade(words: Sequence[str]) -> Call:
    """Return the zone of ``zap upgrade``: ``-R ALTROOT -b BRAND -z ZONE -p ZONEPATH -v VERSION``."""
    given = dict(_getopt(words, "R:b:p:v:z:"))
    missing = {"-R", "-b", "-z", "-p", "-v"} - given.keys()
    if missing:
        raise UsageError(f"needs {' '.join(sorted(missing))}")
    if given["-b"] != BRAND:
        raise UsageError(f"is not of brand {BRAND}", path=ascii(given["-z"]))
    return parse_call([given["-z"], given["-p"]])


def _getopt(words: Sequence[str], letters: str) -> list[tuple[str, str]]:
    try:
        options, operands = getopt(list(words), letters)
    except GetoptError as error:
        raise UsageError(str(error), hint=USAGE) from error
    if operands:
        raise UsageError("is not understood", path=ascii(operands[0]), hint=USAGE)
    return options


def _read_spec(path: Path) -> list[str]:
    """Return the profiles that a file names, one a line; what follows ``#`` is a comment.

    What does not fit into a command line of 1024 bytes comes so (1.2).
    """
    if not path.is_absolute():
        raise UsageError("the path of a list must be absolute", path=str(path))
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(MAX_SPEC + 1)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot be read: {error}", path=str(path)) from error
    if len(text) > MAX_SPEC:
        raise UsageError(f"is longer than {MAX_SPEC} bytes", path=str(path))
    words = (line.partition("#")[0].strip() for line in text.splitlines())
    return [word for word in words if word]
