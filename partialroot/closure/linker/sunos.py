"""Where illumos' dynamic linker, ld.so.1, finds a library: sgs/rtld, paths.c, analyze.c and elf.c.

In this order, for a bare name: LD_LIBRARY_PATH of a configuration file, the path of the needing object and of
no other, the default directories. DT_RPATH and DT_RUNPATH are the same. What is no object of the right class
is passed over. The environment plays no role.
"""

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

from partialroot.closure.elf import Elf, Need
from partialroot.closure.files import Files, Found
from partialroot.closure.linker import crle
from partialroot.closure.linker.common import Choice, Library
from partialroot.closure.linker.kinds import ISALIST, LINKERS
from partialroot.closure.linker.ports import X86, X86_64
from partialroot.closure.linker.sunos_bound import bound_at_start
from partialroot.paths import RootPath

_DIRECTORIES = {X86: ("/lib", "/usr/lib"), X86_64: ("/lib/64", "/usr/lib/64")}  # elf.c, _elf_def_dirs
_SECURE = {X86: ("/lib/secure", "/usr/lib/secure"), X86_64: ("/lib/secure/64", "/usr/lib/secure/64")}
_CONFIG = {X86: "/var/ld/ld.config", X86_64: "/var/ld/64/ld.config"}  # crle(1)
_TOKEN = re.compile(
    r"\$(ORIGIN|OSNAME|OSREL|PLATFORM|MACHINE)"
)  # braces are not understood (paths.c, expand)
_VALUES = {"OSNAME": "SunOS", "OSREL": "5.11", "PLATFORM": "i86pc", "MACHINE": "i86pc"}
_MOST_READ = 1 << 26  # of an object, in bytes
_ALL_IN = re.compile(r"(/.*)/\$(?:CAPABILITY|HWCAP)")


class Element(NamedTuple):
    """A directory of a path; ``moves`` with the object, as set-id programs do not allow."""

    directory: str
    moves: bool


class Sunos:
    """The search of ld.so.1 for objects of one class; ``config`` is a program's own configuration file.

    For who loads objects, ``needs`` remembers what those need and where it was found, ``complete`` which of
    them (and whether all at start-up) were loaded with all they lead to, and nothing was absent or a variant.
    """

    kind: Literal["sunos"] = "sunos"

    def __init__(self, files: Files, interpreter: Found | None, like: Elf, config: str | None = None) -> None:
        self.files = files
        self.interpreter = interpreter
        self.bits = like.abi.bits
        self.secure = _SECURE[like.abi.machine]
        self._abi, self._address32 = like.abi, like.address32
        self._defaults = _DIRECTORIES[like.abi.machine]
        self._file = files.file(config or _CONFIG[like.abi.machine])
        self._config = self._read_config()
        self._choices: dict[tuple[str, tuple[str, ...], bool], Choice] = {}
        self.needs: dict[RootPath, list[tuple[Need, list[Choice]]]] = {}
        self._bound: dict[RootPath, frozenset[str]] = {}
        self.complete: set[tuple[RootPath, bool]] = set()

    @property
    def preload(self) -> tuple[str, ...]:
        """The names of what the configuration file makes every program load."""
        return self._config.preload

    @property
    def bind_now(self) -> bool:
        """Whether the configuration file makes every program bind all at start-up."""
        return self._config.bind_now

    def search(self, name: str, directories: tuple[str, ...], no_default: bool) -> Choice:
        """Search for a bare name; ``no_default`` is the needing object's flag DF_1_NODEFLIB."""
        key = (name, directories, no_default)
        choice = self._choices.get(key)
        if choice is None:
            choice = self._choices[key] = self._search(*key)
        return choice

    def open(self, path: str) -> Choice:
        """Take a name that is a path: there is nothing to search, but perhaps a directory to read."""
        every = _ALL_IN.fullmatch(path)
        if every is not None:
            return self._every(every[1])
        library = self._take(path)
        return Choice(library, shut=path in self.files.shut)

    def elements(self, path: str, origin: str) -> Iterator[Element]:
        """Split a path of an object whose real directory is ``origin`` (paths.c, expand_paths).

        What is relative to the working directory is left out: a zone's programs may run anywhere.
        """
        for text in re.split("[:;]", path):
            for one in self.expand(text, origin):
                if one.startswith("/"):
                    yield Element(one.rstrip("/") or "/", "$ORIGIN" in text)

    def expand(self, text: str, origin: str) -> tuple[str, ...]:
        """Replace tokens (paths.c, expand): $ISALIST makes several texts of one, the best first."""
        if "$" not in text:
            return (text,)
        if text.count("$ISALIST") > 1:  # then nothing is replaced
            return (text,)
        values = _VALUES | {"ORIGIN": origin}
        one = _TOKEN.sub(lambda match: values[match[1]], text)
        if "$ISALIST" not in one:
            return (one,)
        return tuple(one.replace("$ISALIST", isa) for isa in ISALIST)

    def bound_at_start(self, library: Library) -> frozenset[str]:
        """Return the names of an object's lazy needs that are loaded as soon as it is itself."""
        found = library.found
        if found.real not in self._bound:
            self._bound[found.real] = bound_at_start(self.files.data(found, _MOST_READ), self._abi)
        return self._bound[found.real]

    def is_interpreter(self, name: str) -> bool:
        """Whether a filter names the linker itself: it is compared as text, no file is opened (elf.c)."""
        return name == "/usr" + LINKERS[self._abi.machine]

    def _read_config(self) -> crle.Config:
        config = None if self._file is None else crle.parse(self.files.data(self._file), self._abi)
        if self._file is not None and config is not None and config.alternatives:
            self.files.troubles[self._file.real] = "names alternative objects, which are not looked for"
        return config or crle.NOTHING

    def _search(self, name: str, directories: tuple[str, ...], no_default: bool) -> Choice:
        config = self._config
        defaults = self._defaults if config.directories is None else config.directories
        choice = self._look(name, (*config.before, *directories, *(() if no_default else defaults)))
        if config == crle.NOTHING or choice.library is None:
            return choice
        plain = self._look(name, (*directories, *(() if no_default else self._defaults))).library
        if plain is not None and plain.found.real == choice.library.found.real:
            return choice
        return choice._replace(library=choice.library._replace(config=self._file))

    def _look(self, name: str, directories: tuple[str, ...]) -> Choice:
        """Take the first object that fits; what does not is passed over (analyze.c, load_so).

        One that not every machine can load is passed over on the others (cap.c, cap_check): so what is found
        behind it is taken, too.
        """
        shut, special = False, list[Library]()
        for directory in directories:
            path = f"{directory}/{name}"
            library = self._take(path)
            if library is not None and all(library.found.real != one.found.real for one in special):
                if not library.elf.special:
                    return Choice(*_first([*special, library]))
                special.append(library)
            shut |= path in self.files.shut
        return Choice(*_first(special), shut=shut and not special)

    def _every(self, directory: str) -> Choice:
        """Take all objects of a directory that fit: each is the best for some processor (cap.c, cap_dir)."""
        found = self.files.find(directory)
        names = () if found is None else self.files.tree.names(found.real)
        libraries = [one for name in names if (one := self._take(f"{directory}/{name}")) is not None]
        return Choice(*_first(libraries))

    def _take(self, path: str) -> Library | None:
        found = self.files.file(path)
        elf = None if found is None else self.files.content(found).elf
        if found is None or elf is None or elf.abi != self._abi:
            return None
        elf = self.files.as_illumos(found, elf)
        # Only a program restricted to 32-bit addresses can have such objects (cap.c, sfcap_check).
        return None if elf.address32 and elf.abi.bits == 64 and not self._address32 else Library(found, elf)


def _first(libraries: list[Library]) -> tuple[Library | None, tuple[Library, ...]]:
    """Return what is taken here, and what would be on other machines."""
    return (libraries[0], tuple(libraries[1:])) if libraries else (None, ())
