"""Paths inside a root, as a type of their own.

Two kinds of path meet in this program: a path *inside* a root (a zone's, or the source's) and a
path of the host. The first is always a :class:`RootPath`, the second a :class:`pathlib.Path`, or a plain
string where there is not the time to import that (closures). Only ``source.tree`` and ``zone.fs`` ever
turn the first into the second, below a directory they hold open.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from partialroot.errors import UsageError

if TYPE_CHECKING:  # it takes a fifteenth of a small closure to import
    from pathlib import Path

TARBALLS = (".tar.gz", ".tgz", ".tar")
"""How the name of a tarball may end."""

STANDARD_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
"""Where programs are looked up by name: the PATH that root has on Debian (login.defs, ENV_SUPATH)."""


class RootPath(str):
    """An absolute, normal path inside a root: ``/usr/bin/node``; ``/`` is the root itself.

    It is a string for speed (hashing, sorting, JSON), but is only made by :meth:`parse`, which
    checks, or from another ``RootPath``. Bytes that are no UTF-8 are carried as surrogates.
    """

    __slots__ = ()

    @classmethod
    def parse(cls, text: str, *, where: str | None = None) -> "RootPath":
        """Return ``text`` as a path inside a root; doubled and trailing slashes and ``.`` are dropped.

        Raises UsageError (a ``ProfileError`` is made of it by who reads profiles) when the text
        is relative, has a ``..`` or a NUL.
        """
        if not text.startswith("/"):
            raise UsageError(f"{text!r} is not absolute", path=where)
        if "\0" in text:
            raise UsageError(f"{text!r} has a NUL", path=where)
        if "//" not in text and "/." not in text and text[-1] != "/":
            return cls(text)  # most need no more than this
        parts = [part for part in text.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise UsageError(f"{text!r} has a '..'", path=where)
        return cls("/" + "/".join(parts))

    def __truediv__(self, name: str) -> "RootPath":
        """Return the child called ``name`` (one component, or several joined by slashes)."""
        return RootPath(f"{self}/{name}" if len(self) > 1 else f"/{name}")

    @property
    def parent(self) -> "RootPath":
        """The directory that holds this path; of ``/`` it is ``/``."""
        return RootPath(self[: self.rindex("/")] or "/")

    @property
    def name(self) -> str:
        """The last component; empty for ``/``."""
        return self[self.rindex("/") + 1 :]

    @property
    def parts(self) -> tuple[str, ...]:
        """The components, without the leading slash."""
        return tuple(self[1:].split("/")) if len(self) > 1 else ()

    @property
    def relative(self) -> str:
        """The path without its leading slash, for use below an open directory; ``.`` for ``/``."""
        return self[1:] or "."

    @property
    def ancestors(self) -> Iterator["RootPath"]:
        """The directories above this path, the nearest first, without ``/``."""
        end = self.rfind("/")
        while end > 0:
            yield RootPath(self[:end])
            end = self.rfind("/", 0, end)

    def is_below(self, top: str) -> bool:
        """Whether this path is ``top`` or lies below it."""
        return top == "/" or self == top or (self.startswith(top) and self[len(top)] == "/")


ROOT = RootPath("/")


def host_path(source: "Path", views: Mapping[str, str], path: str) -> str:
    """Return where on the host a path of the source is read.

    ``views`` has the places of files that something is mounted over; all others are where they seem to be.
    """
    top = str(source)
    return views.get(path) or (path if top == "/" else top + path)


def is_tarball(source: str) -> bool:
    """Whether a source is the tarball of a root: by the end of its name, whatever is there."""
    return source.endswith(TARBALLS)


def safe_name(text: str) -> str:
    """Return ``text`` as a terminal may show it: whatever is not printable, and ``\\``, is escaped."""
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(one if one.isprintable() and one != "\\" else _escaped(one) for one in text)


def _escaped(one: str) -> str:
    return one.encode("unicode_escape").decode("ascii")
