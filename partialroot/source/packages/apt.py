"""Which package could be installed for something missing: from the lists that apt has fetched.

The lists name packages, not their files. For a program that is often enough (nginx, busybox), for a shared
library Debian's rule for package names is (Debian policy, 8.1). Where command-not-found's lists are there
too, programs are looked up in them. All of this only makes a hint: a list that cannot be read is passed over.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import cached_property
from pathlib import Path

from partialroot.errors import SourceError
from partialroot.paths import RootPath
from partialroot.source.tree import Tree

LISTS = RootPath("/var/lib/apt/lists")

_APT_HELPER = "/usr/lib/apt/apt-helper"
_BLOCK = 1 << 20
_MOST_BYTES = 1 << 30
_PACKAGES = r".*_Packages(\.[a-z0-9]+)?"
_COMMANDS = r".*_cnf_Commands-[^.]*(\.[a-z0-9]+)?"
_PACKAGE_FIELDS = rb"\n(Package|Provides): ([^\n]+)"
_COMMAND_FIELDS = rb"\n(name|commands): ([^\n]+)"
_SONAME = r"[^/\s]+\.so(\.[0-9A-Za-z.+~-]+)?"


def is_soname(name: str) -> bool:
    """Return whether ``name`` looks like a shared library's: ``libfoo.so.1``."""
    return re.fullmatch(_SONAME, name) is not None


def library_packages(soname: str) -> Iterator[str]:
    """Yield the names that the package of a shared library may have, the likeliest first."""
    stem, _, version = soname.lower().replace("_", "-").partition(".so")
    version = version.lstrip(".")
    if not version:  # libdb-5.3.so: the version is in the name
        stem, dash, version = stem.rpartition("-")
        stem, version = (stem, version) if dash and version[:1].isdigit() else (stem + dash + version, "")
    name = f"{stem}-{version}" if stem[-1:].isdigit() and version else stem + version
    yield name
    yield f"{name}t64"  # renamed for 64-bit times in Debian 13
    yield f"{stem}-dev"


class AptLists:
    """What the apt lists of a source say; they are read when first asked."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def program(self, name: str) -> str | None:
        """Return the package that has a command called ``name``, or is called so, or provides it."""
        return self._commands.get(name) or self._package(name)

    def library(self, soname: str) -> str | None:
        """Return the package of a shared library."""
        return next(filter(None, map(self._package, library_packages(soname))), None)

    def _package(self, name: str) -> str | None:
        """Return the package to install for a name; a package of that very name comes first."""
        names, providing = self._packages
        wanted = os.fsencode(name)
        if wanted in names:
            return name
        for package, provided in providing:
            if wanted in provided and wanted in map(_without_version, provided.split(b",")):
                return _text(package)
        return None

    @cached_property
    def _packages(self) -> tuple[set[bytes], list[tuple[bytes, bytes]]]:
        """The names of all packages, and those that provide others with what they say of that."""
        names: set[bytes] = set()
        providing: list[tuple[bytes, bytes]] = []
        package = b""
        for field, value in self._fields(_PACKAGES, _PACKAGE_FIELDS):
            if field == b"Package":
                package = value.strip()
                names.add(package)
            else:
                providing.append((package, value))
        return names, providing

    @cached_property
    def _commands(self) -> dict[str, str]:
        """The package of each command."""
        found: dict[str, str] = {}
        package = ""
        for field, value in self._fields(_COMMANDS, _COMMAND_FIELDS):
            if field == b"name":
                package = _text(value)
            elif field == b"commands":
                found.update(dict.fromkeys(map(_text, value.split(b",")), package))
        return found

    def _fields(self, kind: str, fields: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield name and value of some fields in all lists of a kind."""
        for name in filter(re.compile(kind).fullmatch, self._tree.names(LISTS)):
            for lines in self._blocks(LISTS / name):
                yield from re.findall(fields, lines)

    def _blocks(self, path: RootPath) -> Iterator[bytes]:
        """Yield blocks of whole lines, each after its newline: up to a gigabyte, as far as it can be read.

        To search blocks for fields takes a tenth of the time of looking at each of a million lines.
        """
        import lzma
        import zlib

        begun, left = b"\n", _MOST_BYTES
        with ExitStack() as stack, suppress(SourceError, OSError, EOFError, lzma.LZMAError, zlib.error):
            read = self._open(path, stack)
            while left > 0 and (block := read(_BLOCK)):
                left -= len(block)
                lines, newline, rest = (begun + block).rpartition(b"\n")
                yield lines
                begun = newline + rest[:_BLOCK]
        yield begun

    def _open(self, path: RootPath, stack: ExitStack) -> Callable[[int], bytes]:
        """Return what reads so many bytes of a list, compressed or not."""
        form = os.path.splitext(path)[1]
        if form in (".lz4", ".zst"):
            return self._decompressed(path, stack)
        file = stack.enter_context(os.fdopen(self._tree.open(path), "rb"))
        if form == ".gz":
            import gzip

            return stack.enter_context(gzip.open(file)).read
        if form == ".xz":
            import lzma

            return stack.enter_context(lzma.open(file)).read
        return file.read

    def _decompressed(self, path: RootPath, stack: ExitStack) -> Callable[[int], bytes]:
        """Let apt decompress what Python cannot, if the list is this system's own."""
        import subprocess

        if self._tree.root != Path("/"):
            raise SourceError("only apt can decompress it", path=path)
        command = [_APT_HELPER, "cat-file", str(self._tree.host(path))]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        output = stack.enter_context(process).stdout
        assert output is not None  # it was asked for
        return output.read


def _without_version(provided: bytes) -> bytes:
    return provided.partition(b"(")[0].strip()


def _text(value: bytes) -> str:
    return value.strip().decode("ascii", "replace")
