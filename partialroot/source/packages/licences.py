"""Licences as package databases name them, and as SPDX does.

Debian's machine-readable copyright files (copyright-format 1.0, DEP-5) name a licence for each set of files:
``GPL-2+ or Artistic``. Other copyright files are prose, of which only the references to the texts in
/usr/share/common-licenses can be told. IPS names a licence in each license action.
"""

import re
from typing import NamedTuple

from partialroot.source.packages import spdx

_DEP5 = re.compile(r"\s*Format(-Specification)?:", re.IGNORECASE)
_LICENCE = re.compile(r"^License:(.*)$", re.IGNORECASE | re.MULTILINE)
_COMMON = re.compile(r"/usr/share/common-licenses/([A-Za-z0-9][A-Za-z0-9.+-]*)")
_WORDS = re.compile(r"\S+")


class Licence(NamedTuple):
    """A licence by its ``name`` in the database; ``spdx`` is the expression that says the same, or None."""

    name: str
    spdx: str | None = None

    @classmethod
    def named(cls, name: str) -> "Licence":
        """Return what a short name, or several joined by ``and`` and ``or``, stands for."""
        return cls(name, expression(name))


def of_copyright(text: str) -> tuple[Licence, ...]:
    """Return the licences that a Debian copyright file names, sorted by name."""
    if _DEP5.match(text):
        names = {name.strip() for name in _LICENCE.findall(text)}
        return tuple(map(Licence.named, sorted(names - {""})))
    # Prose says beside the reference whether later versions are meant as well: the name alone is no SPDX id.
    names = {name.rstrip(".") for name in _COMMON.findall(text)}
    return tuple(Licence(name) for name in sorted(names))


def expression(text: str) -> str | None:
    """Return short names joined by ``and`` and ``or`` as an SPDX expression; None if one has no SPDX id.

    ``and`` binds closer in both. A comma, which changes that, and exceptions (``with``) are not translated.
    """
    words = _WORDS.findall(text)
    if len(words) % 2 == 0:
        return None
    names = [spdx.identifier(word) for word in words[::2]]
    joints = [word.upper() for word in words[1::2]]
    if None in names or not {"AND", "OR"}.issuperset(joints):
        return None
    first, *others = map(str, names)
    return " ".join([first, *(f"{joint} {name}" for joint, name in zip(joints, others, strict=True))])
