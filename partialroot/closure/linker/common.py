"""What all kinds of dynamic linkers speak of: candidates, choices, what needs what."""

from typing import NamedTuple, Protocol

from partialroot.closure import ldcache
from partialroot.closure.elf import Elf
from partialroot.closure.files import Files, Found

SET_ID = 0o6000
"""The modes of programs that do not trust who runs them."""


class Library(NamedTuple):
    """A file that can be linked.

    ``entry`` is set when only glibc's cache leads to it, ``config`` when another linker's configuration does:
    without that file in the zone the linker would take something else, or nothing.
    """

    found: Found
    elf: Elf
    entry: ldcache.Library | None = None
    config: Found | None = None


class Choice(NamedTuple):
    """What a search for a name ends with.

    ``library`` is what the linker takes here, ``variants`` what it would take on other processors.
    ``refused`` is a file that makes the linker give up: it is no ELF object, or a damaged one. ``shut`` is
    True when something that the zone excludes was passed.
    """

    library: Library | None
    variants: tuple[Library, ...] = ()
    refused: str | None = None
    shut: bool = False


class Scope(NamedTuple):
    """Where an object's needs are sought first, and which of these directories those it loads inherit."""

    path: tuple[str, ...]
    chain: tuple[str, ...]


class Edge(NamedTuple):
    """``origin`` needs ``library`` by ``rule``; ``variant`` if the linker maps something else here."""

    rule: str
    origin: str
    library: Library
    variant: bool = False


class Absent(NamedTuple):
    """A name that led to nothing, with what the search says of it.

    ``soft`` if programs may never need it: it is loaded when it is used. ``remark`` says more.
    """

    rule: str
    origin: str
    name: str
    choice: Choice
    soft: bool = False
    remark: str = ""


class Linker(Protocol):
    """The search of one dynamic linker; ``interpreter`` is None when the source does not have it."""

    @property
    def files(self) -> Files:
        """The files it searches."""

    @property
    def interpreter(self) -> Found | None:
        """The linker itself."""

    def search(self, name: str, directories: tuple[str, ...], no_default: bool) -> Choice:
        """Search for a bare name: in ``directories``, then where this kind of linker looks by itself."""


class Loading(Protocol):
    """What one program, or one module on its own, gets loaded: ``edges`` and ``absent`` grow."""

    edges: list[Edge]
    absent: list[Absent]

    def start(self, library: Library) -> None:
        """Begin with a program, or with a library as if it were one."""

    def open(self, name: str, rule: str, origin: str, *, now: bool = False) -> Library | None:
        """Load what is opened by name at run time (dlopen), and all it needs; ``now``: with RTLD_NOW."""

    def follow_openings(self) -> None:
        """Load what the objects say they open at run time."""
