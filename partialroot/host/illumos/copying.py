"""Copies many files at once, with what Python on illumos cannot give them: ACLs and extended attributes.

cpio(1) does, in one process for all files; ls(1) tells afterwards what each has.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from partialroot.errors import ApplyError
from partialroot.host.illumos import commands
from partialroot.host.illumos.commands import Run

CPIO, LS = "/usr/bin/cpio", "/usr/bin/ls"
LISTED_AT_ONCE = 400
"""So many names fit into one command line, as long as they may be (ARG_MAX is a megabyte)."""


class Feed(Protocol):
    """How a command is run that reads."""

    def __call__(self, text: str, *words: str) -> str:
        """Run it with a text on its standard input, and return what it prints; ApplyError if it fails."""


def cpio_words(into: str) -> tuple[str, ...]:
    """Return the command that copies the files whose names it reads to below ``into``.

    -p copies, -d makes the directories above, -m keeps times, -P keeps ACLs and -@ extended attributes.
    """
    return (CPIO, "-pdmP@", into)


def cpio_names(paths: Iterable[str]) -> str:
    """Return what cpio reads, to copy absolute paths from ``/``: a name a line, relative.

    Raises ApplyError for a name that would be two.
    """
    names = [path[1:] for path in paths]
    odd = next((name for name in names if "\n" in name), None)
    if odd is not None:
        raise ApplyError("cannot be copied: its name has a line end", path=ascii(f"/{odd}"))
    return "".join(f"{name}\n" for name in names)


def ls_words(paths: Iterable[str]) -> tuple[str, ...]:
    """Return the command that lists files with their ACLs (-V), and whether they have attributes (-@)."""
    return (LS, "-dV@", *paths)


def permissions(text: str) -> list[tuple[str, ...]]:
    """Return of each file that ``ls -dV@`` printed its modes, with ``+`` or ``@`` behind, and its ACL."""
    found: list[tuple[str, ...]] = []
    for line in text.splitlines():
        if line.startswith(" "):
            found[-1] = (*found[-1], line.strip())
        else:
            found.append((line.partition(" ")[0],))
    return found


def copy(
    paths: Iterable[str], into: str, run: Run = commands.run, feed: Feed = commands.feed
) -> frozenset[str]:
    """Copy files, given by absolute path, below the directory ``into``, under the same paths.

    Return those whose copies have not their permissions. Raises ApplyError when cpio or ls fails.
    """
    wanted = sorted(set(paths))
    feed(cpio_names(wanted), *cpio_words(into))
    before = _permissions(wanted, run)
    after = _permissions([f"{into}{path}" for path in wanted], run)
    pairs = zip(wanted, before, after, strict=True)
    return frozenset(path for path, of_source, of_copy in pairs if of_source != of_copy)


def _permissions(paths: Sequence[str], run: Run) -> Iterator[tuple[str, ...]]:
    """Yield the permissions of files in the order of their names, which is that of ls."""
    for start in range(0, len(paths), LISTED_AT_ONCE):
        yield from permissions(run(*ls_words(paths[start : start + LISTED_AT_ONCE])))
