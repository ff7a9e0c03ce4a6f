"""Where profiles are found: directories the user names, the administrator's, and those that are shipped.

A directory may hold profiles in TOML, ``NAME.toml``, and in mvi's notation; of both with one name TOML wins.
"""

import os
import stat
from collections.abc import Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from partialroot import observed
from partialroot.errors import ProfileError
from partialroot.model import Profile
from partialroot.profiles import mvi
from partialroot.profiles.compose import compose
from partialroot.profiles.document import MAX_PROFILE
from partialroot.profiles.items import parse_profile_name
from partialroot.profiles.toml import parse_profile
from partialroot.profiles.trust import refuse_untrusted
from partialroot.profiles.wording import quoted, suggestion

ADMINISTRATORS = Path("/etc/partialroot/profiles")
SHIPPED = Path(__file__).parent.parent / "manifests"
"""Part of the package: in a checkout a symlink, in a wheel a directory."""

_SUFFIX = ".toml"
_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


class Listed(NamedTuple):
    """A profile that can be named. The summary of one that cannot be read says why."""

    name: str
    summary: str
    file: Path


class Library:
    """The profiles of some directories, of /etc/partialroot/profiles and those shipped for ``platform``.

    The first that has a name wins. Raises ProfileError when one of ``directories`` is none.
    """

    def __init__(self, directories: Sequence[Path], platform: str) -> None:
        for directory in directories:
            if not os.path.isdir(directory):
                raise ProfileError("there is no such directory of profiles", path=str(directory))
        self._shipped = SHIPPED / platform
        self._directories = (*directories, ADMINISTRATORS, self._shipped)
        self._loaded: dict[Path, Profile] = {}

    def find(self, name_or_file: str, where: str | None = None) -> Profile:
        """Return a profile by name, or by its file if the text ends in ``.toml``; not what it uses.

        ``where`` is the place that asks for it. Raises ProfileError when it is not there, cannot be read or
        trusted, or is no profile.
        """
        if name_or_file.endswith(_SUFFIX):
            return self._load(Path(name_or_file))
        files = self._files
        if name_or_file not in files:
            message = f"no profile is called {quoted(name_or_file)}"
            raise ProfileError(message, path=where, hint=suggestion(name_or_file, files, "profiles"))
        return self._load(files[name_or_file])

    def names(self) -> list[Listed]:
        """Return all profiles that can be named, sorted."""
        return [Listed(name, self._summary(file), file) for name, file in sorted(self._files.items())]

    def compose(self, names: Sequence[str], parameters: Mapping[str, str]) -> Profile:
        """Return the profiles called so (or in files called so), and all they use, as one."""
        return self.complete([self.find(name) for name in names], parameters)

    def parameters(self, names: Sequence[str]) -> frozenset[str]:
        """Return the parameters that profiles, and all they use, have."""
        asked = [self.find(name) for name in names]
        return frozenset(name for one in (*asked, *self._used(asked).values()) for name in one.parameters)

    def definitions(self, names: Sequence[str]) -> tuple[tuple[str, str], ...]:
        """Return for profiles, and all they use, a sum of what each says and on which lines, by name."""
        asked = [self.find(name) for name in names]
        every = (*asked, *self._used(asked).values())
        return tuple(sorted({one.name: _sum(one) for one in every}.items()))

    def complete(self, asked: Sequence[Profile], parameters: Mapping[str, str]) -> Profile:
        """Return profiles, and all they use, as one."""
        return compose(asked, self._used(asked), parameters)

    def _used(self, asked: Sequence[Profile]) -> dict[str, Profile]:
        used: dict[str, Profile] = {}
        todo = list(asked)
        while todo:
            for item in todo.pop().uses:
                if item.text not in used:
                    used[item.text] = self.find(item.text, item.where)
                    todo.append(used[item.text])
        return used

    @cached_property
    def _files(self) -> dict[str, Path]:
        """Return the file of each name; in mvi's notation, the path that its files begin with."""
        files: dict[str, Path] = {}
        for directory in self._directories:
            _note_names(directory)
        for directory in filter(os.path.isdir, self._directories):
            for file in sorted(directory.glob(f"*{_SUFFIX}")):
                files.setdefault(file.stem, file)
            for name in mvi.names_in(directory):
                files.setdefault(name, directory / name)
        return files

    def _summary(self, file: Path) -> str:
        try:
            return self._load(file).summary
        except ProfileError as error:
            return f"cannot be used: {error}"

    def _load(self, file: Path) -> Profile:
        if file not in self._loaded:
            self._loaded[file] = self._read(file)
        return self._loaded[file]

    def _read(self, file: Path) -> Profile:
        name = parse_profile_name(file.name.removesuffix(_SUFFIX), str(file))
        if file.suffix != _SUFFIX:
            return mvi.read_profile(file.parent, name, lambda part: read_text(part, trusted=False))
        # Who can change what is shipped can change this program too: nothing is gained by looking.
        text = read_text(file, trusted=file.parent == self._shipped)
        return parse_profile(text, name, file.name)._replace(where=str(file))


def _sum(profile: Profile) -> str:
    """Return what tells a profile from one that says something else, wherever its file is."""
    fragments = tuple(one._replace(directory="") for one in profile.fragments)
    said = profile._replace(where="", summary="", fragments=fragments)
    return sha256(repr(said).encode("utf-8", "surrogatepass")).hexdigest()


def _note_names(directory: Path) -> None:
    """Note what is in a directory of profiles: one that appears there may be taken instead of another."""
    if observed.current:
        before = observed.times(str(directory))
        names = os.listdir(directory) if os.path.isdir(directory) else ()
        observed.current.names(str(directory), names, before)


def read_text(file: Path, *, trusted: bool) -> str:
    """Return the text of a profile's file, whatever it is: never blocks, never more than is allowed."""
    if observed.current:
        for path in (
            file,
            file.parent,
            Path(os.path.realpath(file)).parent,
        ):  # whose owners are asked for, too
            observed.current.file(str(path))
    try:
        with os.fdopen(os.open(file, _OPEN), "rb") as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ProfileError("not a regular file", path=str(file))
            if not trusted:
                refuse_untrusted(file, status)
            data = stream.read(MAX_PROFILE + 1)
    except OSError as error:
        raise ProfileError(f"cannot be read: {error.strerror}", path=str(file)) from None
    if len(data) > MAX_PROFILE:
        raise ProfileError(f"larger than {MAX_PROFILE} bytes", path=str(file))
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ProfileError("not UTF-8", path=f"{file.name}:{line}") from None
