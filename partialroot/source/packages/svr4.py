"""SVR4's package database: /var/sadm, read as pkgchk(8) does, but on any root."""

from collections.abc import Iterator
from functools import cached_property

from partialroot.errors import PartialRootError, SourceError
from partialroot.nodes import FileType
from partialroot.paths import ROOT, RootPath
from partialroot.source.packages.base import SVR4_CONTENTS as CONTENTS
from partialroot.source.packages.base import About, NoPackages, Recorded, Version
from partialroot.source.packages.contents import Entry, index, merge, packages, parse
from partialroot.source.packages.overlays import Overlays
from partialroot.source.packages.spellings import Spellings, linked
from partialroot.source.packages.zap import REPOSITORIES, ZapCatalogs
from partialroot.source.packages.zone_marks import IgnoreLists, lines, of_the_kernel
from partialroot.source.tree import Tree

SADM = RootPath("/var/sadm")
LOG = SADM / "install/pkglog"
PACKAGES = SADM / "pkg"

_LIMIT = 256 << 20
_INFO_LIMIT = 1 << 20
_PROGRAM_DIRECTORIES = tuple(RootPath(one) for one in ("/usr/bin", "/usr/sbin", "/sbin", "/usr/gnu/bin"))
_LIBRARY_DIRECTORIES = tuple(
    RootPath(one) for one in ("/lib", "/usr/lib", "/lib/amd64", "/usr/lib/amd64", "/usr/lib/security")
)

_MOST_SEARCHES = 12  # then an index is made, which takes as long as 30 of them


class Svr4(NoPackages):
    """The packages of a Tribblix root, or of another one with SVR4 packages."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._spellings = Spellings(tree)
        self._overlays = Overlays(tree)
        self._ignored = IgnoreLists(tree)
        self._catalogs = ZapCatalogs(tree)
        self._infos: dict[str, dict[str, str]] = {}
        self._searches = 0
        self._entries: dict[str, Entry] = {}
        self._doubts: tuple[str, ...] = ()

    def installed(self) -> tuple[str, ...]:
        """Return the names of the packages in the database, sorted."""
        return tuple(name for name in self._tree.names(PACKAGES) if self._is_installed(name))

    def files(self, package: str) -> tuple[RootPath, ...] | None:
        """Return where a package's files and directories are, None if it is not installed."""
        if "/" in package or not self._is_installed(package):
            return None
        for lock in ("!I-Lock!", "!R-Lock!"):  # left behind by an installation or removal that failed
            if self._tree.lstat(PACKAGES / package / lock) is not None:
                raise SourceError(
                    f"package {package} is only partly installed", path=PACKAGES, hint="install it again"
                )
        places = map(self._place, self._paths(package))
        return tuple(dict.fromkeys(place for place in places if place != ROOT))

    def _paths(self, package: str) -> list[str]:
        """Return the listed paths of a package: by a search, or by an index once many are asked for."""
        self._searches += 1
        if self._searches > _MOST_SEARCHES:
            return self._by_package.get(package, [])
        listed = (self._parse(line) for line in self._lines.values() if package in line)
        return [entry.path for entry in listed if package in entry.packages]

    @cached_property
    def _by_package(self) -> dict[str, list[str]]:
        """The paths of each package."""
        found: dict[str, list[str]] = {}
        for path, line in self._lines.items():
            for package in packages(line, CONTENTS):
                found.setdefault(package, []).append(path)
        return found

    def group(self, name: str) -> tuple[str, ...] | None:
        """Return the packages of an overlay, of those it requires, and of ``base``."""
        return self._overlays.packages(name)

    def owner(self, path: RootPath) -> str | None:
        """Return the package that installed ``path``; of several the first one by name."""
        entry = self._entry(path)
        return None if entry is None else min(entry.packages, default=None)

    def version(self, package: str) -> Version | None:
        """Return version and architecture of an installed package, by its pkginfo."""
        if "/" in package or not self._is_installed(package):
            return None
        info = self._info(package)
        return Version(info.get("VERSION", ""), info.get("ARCH", ""))

    def about(self, package: str) -> About | None:
        """Return what pkginfo says, and the copyright notice that pkgadd(8) shows."""
        if self.version(package) is None:
            return None
        info = self._info(package)
        notice = PACKAGES / package / "install/copyright"
        there = self._tree.resolve(notice).node is not None
        return About(
            summary=info.get("DESC") or info.get("NAME", ""),
            supplier=info.get("VENDOR", ""),
            copyright=self._text(notice, _INFO_LIMIT) if there else "",
        )

    @property
    def changing(self) -> tuple[RootPath, ...]:
        """The contents file, or the log of the changes that are not merged into it yet."""
        return (CONTENTS, LOG)

    @property
    def offering(self) -> tuple[RootPath, ...]:
        """What zap has fetched."""
        return tuple(REPOSITORIES / name for name in self._tree.names(REPOSITORIES))

    @property
    def doubts(self) -> tuple[str, ...]:
        """Whatever changed the contents file has ended it with a comment (libinst, ocfile.c, swapcfile)."""
        return self._doubts

    def recorded(self, path: RootPath) -> Recorded | None:
        """Return size, time and checksum of a packaged file; a hard link's are those of what it leads to."""
        entry = self._entry(path)
        if entry is not None and entry.kind == "l":
            entry = self._entry(linked(entry.path, entry.target or ""))
        if entry is None or entry.size is None or entry.checksum is None or entry.mtime is None:
            return None
        return Recorded("sysv", f"{entry.checksum:04x}", entry.size, entry.mtime)

    def pristine_copy(self, path: RootPath) -> RootPath | None:
        """Return the copy that pkgadd saved of an editable or volatile file, for new zones."""
        entry = self._entry(path)
        if entry is None or entry.kind not in "ev":
            return None
        for copy in self._copies(entry):
            real, node, _ = self._tree.resolve(copy)
            if node is not None and node.type is FileType.FILE:
                return real
        return None

    def global_only(self, path: RootPath) -> bool:
        """Return whether ``path`` is the kernel's, on Tribblix' lists, or of a package that no zone gets."""
        return of_the_kernel(path) or path in self._ignored.paths or path in self._global_paths

    def supplier(self, name: str) -> str | None:
        """Return the package that would supply a program, path, soname or ``package NAME``.

        Installed packages come first (a file of theirs was deleted), then zap's catalogs.
        """
        if not name.startswith("/"):
            return self._installed(name) or self._catalogs.package(name.removeprefix("package "))
        try:
            return self.owner(RootPath.parse(name))
        except PartialRootError:
            return None

    def _installed(self, name: str) -> str | None:
        """Return the package of a program or library by its bare name."""
        if "/" in name:
            return None
        owners = (self.owner(one / name) for one in (*_PROGRAM_DIRECTORIES, *_LIBRARY_DIRECTORIES))
        return next((owner for owner in owners if owner is not None), None)

    def _is_installed(self, package: str) -> bool:
        return self._tree.lstat(PACKAGES / package / "pkginfo") is not None

    @cached_property
    def _global_packages(self) -> frozenset[str]:
        """The packages whose files are for a global zone alone (pkginfo(5)).

        A hollow package is known to a zone, but its files are not there; one of this zone goes to no other.
        """
        infos = [(name, self._info(name)) for name in self.installed()]
        marks = ("SUNW_PKG_HOLLOW", "SUNW_PKG_THISZONE")
        marked = (name for name, info in infos if "true" in map(info.get, marks))
        return self._ignored.packages.union(marked)

    @cached_property
    def _global_paths(self) -> frozenset[RootPath]:
        """The paths that no other package has."""
        names = self._global_packages
        lines = (line for line in self._lines.values() if any(name in line for name in names))
        entries = (entry for entry in map(self._parse, lines) if names.issuperset(entry.packages))
        return frozenset(self._place(entry.path) for entry in entries)

    def _info(self, package: str) -> dict[str, str]:
        """Return the parameters of a package."""
        if package not in self._infos:
            path = PACKAGES / package / "pkginfo"
            known = self._tree.resolve(path).node is not None
            self._infos[package] = pkginfo(self._text(path, _INFO_LIMIT)) if known else {}
        return self._infos[package]

    def _copies(self, entry: Entry) -> Iterator[RootPath]:
        """Yield where a copy may be: in ``reloc``, without the package's base directory, or in ``root``."""
        for package in entry.packages:
            saved = PACKAGES / package / "save/pspool" / package
            base = self._info(package).get("BASEDIR", "/").rstrip("/")
            if entry.path.startswith(f"{base}/"):
                yield saved / f"reloc{entry.path[len(base) :]}"
            yield saved / f"root{entry.path}"

    @cached_property
    def _lines(self) -> dict[str, str]:
        """The lines of the contents file by path, with the changes that are not merged into it yet."""
        text = self._text(CONTENTS, _LIMIT)
        found = index(text, CONTENTS)
        if (text and text[-1] != "\n") or (not found and self.installed()):
            hint = "bring it back from a backup: without it nobody knows what packages have installed"
            raise SourceError("is cut off", path=CONTENTS, hint=hint)
        if not text.startswith("#", text.rfind("\n", 0, len(text.rstrip("\n"))) + 1):
            self._doubts = (f"{CONTENTS} may be cut off: it does not end with the comment of pkgadd(8)",)
        if self._tree.resolve(LOG).node is not None:
            merge(found, self._text(LOG, _LIMIT), LOG)
        return found

    def _entry(self, path: RootPath) -> Entry | None:
        """Return what the database has of ``path``, however it is spelled."""
        found = (self._lines.get(spelled) for spelled in self._spellings.of(path))
        line = next((line for line in found if line is not None), None)
        return None if line is None else self._parse(line)

    def _parse(self, line: str) -> Entry:
        """Return what a line says; most lines are asked for more than once."""
        entry = self._entries.get(line)
        if entry is None:
            entry = self._entries[line] = parse(line, CONTENTS)
        return entry

    def _place(self, path: str) -> RootPath:
        try:
            return self._tree.place(RootPath.parse(path))
        except PartialRootError as error:
            raise SourceError(f"a wrong path is listed: {error.message}", path=CONTENTS) from None

    def _text(self, path: RootPath, limit: int) -> str:
        return self._tree.read(path, limit).decode("utf-8", "surrogateescape")


def pkginfo(text: str) -> dict[str, str]:
    """Return the parameters in the text of a pkginfo file (pkginfo(5))."""
    pairs = (line.partition("=") for line in lines(text) if not line.startswith("#"))
    return {key: value.strip("\"'") for key, equals, value in pairs if equals}
