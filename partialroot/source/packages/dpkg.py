"""Debian's package database: /var/lib/dpkg, read as dpkg-query(1) does, but on any root and lazily.

Lists name paths as packages ship them. Where those are in the root is another matter: diversions move a
file away (dpkg-divert(1)), and merged /usr makes /bin/sh and /usr/bin/sh the same. This module translates.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

from partialroot.errors import PartialRootError, SourceError
from partialroot.paths import ROOT, RootPath
from partialroot.source.packages.apt import LISTS, AptLists, is_soname
from partialroot.source.packages.base import DPKG_STATUS as STATUS
from partialroot.source.packages.base import About, NoPackages, Recorded, Version
from partialroot.source.packages.deb822 import stanzas
from partialroot.source.packages.filelists import FileLists
from partialroot.source.packages.spellings import Spellings
from partialroot.source.tree import Tree

DPKG = RootPath("/var/lib/dpkg")
INFO = DPKG / "info"
DIVERSIONS = DPKG / "diversions"
DOCUMENTS = RootPath("/usr/share/doc")

_LIMIT = 64 << 20
_DESCRIBING = ("description", "maintainer", "homepage", "source")
_FIELDS = frozenset({"package", "status", "architecture", "multi-arch", "conffiles", "version", *_DESCRIBING})
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._-]*")
_ARCHITECTURE = re.compile(r"[a-z0-9][a-z0-9-]*|")
_MD5 = re.compile(r"[0-9a-f]{32}")
_ABSENT = frozenset({"not-installed", "config-files"})
_STATES = _ABSENT | frozenset(
    {"half-installed", "unpacked", "half-configured", "triggers-awaited", "triggers-pending", "installed"}
)
_PROGRAM_DIRECTORIES = tuple(
    RootPath(path) for path in ("/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/games")
)
_LIBRARY_DIRECTORY = r"(/usr)?/lib(32|64|x32)?(/[^/]*-linux-gnu[^/]*)?"


class _Package(NamedTuple):
    """A package of the status file. ``name`` has the architecture only if that is a foreign one."""

    name: str
    base: str
    state: str
    conffiles: dict[str, str]
    version: Version


class _Diversion(NamedTuple):
    """Files that ``package`` does not own are moved from one path to the other; ":" owns none."""

    origin: str
    to: str
    package: str


class Dpkg(NoPackages):
    """The packages of a Debian root."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._apt = AptLists(tree)
        self._spellings = Spellings(tree)
        self._sums: dict[str, dict[str, str]] = {}

    def installed(self) -> tuple[str, ...]:
        """Return the names of the packages whose files are there, sorted; foreign ones as name:arch."""
        return tuple(sorted(name for name, one in self._packages.items() if one.state not in _ABSENT))

    def files(self, package: str) -> tuple[RootPath, ...] | None:
        """Return where a package's files and directories are, None if it is not installed."""
        one = self._find(package)
        if one is None or one.state in _ABSENT:
            return None
        if one.state == "half-installed":
            raise SourceError(
                f"package {one.name} is only half installed", path=STATUS, hint="install it again"
            )
        name = one.name.partition(":")[0]
        listed = self._read(INFO / f"{one.base}.list").split("\n")
        paths = dict.fromkeys(self._place(line, name) for line in listed if line)
        paths.pop(ROOT, None)
        return tuple(paths)

    def owner(self, path: RootPath) -> str | None:
        """Return the package that installed ``path``; of a directory the first one by name."""
        found = self._origin(path)
        return None if found is None else self._shown(found[0])

    def owners(self, paths: Sequence[RootPath]) -> dict[RootPath, str]:
        """Return the packages that installed ``paths``; all lists are gone through once."""
        names = [(path, tuple(self._spellings.of(path))) for path in paths]
        listed = self._lists.look_for(spelled for _, all_spelled in names for spelled in all_spelled)
        listed.update(diversion.to for diversion in self._diversions)
        return super().owners([path for path, spelled in names if not listed.isdisjoint(spelled)])

    def version(self, package: str) -> Version | None:
        """Return version and architecture of an installed package."""
        one = self._find(package)
        return None if one is None or one.state in _ABSENT else one.version

    def about(self, package: str) -> About | None:
        """Return what status and copyright file say of an installed package."""
        one = self._find(package)
        if one is None or one.state in _ABSENT:
            return None
        name = one.name.partition(":")[0]
        fields = self._described[one.name]
        summary, supplier, homepage, source = (fields.get(name, "") for name in _DESCRIBING)
        copyright_file = DOCUMENTS / name / "copyright"
        there = self._tree.resolve(copyright_file).node is not None
        from partialroot.source.packages.licences import of_copyright  # few ask for them

        licences = of_copyright(self._read(copyright_file)) if there else ()
        return About(summary.partition("\n")[0], supplier, homepage, source.partition(" ")[0], licences)

    @property
    def changing(self) -> tuple[RootPath, ...]:
        """The status file is written anew for every change."""
        return (STATUS,)

    @property
    def offering(self) -> tuple[RootPath, ...]:
        """What apt has fetched."""
        return (LISTS,)

    def recorded(self, path: RootPath) -> Recorded | None:
        """Return the MD5 recorded for a packaged file or a configuration file."""
        found = self._origin(path)
        digest = None if found is None else self._digest(*found)
        return None if digest is None else Recorded("md5", digest)

    def supplier(self, name: str) -> str | None:
        """Return the package that would supply a program, path, soname or ``package NAME``.

        Installed packages come first (a file of theirs was deleted), then what apt knows.
        """
        if name.startswith("/"):
            return self._supplier_of_path(name)
        if is_soname(name):
            return self._installed_library(name) or self._apt.library(name)
        return self._installed_program(name) or self._apt.program(name.removeprefix("package "))

    def _digest(self, base: str, listed: str) -> str | None:
        one = self._packages.get(self._shown(base))
        if one is not None and listed in one.conffiles:
            return one.conffiles[listed]
        return self._md5sums(base).get(listed)

    def _supplier_of_path(self, text: str) -> str | None:
        try:
            path = RootPath.parse(text)
        except PartialRootError:
            return None
        owner = self.owner(path)
        if owner is None and path.parent in _PROGRAM_DIRECTORIES:
            return self._apt.program(path.name)
        if owner is None and is_soname(path.name):
            return self._apt.library(path.name)
        return owner

    def _installed_program(self, name: str) -> str | None:
        if "/" in name:
            return None
        listed = {path for _, path in self._lists.ending(f"/{name}")}  # one search for all directories
        listed.update(diversion.to for diversion in self._diversions)
        places = [directory / name for directory in _PROGRAM_DIRECTORIES]
        places = [place for place in places if not listed.isdisjoint(self._spellings.of(place))]
        return next(filter(None, map(self.owner, places)), None)

    def _installed_library(self, soname: str) -> str | None:
        for base, path in self._lists.ending(f"/{soname}"):
            if re.fullmatch(_LIBRARY_DIRECTORY, RootPath(path).parent):
                return self._shown(base)
        return None

    def _find(self, package: str) -> _Package | None:
        """Return a package by its name, with the architecture or without."""
        name, _, architecture = package.partition(":")
        if architecture in ("", "all", self._native):
            return self._packages.get(name)
        return self._packages.get(package)

    def _shown(self, base: str) -> str:
        """Return the name that belongs to a base name in the info directory."""
        return base.removesuffix(f":{self._native}")

    @cached_property
    def _stanzas(self) -> tuple[dict[str, str], ...]:
        return tuple(stanzas(self._read(STATUS), _FIELDS, STATUS))

    @cached_property
    def _native(self) -> str:
        """Return dpkg's own architecture: that of its package, else the first that is not ``all``."""
        pairs = [(one.get("package"), one.get("architecture", "")) for one in self._stanzas]
        natives = [arch for name, arch in pairs if name == "dpkg"]
        return next(
            (arch for arch in [*natives, *(arch for _, arch in pairs)] if arch not in ("", "all")), ""
        )

    @cached_property
    def _packages(self) -> dict[str, _Package]:
        return {one.name: one for one in map(self._package, self._stanzas)}

    @cached_property
    def _described(self) -> dict[str, dict[str, str]]:
        """The stanza of each package."""
        return {self._package(stanza).name: stanza for stanza in self._stanzas}

    def _package(self, fields: dict[str, str]) -> _Package:
        name, architecture = fields.get("package", ""), fields.get("architecture", "")
        state = fields.get("status", "").rpartition(" ")[2]
        if not _NAME.fullmatch(name) or not _ARCHITECTURE.fullmatch(architecture) or state not in _STATES:
            raise SourceError(
                f"a package cannot be understood: {name!r}, architecture {architecture!r}, state {state!r}",
                path=STATUS,
            )
        qualified = f"{name}:{architecture}"
        foreign = architecture not in ("", "all", self._native)
        base = qualified if foreign or fields.get("multi-arch") == "same" else name
        if base == qualified and self._tree.lstat(INFO / f"{base}.list") is None:
            base = name
        version = Version(fields.get("version", ""), architecture)
        conffiles = _conffiles(fields.get("conffiles", ""))
        return _Package(qualified if foreign else name, base, state, conffiles, version)

    @cached_property
    def _lists(self) -> FileLists:
        """All file lists, sorted by the packages' names."""
        names = [name for name in self._tree.names(INFO) if name.endswith(".list")]
        return FileLists((name[:-5], self._tree.read(INFO / name, _LIMIT)) for name in names)

    @cached_property
    def _diversions(self) -> tuple[_Diversion, ...]:
        if self._tree.resolve(DIVERSIONS).node is None:
            return ()
        lines = self._read(DIVERSIONS).removesuffix("\n").split("\n")
        if lines == [""]:
            return ()
        if len(lines) % 3 or not all(line.startswith("/") for line in lines[::3] + lines[1::3]):
            raise SourceError("diversions are not triples of two paths and a package", path=DIVERSIONS)
        return tuple(map(_Diversion, lines[::3], lines[1::3], lines[2::3]))

    @cached_property
    def _diverted(self) -> dict[str, _Diversion]:
        return {one.origin: one for one in self._diversions}

    def _place(self, line: str, name: str) -> RootPath:
        """Return where the file is that package ``name`` lists as ``line``."""
        diversion = self._diverted.get(line)
        if diversion is not None and diversion.package != name:
            line = diversion.to
        try:
            return self._tree.place(RootPath.parse(line))
        except PartialRootError as error:
            raise SourceError(f"package {name} lists a wrong path: {error.message}", path=INFO) from None

    def _origin(self, path: RootPath) -> tuple[str, str] | None:
        """Return (base name of the package, path as it lists it) for a path of the root."""
        for spelled in self._spellings.of(path):
            base = self._lister(spelled)
            if base is not None:
                return base, spelled
            for diversion in self._diversions:
                if diversion.to == spelled:
                    for base in self._lists.all(diversion.origin):
                        if base.partition(":")[0] != diversion.package:
                            return base, diversion.origin
        return None

    def _lister(self, spelled: str) -> str | None:
        """Return who lists a path and is not diverted from it."""
        diversion = self._diverted.get(spelled)
        if diversion is None:
            return self._lists.first(spelled)
        bases = self._lists.all(spelled)
        return next((base for base in bases if base.partition(":")[0] == diversion.package), None)

    def _md5sums(self, base: str) -> dict[str, str]:
        """Return the MD5 sums of a package by listed path."""
        if base not in self._sums:
            path = INFO / f"{base}.md5sums"
            there = self._tree.lstat(path) is not None
            self._sums[base] = dict(_sums(self._read(path), path)) if there else {}
        return self._sums[base]

    def _read(self, path: RootPath) -> str:
        return self._tree.read(path, _LIMIT).decode("utf-8", "surrogateescape")


def _sums(text: str, where: str) -> Iterator[tuple[str, str]]:
    """Yield (listed path, MD5) of a package's md5sums."""
    for line in text.split("\n"):
        digest, _, path = line.partition("  ")
        if _MD5.fullmatch(digest) and path:
            yield "/" + path.removeprefix("./").lstrip("/"), digest
        elif line:
            raise SourceError(f"a line is no MD5 sum and path: {line[:60]!r}", path=where)


def _conffiles(text: str) -> dict[str, str]:
    """Return the MD5 sums of a package's configuration files by path.

    Each line is a path, the sum of the file as shipped (or ``newconffile``, where none was installed), and
    perhaps ``obsolete`` or ``remove-on-upgrade``.
    """
    found = {}
    for line in text.split("\n"):
        words = line.rsplit(" ", 3)
        while words and words[-1] in ("obsolete", "remove-on-upgrade"):
            words.pop()
        if len(words) > 1 and _MD5.fullmatch(words[-1]):
            found[" ".join(words[:-1]).strip()] = words[-1]
    return found
