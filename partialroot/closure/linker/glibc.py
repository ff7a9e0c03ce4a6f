"""Where glibc's dynamic linker finds a library: elf/dl-load.c and elf/dl-cache.c, without an environment.

In this order: DT_RPATH of the needing object and of those that led to it, DT_RUNPATH of the needing object,
the cache, the default directories. In every directory subdirectories for better processors come first.
LD_LIBRARY_PATH and preloading play no role.
"""

import re
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Literal

from partialroot.closure import ldcache
from partialroot.closure.elf import Elf
from partialroot.closure.files import Files, Found
from partialroot.closure.linker.common import Choice, Library, Scope
from partialroot.closure.linker.ports import HWCAPS, X86_64, links_with, port, words
from partialroot.closure.linker.rtld import Rtld
from partialroot.nodes import FileType
from partialroot.paths import RootPath

if TYPE_CHECKING:  # most library directories have nothing for better processors
    from partialroot.closure.linker.hwcaps import Cpu, Subdirectory

_VARIABLE = r"\$(?:(ORIGIN|LIB|PLATFORM)(?![A-Za-z0-9_])|\{(ORIGIN|LIB|PLATFORM)\})"
_LAST_LEGACY = (2, 36)
"""The last release that looks into subdirectories like tls and haswell, and had a platform of its own."""


class Glibc:
    """The search of one dynamic linker, for objects of its own ABI (that of ``like``).

    ``interpreter`` is None when the source does not have the linker. Every answer is remembered.
    """

    kind: Literal["glibc"] = "glibc"
    unwinder = "libgcc_s.so.1"

    def __init__(self, files: Files, interpreter: Found | None, like: Elf, rtld: Rtld) -> None:
        self.files = files
        self.interpreter = interpreter
        self.rtld = rtld
        self._port = port(like)
        self._links_with = links_with(like)
        self._machine = like.abi.machine
        self._choices: dict[tuple[str, tuple[str, ...], bool], Choice] = {}
        self._subdirectories: dict[str, tuple[Subdirectory, ...]] = {}
        self._directories: dict[tuple[str, str], tuple[str, ...]] = {}

    def search(self, name: str, directories: tuple[str, ...], no_default: bool) -> Choice:
        """Search for a bare name: in ``directories``, in the cache, in the default directories.

        ``no_default`` is the needing object's flag DF_1_NODEFLIB.
        """
        key = (name, directories, no_default)
        choice = self._choices.get(key)
        if choice is None:
            choice = self._choices[key] = _Search(self, name).run(directories, no_default)
        return choice

    def open(self, path: str) -> Choice:
        """Take a name that is a path: there is nothing to search."""
        search = _Search(self, path)
        search.consider(path)
        return search.choice()

    def scope(self, elf: Elf, origin: str, inherited: tuple[str, ...]) -> Scope:
        """Return where an object's needs are sought, and what of that those it loads inherit."""
        if elf.runpath is not None:  # a DT_RPATH beside it is ignored, by those it loads too
            return Scope(self.directories(elf.runpath, origin), inherited)
        own = () if elf.rpath is None else self.directories(elf.rpath, origin)
        return Scope(own + inherited, own + inherited)

    @property
    def default_directory(self) -> str:
        """The first of the directories that are searched by default."""
        return self.rtld.directories[0]

    def names(self, library: Library) -> tuple[str | None, ...]:
        """Return the names by which a loaded object is known."""
        return library.found.name, library.elf.soname

    def links_with(self, elf: Elf) -> bool:
        """Whether an object is for this linker."""
        return links_with(elf) == self._links_with

    def directories(self, path: str, origin: str) -> tuple[str, ...]:
        """Split a DT_RPATH or DT_RUNPATH of an object that was found in the directory ``origin``.

        What is relative to the working directory is left out: a zone's programs may run anywhere.
        """
        key = (path, origin)
        if key not in self._directories:
            expanded = (self.expand(element, origin) for element in path.split(":"))
            slashed = (element.rstrip("/") or "/" for element in expanded if element)
            self._directories[key] = tuple(dict.fromkeys(one for one in slashed if one.startswith("/")))
        return self._directories[key]

    def expand(self, text: str, origin: str) -> str | None:
        """Replace $ORIGIN, $LIB and $PLATFORM; None when one of them has no value."""
        if "$" not in text:
            return text
        values = {"ORIGIN": origin, "LIB": self.rtld.directories[0].lstrip("/"), "PLATFORM": self._platform}
        words = [match[1] or match[2] for match in re.finditer(_VARIABLE, text)]
        if any(values[word] is None for word in words):
            return None
        return re.sub(_VARIABLE, lambda match: values[match[1] or match[2]] or "", text)

    def subdirectories(self, directory: str) -> "tuple[Subdirectory, ...]":
        """Return the subdirectories for better processors that a library directory has, the best first."""
        found = self._subdirectories.get(directory)
        if found is None:
            tops = {top for top in self._tops if self._is_directory(f"{directory}/{top}")}
            found = self._subdirectories[directory] = tuple(
                one
                for one in ((*self._levels, *self.legacy) if tops else ())
                if one.top in tops and self._is_directory(f"{directory}/{one.name}")
            )
        return found

    def entries(self, name: str) -> tuple[ldcache.Library, ...]:
        """Return the cache's entries of a name that this linker may take."""
        return tuple(one for one in self._cache.named(name) if one.flags in self._port.cache_flags)

    def is_own(self, entry: ldcache.Library) -> bool:
        """Whether an entry is for exactly this ABI, not for an older one it is compatible with."""
        return entry.flags == self._port.cache_flags[0]

    def finds(self, entry: ldcache.Library) -> bool:
        """Whether what a cache's entry leads to is found without the cache too."""
        directory, _, name = entry.path.rpartition("/")
        return name == entry.name and any(
            directory == default
            or directory in {f"{default}/{one.name}" for one in self.subdirectories(default)}
            for default in self.rtld.directories
        )

    @cached_property
    def cpu(self) -> "Cpu":
        """The processor, looked at only where it matters."""
        from partialroot.closure.linker.hwcaps import this_cpu

        return this_cpu(self._machine)

    @cached_property
    def _levels(self) -> "tuple[Subdirectory, ...]":
        from partialroot.closure.linker.hwcaps import levels

        return tuple(levels(self.rtld.levels, self.cpu))

    @cached_property
    def legacy(self) -> "tuple[Subdirectory, ...]":
        """The subdirectories of older releases, if this is one."""
        if not self._is_old:
            return ()
        from partialroot.closure.linker.hwcaps import legacy

        return tuple(legacy(self._machine, self._port.platform, self.cpu))

    @cached_property
    def _tops(self) -> frozenset[str]:
        """How the names of subdirectories may begin; most library directories have none of them."""
        older = words(self._machine, self._port.platform) if self._is_old else ()
        return frozenset((HWCAPS, *chain(*older)))

    @property
    def _is_old(self) -> bool:
        return self.rtld.release <= _LAST_LEGACY

    @cached_property
    def _platform(self) -> str | None:
        if self._machine == X86_64 and self._is_old:
            return self.cpu.platform
        return self._port.platform

    @cached_property
    def _cache(self) -> ldcache.Cache:
        found = self.files.file(self.rtld.cache)
        return ldcache.Cache(b"" if found is None else self.files.data(found))

    def _is_directory(self, path: str) -> bool:
        found = self.files.find(path)
        return found is not None and found.node.type is FileType.DIR


class _Search:
    """One search for one name."""

    def __init__(self, linker: Glibc, name: str) -> None:
        self._linker, self._name = linker, name
        self._library: Library | None = None
        self._variants: dict[RootPath, Library] = {}
        self._refused: str | None = None
        self._shut = False

    def run(self, directories: tuple[str, ...], no_default: bool) -> Choice:
        """Look everywhere, until something is found or refused."""
        self._look_in(directories)
        if not self._is_over:
            self._look_in_cache(no_default)
        if not self._is_over and not no_default:
            self._look_in(self._linker.rtld.directories)
        return self.choice()

    def choice(self) -> Choice:
        """Return what was found so far."""
        variants = tuple(one for real, one in self._variants.items() if not self._is_chosen(real))
        return Choice(self._library, variants, self._refused, self._shut)

    def consider(self, path: str, *, taken: bool = True, entry: ldcache.Library | None = None) -> None:
        """Look at one candidate; with ``taken`` False it is one for another processor."""
        files = self._linker.files
        found = files.file(path)
        if found is None:
            self._shut |= path in files.shut
            return
        taken = taken and not self._is_over
        elf = files.content(found).elf
        if elf is None:
            self._refused = path if taken else self._refused
        elif self._linker.links_with(elf) and taken:
            self._library = Library(found, elf, entry)
        elif self._linker.links_with(elf):
            self._variants.setdefault(found.real, Library(found, elf, entry))

    @property
    def _is_over(self) -> bool:
        return self._library is not None or self._refused is not None

    def _is_chosen(self, real: RootPath) -> bool:
        return self._library is not None and self._library.found.real == real

    def _look_in(self, directories: tuple[str, ...]) -> None:
        for directory in directories:
            if self._linker.files.find(directory) is None:
                self._shut |= directory in self._linker.files.shut
                continue
            for one in self._linker.subdirectories(directory):
                self.consider(f"{directory}/{one.name}/{self._name}", taken=one.taken)
            self.consider(f"{directory}/{self._name}")
            if self._is_over:
                return

    def _look_in_cache(self, no_default: bool) -> None:
        """Take the first entry that fits; if its file does not, no other is tried (search_cache)."""
        first = True
        for entry, taken in self._ranked(self._linker.entries(self._name)):
            if not (no_default and self._is_default(entry.path)):
                known = self._linker.finds(entry)
                self.consider(entry.path, taken=taken and first, entry=None if known else entry)
            first = first and not taken

    def _ranked(self, entries: tuple[ldcache.Library, ...]) -> list[tuple[ldcache.Library, bool]]:
        """Return what some processor would take, the preferred first, and whether this one would."""
        linker = self._linker
        levels = linker.rtld.levels
        named = sorted(
            (one for one in entries if one.hwcaps in levels), key=lambda one: levels.index(str(one.hwcaps))
        )
        ranked = [(one, linker.cpu.takes(str(one.hwcaps))) for one in named]
        for one in entries:
            subdirectory = self._legacy_subdirectory(one) if one.legacy else None
            if subdirectory is not None:
                ranked.append((one, subdirectory.taken))
        plain = [one for one in entries if one.hwcaps is None and not one.legacy]
        own = [one for one in plain if linker.is_own(one)] or plain[-1:]
        return ranked + [(one, True) for one in own[:1]]

    def _legacy_subdirectory(self, entry: ldcache.Library) -> "Subdirectory | None":
        """Return which subdirectory an entry is for: by its path, as its bits are only numbers of names."""
        directory = entry.path.rpartition("/")[0]
        fitting = [one for one in self._linker.legacy if directory.endswith("/" + one.name)]
        return max(fitting, key=lambda one: len(one.name), default=None)

    def _is_default(self, path: str) -> bool:
        """Whether a path is below a default directory: the linker compares text (DF_1_NODEFLIB)."""
        return path.startswith(tuple(f"{directory}/" for directory in self._linker.rtld.directories))
