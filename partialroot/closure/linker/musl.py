"""Where musl's dynamic linker finds a library: ldso/dynlink.c (load_library, fixup_rpath), no environment.

In this order: the path of the needing object and those of all that led to it, then the directories of the
path file, or three that are built in. There is no cache, no DT_SONAME is compared, and libc is the linker
itself.
"""

import re
from typing import Literal

from partialroot.closure.elf import Elf
from partialroot.closure.files import Files, Found
from partialroot.closure.linker.common import Choice, Library, Scope
from partialroot.closure.linker.kinds import musl_parts

_BUILT_IN = r"lib(c|pthread|rt|m|dl|util|xnet)\..*"
_DIRECTORIES = ("/lib", "/usr/local/lib", "/usr/lib")
_ORIGIN = r"\$(?:ORIGIN(?![A-Za-z0-9_])|\{ORIGIN\})"


class Musl:
    """The search of one linker, by the name that programs have for it, for objects of its own ABI."""

    kind: Literal["musl"] = "musl"
    unwinder = None

    def __init__(self, files: Files, interpreter: Found | None, like: Elf, name: str) -> None:
        self.files = files
        self.interpreter = interpreter
        self._abi = like.abi
        self._config = files.file(_path_file(name))
        text = None if self._config is None else files.text(self._config.name)
        self._directories = _DIRECTORIES if text is None else _split(text)

    def search(self, name: str, directories: tuple[str, ...], no_default: bool) -> Choice:
        """Search for a bare name; there is no way to leave the default directories out."""
        if re.fullmatch(_BUILT_IN, name):
            return Choice(self._itself())
        choice = self._look(name, directories + self._directories)
        if self._config is None or choice.library is None:
            return choice
        plain = self._look(name, directories + _DIRECTORIES).library
        if plain is not None and plain.found.real == choice.library.found.real:
            return choice
        return choice._replace(library=choice.library._replace(config=self._config))

    def open(self, path: str) -> Choice:
        """Take a name that is a path: there is nothing to search."""
        return self._take(path) or Choice(None, shut=path in self.files.shut)

    def scope(self, elf: Elf, origin: str, inherited: tuple[str, ...]) -> Scope:
        """Return where an object's needs are sought; those it loads inherit all of it, DT_RUNPATH too."""
        own = elf.rpath if elf.runpath is None else elf.runpath
        path = (() if own is None else _expand(own, origin)) + inherited
        return Scope(path, path)

    @property
    def default_directory(self) -> str:
        """The first of the directories that are searched by default."""
        return self._directories[0] if self._directories else _DIRECTORIES[0]

    def names(self, library: Library) -> tuple[str | None, ...]:
        """Return the names by which a loaded object is known: not its DT_SONAME."""
        return (library.found.name,)

    def expand(self, text: str, origin: str) -> str | None:
        """Return a need's name: tokens in it have no meaning."""
        return text

    def _look(self, name: str, directories: tuple[str, ...]) -> Choice:
        shut = False
        for directory in directories:
            path = f"{directory}/{name}"
            choice = self._take(path)
            if choice is not None:
                return choice
            shut |= path in self.files.shut
        return Choice(None, shut=shut)

    def _take(self, path: str) -> Choice | None:
        """Return what a file leads to: the first that is there is loaded or refused, none is passed over."""
        found = self.files.file(path)
        if found is None:
            return None
        elf = self.files.content(found).elf
        if elf is None or elf.abi != self._abi:
            return Choice(None, refused=path)
        return Choice(Library(found, elf))

    def _itself(self) -> Library | None:
        elf = None if self.interpreter is None else self.files.content(self.interpreter).elf
        return None if self.interpreter is None or elf is None else Library(self.interpreter, elf)


def _path_file(interpreter: str) -> str:
    """Return the file that replaces the built-in directories: beside the linker's directory, in etc."""
    found = musl_parts(interpreter)
    return "/etc/ld-musl.path" if found is None else f"{found[0]}/etc/{found[1]}.path"


def _split(text: str) -> tuple[str, ...]:
    return tuple(one for one in re.split(r"[:\n]", text) if one.startswith("/"))


def _expand(path: str, origin: str) -> tuple[str, ...]:
    """Split a path; another token than $ORIGIN makes musl ignore all of it."""
    expanded = re.sub(_ORIGIN, lambda _: origin, path)
    return () if "$" in re.sub(_ORIGIN, "", path) else _split(expanded)
