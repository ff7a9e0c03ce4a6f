"""Which package could be installed for something missing: from the lists that apt has fetched.

The lists name packages, not their files. For a program that is often enough (nginx, busybox), for a shared
library Debian's rule for package names is (Debian policy, 8.1). Where command-not-found's lists are there
too, programs are looked up in them. All of this only makes a hint: a list that cannot be read is passed over.
"""

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import cached_property
from io import BufferedIOBase
from itertools import chain
from typing import IO

from partialroot.errors import SourceError
from partialroot.paths import RootPath
from partialroot.source.tree import Tree

LISTS = RootPath("/var/lib/apt/lists")

_APT_HELPER = "/usr/lib/apt/apt-helper"
_BLOCK = 1 << 16  # what a pipe holds; memory for larger ones would have to be got anew each time
_MOST_BYTES = 1 << 30
_PACKAGES = r".*_Packages(\.[a-z0-9]+)?"
_COMMANDS = r".*_cnf_Commands-[^.]*(\.[a-z0-9]+)?"
_PACKAGE_LINES = rb"\nP(?:ackage|rovides): .+"
_COMMAND_LINES = rb"\n(?:name|commands): .+"
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
        return _listing(self._commands, b"name", b"commands", os.fsencode(name)) or self._package(name)

    def library(self, soname: str) -> str | None:
        """Return the package of a shared library."""
        return next(filter(None, map(self._package, library_packages(soname))), None)

    def _package(self, name: str) -> str | None:
        """Return the package to install for a name; a package of that very name comes first."""
        wanted = os.fsencode(name)
        if b"\nPackage: %b\n" % wanted in self._packages:
            return name
        return _listing(self._packages, b"Package", b"Provides", wanted)

    @cached_property
    def _packages(self) -> bytes:
        """The lines that name all packages, each followed by what it provides."""
        return self._lines(_PACKAGES, _PACKAGE_LINES)

    @cached_property
    def _commands(self) -> bytes:
        """The lines that name packages, each followed by the commands in it."""
        return self._lines(_COMMANDS, _COMMAND_LINES)

    def _lines(self, kind: str, wanted: bytes) -> bytes:
        """Return some lines of all lists of a kind, each after a newline: a twentieth of what there is."""
        names = filter(re.compile(kind).fullmatch, self._tree.names(LISTS))
        lines = (re.findall(wanted, block) for name in names for block in self._blocks(LISTS / name))
        return b"".join(chain(*lines, (b"\n",)))

    def _blocks(self, path: RootPath) -> Iterator[bytes]:
        """Yield blocks of whole lines, each after a newline: up to a gigabyte, as far as it can be read.

        To search blocks for lines takes a tenth of the time of looking at each of a million lines.
        """
        import lzma
        import zlib

        left = _MOST_BYTES
        with ExitStack() as stack, suppress(SourceError, OSError, EOFError, lzma.LZMAError, zlib.error):
            file = self._open(path, stack)
            while left > 0 and (block := file.read(_BLOCK)):
                left -= len(block)
                yield b"".join((b"\n", block, file.readline(_BLOCK)))

    def _open(self, path: RootPath, stack: ExitStack) -> IO[bytes] | BufferedIOBase:
        """Return a list, open for reading, compressed or not."""
        form = os.path.splitext(path)[1]
        if form in (".lz4", ".zst"):
            return self._decompressed(path, stack)
        file = stack.enter_context(os.fdopen(self._tree.open(path), "rb"))
        if form == ".gz":
            import gzip

            return stack.enter_context(gzip.open(file))
        if form == ".xz":
            import lzma

            return stack.enter_context(lzma.open(file))
        return file

    def _decompressed(self, path: RootPath, stack: ExitStack) -> IO[bytes] | BufferedIOBase:
        """Let apt decompress what Python cannot, if the list is this system's own."""
        import subprocess

        if self._tree.root != "/":
            raise SourceError("only apt can decompress it", path=path)
        command = [_APT_HELPER, "cat-file", self._tree.host(path)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        output = stack.enter_context(process).stdout
        assert output is not None  # it was asked for
        return output


def _listing(lines: bytes, owner: bytes, field: bytes, wanted: bytes) -> str | None:
    """Return the ``owner`` whose ``field``, a list between commas, is the first to have what is wanted."""
    for found in re.finditer(rb"\n%b: (.*%b.*)" % (field, re.escape(wanted)), lines):
        start = lines.rfind(b"\n%b: " % owner, 0, found.start())
        if start >= 0 and wanted in map(_without_version, found[1].split(b",")):
            line = lines[start + 1 : lines.index(b"\n", start + 1)]
            return line.partition(b":")[2].strip().decode("ascii", "replace")
    return None


def _without_version(provided: bytes) -> bytes:
    return provided.partition(b"(")[0].strip()
