"""IPS, the package database of OmniOS and OpenIndiana: /var/pkg, read as pkg(1) does, but on any root.

The catalog of the installed packages says which there are, the manifest of each what it put where. Beside
them may lie manifests of packages that are only known.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple
from urllib.parse import quote, unquote

from partialroot.errors import PartialRootError, SourceError
from partialroot.nodes import FileType
from partialroot.paths import RootPath
from partialroot.source.packages.actions import COMMAND, INSTALLING, ZONE, Action, contents, manifest
from partialroot.source.packages.base import IPS_CATALOG as INSTALLED
from partialroot.source.packages.base import About, NoPackages, Recorded, Version
from partialroot.source.packages.licences import Licence
from partialroot.source.packages.spellings import Spellings, linked
from partialroot.source.packages.zone_marks import of_the_kernel
from partialroot.source.tree import Tree

IMAGE = RootPath("/var/pkg")
CONFIGURATION = IMAGE / "pkg5.image"

_LIMIT = 64 << 20
_NUMBER = re.compile(r"[0-9]{1,20}")
_DIGEST = re.compile(r"[0-9a-f]{40}")
_VARIANT = re.compile(r"(variant\.[^\s=]+)\s*=\s*(\S*)")
_DIRECTORIES = ("/usr/bin", "/usr/sbin", "/sbin", "/lib", "/usr/lib", "/lib/amd64", "/usr/lib/amd64")


class _Place(NamedTuple):
    """Which package has a path, and the kinds of zones that may have it, if not all.

    Of a file there are hash and size; ``linked`` is what a hard link was made from.
    """

    package: str
    digest: str | None
    size: int | None
    linked: RootPath | None
    zones: tuple[str, ...]


class Ips(NoPackages):
    """The packages of an IPS image: by its manifests, or by what pkg(1) ``printed`` for actions.COMMAND."""

    def __init__(self, tree: Tree, printed: str | None = None) -> None:
        self._tree = tree
        self._printed = printed
        self._spellings = Spellings(tree)

    def installed(self) -> tuple[str, ...]:
        """Return the names of the installed packages, sorted, without their publishers."""
        return tuple(sorted(self._manifests if self._printed is None else self._contents))

    def files(self, package: str) -> tuple[RootPath, ...] | None:
        """Return where a package's files, directories and links are, None if it is not installed.

        It may be named by the end of its name, as for pkg(1), where no other package's ends the same.
        """
        name = self._name(package)
        if name is None:
            return None
        listed = (self._place(one) for one in self._actions(name) if one.kind in INSTALLING)
        return tuple(dict.fromkeys(listed))

    def owner(self, path: RootPath) -> str | None:
        """Return the package that installed ``path``; of several the first one by name."""
        places = self._at(path)
        return min((one.package for one in places), default=None)

    def version(self, package: str) -> Version | None:
        """Return version and architecture of an installed package; pkg(1) printed no versions."""
        name = self._name(package)
        if name is None:
            return None
        version = unquote(self._manifests[name].name) if self._printed is None else ""
        return Version(version, self._variants.get("variant.arch", ""))

    def about(self, package: str) -> About | None:
        """Return what a package's manifest says: its attributes and license actions (pkg(7))."""
        name = self._name(package)
        if name is None:
            return None
        said: dict[str, str] = {}
        licences = set[str]()
        for one in self._actions(name):
            if one.kind == "set":
                said[one.value("name") or ""] = one.value("value") or ""
            elif one.kind == "license":
                licences.add(one.value("license") or "")
        supplier = "" if self._printed is not None else self._manifests[name].parts[3]
        return About(
            summary=said.get("pkg.summary", ""),
            supplier=supplier,
            homepage=said.get("info.upstream-url") or said.get("info.upstream_url", ""),
            licences=tuple(map(Licence.named, sorted(licences - {""}))),
        )

    @property
    def changing(self) -> tuple[RootPath, ...]:
        """The catalog of the installed packages is written anew for every change."""
        return (INSTALLED,)

    def recorded(self, path: RootPath) -> Recorded | None:
        """Return the SHA-1 and size of a packaged file, or of what a hard link was made from."""
        places = self._at(path)
        if places and places[0].linked is not None:
            places = self._at(places[0].linked)
        for one in places:
            if one.digest and _DIGEST.fullmatch(one.digest):
                return Recorded("sha1", one.digest, one.size)
        return None

    def pristine_copy(self, path: RootPath) -> RootPath | None:
        """Return what pkg(1) put beside an edited file when it upgraded that (pkg(7), ``renamenew``)."""
        recorded, beside = self.recorded(path), RootPath(f"{path}.new")
        node = self._tree.lstat(beside)
        if recorded is None or node is None or node.type is not FileType.FILE:
            return None
        digest = hashlib.sha1(self._tree.read(beside, _LIMIT), usedforsecurity=False).hexdigest()
        return beside if digest == recorded.digest else None

    def global_only(self, path: RootPath) -> bool:
        """Return whether ``path`` is the kernel's, or marked as a global zone's by all who install it."""
        zones = [one.zones for one in self._at(path)]
        return of_the_kernel(path) or (bool(zones) and all(one and "nonglobal" not in one for one in zones))

    def supplier(self, name: str) -> str | None:
        """Return the installed package that has, or had, a program, path or library."""
        if name.startswith("/"):
            try:
                return self.owner(RootPath.parse(name))
            except PartialRootError:
                return None
        owners = (self.owner(RootPath(f"{one}/{name}")) for one in _DIRECTORIES if "/" not in name)
        return next((owner for owner in owners if owner is not None), None)

    def _name(self, package: str) -> str | None:
        names = self.installed()
        ending = [package] if package in names else [one for one in names if one.endswith(f"/{package}")]
        return ending[0] if len(ending) == 1 else None

    @cached_property
    def _manifests(self) -> dict[str, RootPath]:
        """Where the manifests of the installed packages are, by name."""
        try:
            catalog = json.loads(self._tree.read(INSTALLED, _LIMIT))
            return {
                name: IMAGE / f"publisher/{publisher}/pkg/{quote(name, '')}/{quote(one['version'], '')}"
                for publisher, packages in catalog.items()
                if not publisher.startswith("_") and publisher.strip(".") and "/" not in publisher
                for name, versions in packages.items()
                for one in versions
            }
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise SourceError(
                "the catalog of installed packages cannot be understood", path=INSTALLED
            ) from None

    @cached_property
    def _variants(self) -> dict[str, str]:
        """The variants of the image: what actions of another architecture, say, are told apart by."""
        if self._tree.resolve(CONFIGURATION).node is None:
            return {}
        lines = self._text(CONFIGURATION).split("\n")
        return {found[1]: found[2] for found in map(_VARIANT.match, lines) if found}

    @cached_property
    def _contents(self) -> dict[str, list[Action]]:
        """The actions that pkg(1) printed, by package."""
        found: dict[str, list[Action]] = {}
        for package, one in contents(self._printed or "", " ".join(COMMAND)):
            found.setdefault(package, []).append(one)
        return found

    def _actions(self, package: str) -> Iterator[Action]:
        """Yield the actions of a package that are meant for this image; pkg(1) prints no others."""
        if self._printed is not None:
            yield from self._contents[package]
            return
        path = self._manifests[package]
        for one in manifest(self._text(path), path):
            if all(self._is_ours(name, values) for name, values in one.attributes.items()):
                yield one

    def _is_ours(self, name: str, values: tuple[str, ...]) -> bool:
        """Return whether an attribute lets the action into this image; an unset debug variant is false."""
        if name == ZONE or not name.startswith("variant."):
            return True
        wanted = self._variants.get(name, "false" if name.startswith("variant.debug.") else None)
        return wanted is None or wanted in values

    @cached_property
    def _places(self) -> dict[RootPath, tuple[_Place, ...]]:
        """Who has the paths."""
        found: dict[RootPath, tuple[_Place, ...]] = {}
        for package in self.installed():
            zones, actions = _sorted_out(self._actions(package))
            for one in actions:
                place = self._place(one)
                found[place] = (*found.get(place, ()), _described(package, one, zones))
        return found

    def _at(self, path: RootPath) -> tuple[_Place, ...]:
        """Return who has ``path``, however it is spelled."""
        found = (self._places.get(spelled) for spelled in self._spellings.of(path))
        return next((places for places in found if places is not None), ())

    def _place(self, one: Action) -> RootPath:
        try:
            return self._tree.place(RootPath.parse(f"/{one.attributes['path'][0]}"))
        except KeyError:
            raise SourceError(f"a {one.kind} without a path is installed", path=IMAGE) from None
        except PartialRootError as error:
            raise SourceError(f"a wrong path is installed: {error.message}", path=IMAGE) from None

    def _text(self, path: RootPath) -> str:
        return self._tree.read(path, _LIMIT).decode("utf-8", "surrogateescape")


def _sorted_out(actions: Iterator[Action]) -> tuple[tuple[str, ...], list[Action]]:
    """Return the zones a package is for, and its actions that install something."""
    zones, installing = tuple[str, ...](), list[Action]()
    for one in actions:
        if one.kind in INSTALLING:
            installing.append(one)
        elif one.kind == "set" and one.value("name") == ZONE:
            zones = one.attributes.get("value", ())
    return zones, installing


def _described(package: str, one: Action, zones: tuple[str, ...]) -> _Place:
    """Return what an action says of its path; ``zones`` are those of the whole package."""
    size, target = one.value("pkg.size") or "", one.value("target")
    return _Place(
        package,
        one.digest,
        int(size) if _NUMBER.fullmatch(size) else None,
        linked(f"/{one.value('path')}", target) if one.kind == "hardlink" and target else None,
        one.attributes.get(ZONE) or zones,
    )
