"""How dynamic linkers find what an object needs: one module per kind of linker.

Which kind is decided per object: by the linker its program names and its machine, for a library by the linker
for its machine that the source has.
"""

from collections.abc import Iterator
from functools import cache, cached_property
from typing import TYPE_CHECKING, TypeAlias

from partialroot.closure.elf import Elf
from partialroot.closure.files import Files, Found
from partialroot.closure.linker import kinds
from partialroot.closure.linker.common import SET_ID, Loading
from partialroot.closure.linker.ports import port

if TYPE_CHECKING:  # only the kinds that a source has are imported
    from partialroot.closure.linker.glibc import Glibc
    from partialroot.closure.linker.load import LinkMap
    from partialroot.closure.linker.musl import Musl
    from partialroot.closure.linker.sunos import Sunos
    from partialroot.closure.linker.sunos_load import SunosMap

    AnyLinker: TypeAlias = Glibc | Musl | Sunos


class Linkers:
    """The dynamic linkers that the zone's programs name; ``lean`` leaves out what illumos loads lazily."""

    def __init__(self, files: Files, lean: bool) -> None:
        self._files = files
        self._lean = lean
        self._linkers: dict[object, AnyLinker | None] = {}

    def __iter__(self) -> "Iterator[AnyLinker]":
        return (linker for linker in self._linkers.values() if linker is not None)

    def of(self, elf: Elf) -> "AnyLinker | None":
        """Return the linker of a program, or of its ABI for a library; None if it is of no known kind."""
        name = elf.interpreter or self._usual(elf)
        key = (kinds.kernel_name(name), elf.abi, elf.config, elf.address32)
        if key not in self._linkers:
            self._linkers[key] = self._open(name, elf)
        return self._linkers[key]

    def as_loaded(self, found: Found, elf: Elf) -> Elf:
        """Return an object as its linker reads it, which for illumos' own does not depend on its OS ABI."""
        name = elf.interpreter or self._usual(elf)
        return self._files.as_illumos(found, elf) if kinds.is_sunos(name, elf) else elf

    def load(self, linker: "AnyLinker") -> Loading:
        """Return what loads for a linker, with nothing loaded yet."""
        return _sunos_map()(linker, self._lean) if linker.kind == "sunos" else _link_map()(linker)

    def names_of_interpreter(self, elf: Elf, found: Found) -> tuple[str, ...]:
        """Return the names of a program's linker that the zone shall have.

        On illumos that is what the kernel looks up instead, and the name in the program too where it is
        there, for debuggers and the like that use it. It expands nothing where it is set-id (elf.c).
        """
        if elf.interpreter is None or not kinds.is_sunos(elf.interpreter, elf):
            return () if elf.interpreter is None else (elf.interpreter,)
        if "$ORIGIN" in elf.interpreter and found.node.mode & SET_ID:
            self._files.troubles[found.real] = "is not run: it is set-id, and names its linker by $ORIGIN"
            return (elf.interpreter,)
        name = elf.interpreter.replace("$ORIGIN", found.real.parent)
        names = dict.fromkeys(one for one in (kinds.kernel_name(name), name) if self._files.find(one))
        return tuple(names) or (name,)

    @cached_property
    def is_sunos(self) -> bool:
        """Whether the source is illumos: it has one of its linkers, for a machine of its kind."""
        linkers = [self._files.file(name) for name in kinds.LINKERS.values()]
        elves = [self._files.content(found).elf for found in linkers if found is not None]
        return any(elf is not None and elf.abi.machine in kinds.LINKERS for elf in elves)

    def _usual(self, elf: Elf) -> str:
        """Return the name of the linker for a library."""
        usual = port(elf).interpreter
        names = (usual, kinds.usual_of_musl(elf), kinds.LINKERS.get(elf.abi.machine))
        return next((name for name in names if name and self._files.file(name)), usual)

    def _open(self, name: str, elf: Elf) -> "AnyLinker | None":
        if kinds.is_sunos(name, elf):
            from partialroot.closure.linker.sunos import Sunos

            found = self._files.file(kinds.kernel_name(name)) or self._files.file(name)
            return Sunos(self._files, found, elf, elf.config)
        found = self._files.file(name)
        if kinds.is_musl(name):
            from partialroot.closure.linker.musl import Musl

            return Musl(self._files, found, elf, name)
        from partialroot.closure.linker.glibc import Glibc
        from partialroot.closure.linker.rtld import FALLBACK, read_rtld

        if found is None:
            return Glibc(self._files, None, elf, FALLBACK)
        rtld = read_rtld(self._files.data(found), found.real.name)
        return None if rtld is None else Glibc(self._files, found, elf, rtld)


@cache
def _sunos_map() -> "type[SunosMap]":
    from partialroot.closure.linker.sunos_load import SunosMap

    return SunosMap


@cache
def _link_map() -> "type[LinkMap]":
    from partialroot.closure.linker.load import LinkMap

    return LinkMap
