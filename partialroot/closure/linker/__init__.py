"""How dynamic linkers find what an object needs: one module per kind of linker.

Which kind is decided per object, by the linker its program names: that is the place for further kinds.
"""

from collections.abc import Iterator

from partialroot.closure.elf import Abi, Elf
from partialroot.closure.files import Files
from partialroot.closure.linker.glibc import Glibc
from partialroot.closure.linker.ports import port
from partialroot.closure.linker.rtld import FALLBACK, read_rtld


class Linkers:
    """The dynamic linkers that the zone's programs name."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._linkers: dict[tuple[str, Abi], Glibc | None] = {}

    def __iter__(self) -> Iterator[Glibc]:
        return (linker for linker in self._linkers.values() if linker is not None)

    def of(self, elf: Elf) -> Glibc | None:
        """Return the linker of a program, or of its ABI for a library; None if it is of no known kind."""
        name = elf.interpreter or port(elf).interpreter
        key = (name, elf.abi)
        if key not in self._linkers:
            self._linkers[key] = self._open(name, elf)
        return self._linkers[key]

    def _open(self, name: str, elf: Elf) -> Glibc | None:
        found = self._files.file(name)
        if found is None:
            return Glibc(self._files, None, elf, FALLBACK)
        rtld = read_rtld(self._files.data(found), found.real.name)
        return None if rtld is None else Glibc(self._files, found, elf, rtld)
