"""What one dynamic linker of glibc has built in, read from its own bytes."""

import re
from collections.abc import Iterator
from typing import NamedTuple

CACHE = "/etc/ld.so.cache"

# Each begins with the NUL before some literal bytes: finding those is fast, and a linker has 200 KB.
# The trusted directories stand one after the other, each with its slash: glibc's elf/dl-load.c, system_dirs.
_DIRECTORIES = b"/\0", rb"\0((?:/[\w.+/-]{1,255}/\0)+)"
_RELEASE = b"release version ", rb"\0[^\0]*?release version (\d{1,4})\.(\d{1,4})"
_CACHE = b"/ld.so.cache\0", rb"\0(/[\w.+/-]*/ld\.so\.cache)\0"
_LEVELS = [(start, rb"\0(\w[\w-]+(?::[\w-]+)*)\0") for start in (b"\0x86-64-v", b"\0power", b"\0z1")]
_NAME = r"ld-(\d+)\.(\d+)\.so"
_MAGIC = b"glibc-ld.so.cache"


class Rtld(NamedTuple):
    """The default directories in order, where the cache is, the release, and the hwcaps levels, best first.

    A release of (0, 0) is one from before the linker carried it.
    """

    directories: tuple[str, ...]
    cache: str
    release: tuple[int, int]
    levels: tuple[str, ...]


FALLBACK = Rtld(("/lib64", "/usr/lib64", "/lib", "/usr/lib"), CACHE, (0, 0), ())
"""What is assumed of a linker that the source does not have."""


def read_rtld(data: bytes, name: str) -> Rtld | None:
    """Return what the linker whose bytes these are has built in; None when it is not glibc's.

    ``name`` is the file's: before 2.34 it carried the release (``ld-2.31.so``).
    """
    if _MAGIC not in data:
        return None
    directories = next((found[1] for found in _search(data, *_DIRECTORIES) if b"lib" in found[1]), b"")
    cache = next(_search(data, *_CACHE), None)
    release = next(_search(data, *_RELEASE), None) or re.fullmatch(_NAME, name)
    levels = next((found[1] for one in _LEVELS for found in _search(data, *one)), b"")
    return Rtld(
        tuple(part.rstrip("/") for part in _words(directories, "\0") if "lib" in part)
        or FALLBACK.directories,
        cache[1].decode("ascii") if cache else CACHE,
        (int(release[1]), int(release[2])) if release else (0, 0),
        _words(levels, ":"),
    )


def _search(data: bytes, mark: bytes, pattern: bytes) -> Iterator[re.Match[bytes]]:
    """Yield the matches of a pattern that begin with the NUL before, or at the beginning of, a ``mark``."""
    at = data.find(mark)
    while at >= 0:
        found = re.compile(pattern).match(data, max(data.rfind(b"\0", 0, at + 1), 0))
        if found:
            yield found
        at = data.find(mark, at + 1)


def _words(data: bytes, separator: str) -> tuple[str, ...]:
    return tuple(word for word in data.decode("ascii").split(separator) if word)
