"""Where a zone's bytes and files come from: the profiles' lines, what they chose, and the packages of that.

Every file counts once: with the line without which it would not be there, or with what several lines need.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from partialroot.accounting.because import Amount, Because
from partialroot.model import Supplier
from partialroot.paths import RootPath


class Part(NamedTuple):
    """What a package (None: no package) adds to something."""

    supplier: Supplier | None
    amount: Amount


class Root(NamedTuple):
    """A path with all that is there because of it alone: a closure."""

    path: str
    amount: Amount
    parts: tuple[Part, ...]


class Line(NamedTuple):
    """A place in a profile with all that is there because of it alone; "" is what several places need."""

    origin: str
    amount: Amount
    roots: tuple[Root, ...]


class Sizes(NamedTuple):
    """All of a zone, by lines and by packages, the largest first; both sum up to ``amount``."""

    amount: Amount
    lines: tuple[Line, ...]
    packages: tuple[Part, ...]


def sizes(because: Because, suppliers: Mapping[RootPath, Supplier]) -> Sizes:
    """Return where everything comes from; ``suppliers`` has the packages of files."""
    lines = [
        Line(name, because.total(name), tuple(_roots(because, because.below(name), suppliers)))
        for name in because.below()
        if not because.is_path(name)
    ]
    rest = because.total()
    for line in lines:
        rest = rest.minus(line.amount)
    several = tuple(_roots(because, filter(because.is_path, because.below()), suppliers))
    if several:
        lines.append(Line("", rest, several))
    return Sizes(because.total(), tuple(sorted(lines, key=_largest)), _parts(because.files(), suppliers))


def _roots(because: Because, names: Iterable[str], suppliers: Mapping[RootPath, Supplier]) -> Iterator[Root]:
    for name in names:
        yield Root(name, because.total(name), _parts(because.files(name), suppliers))


def _parts(
    files: Iterable[tuple[RootPath, Amount]], suppliers: Mapping[RootPath, Supplier]
) -> tuple[Part, ...]:
    found: dict[Supplier | None, Amount] = {}
    for path, amount in files:
        supplier = suppliers.get(path)
        found[supplier] = found.get(supplier, Amount()).plus(amount)
    return tuple(sorted((Part(*pair) for pair in found.items()), key=_largest))


def _largest(one: Part | Line) -> tuple[int, str]:
    return -one.amount.bytes, str(one[0])
