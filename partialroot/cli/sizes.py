"""How sizes look, of zones and of what would go with a path: as trees, and as JSON."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TypeVar

from partialroot.accounting.because import Amount
from partialroot.accounting.sizes import Line, Part, Root, Sizes
from partialroot.cli import show
from partialroot.cli.documents import Document
from partialroot.cli.show import Branch
from partialroot.pipeline.sizing import Removal

T = TypeVar("T", Line, Root, Part)

MOST_SHOWN = 8
"""So many branches are shown of each, unless all are asked for."""


def print_sizes(found: Mapping[str, Sizes], *, verbose: bool) -> None:
    """Print for each zone where its bytes come from: by line and closure root, then by package."""
    most = None if verbose else MOST_SHOWN
    for zonepath, one in found.items():
        lines = [Branch(_line_text(line), list(_roots(line.roots, most))) for line in _counting(one.lines)]
        packages = Branch("by package", list(_parts(one.packages, most)))
        show.tree([Branch(f"{zonepath}: {_text(one.amount)}", [*lines, packages])])


def removal_tree(path: str, removal: Removal) -> Branch:
    """Return what would go with a path as a tree of what goes with what."""
    branches = {path: Branch(f"without {path}: {_text(removal.amount)} less")}
    for one, _ in removal.others:
        branches[one] = Branch(one)
    for one, above in removal.others:
        branches[above].below.append(branches[one])
    branches[path].below[:0] = [Branch(one) for one in removal.itself if one != path]
    return branches[path]


def _line_text(line: Line) -> str:
    return f"{line.origin or 'several of the lines'}: {_text(line.amount)}"


def _roots(roots: Sequence[Root], most: int | None) -> Iterator[Branch]:
    told = _counting(roots)
    for one in islice(told, most):
        parts = _counting(one.parts)
        only = f", of {_name(parts[0])}" if len(parts) == 1 and parts[0].supplier else ""
        below = [] if len(parts) == 1 else list(_parts(parts, most))
        yield Branch(f"{one.path}: {_text(one.amount)}{only}", below)
    yield from _others([one.amount for one in told], most)


def _parts(parts: Sequence[Part], most: int | None) -> Iterator[Branch]:
    told = _counting(parts)
    for one in islice(told, most):
        yield Branch(f"{_name(one)}: {_text(one.amount)}")
    yield from _others([one.amount for one in told], most)


def _name(part: Part) -> str:
    supplier = part.supplier
    return f"{supplier.package} {supplier.version}".rstrip() if supplier else "of no package"


def _counting(all_of_them: Sequence[T]) -> list[T]:
    """Leave out what has no files: directories and symlinks."""
    return [one for one in all_of_them if one.amount != Amount()]


def _others(amounts: Sequence[Amount], most: int | None) -> Iterator[Branch]:
    """Yield a branch for those that are not shown."""
    hidden = amounts[most:] if most is not None else []
    if hidden:
        total = Amount()
        for amount in hidden:
            total = total.plus(amount)
        yield Branch(f"and {len(hidden)} more: {_text(total)}")


def _text(amount: Amount) -> str:
    """Return an amount in words; how it is divided only where it is."""
    shared, private = show.size(amount.shared_bytes), show.size(amount.private_bytes)
    divided = f" ({shared} shared, {private} private)" if amount.shared_bytes and amount.private_bytes else ""
    return f"{amount.files} file{'' if amount.files == 1 else 's'}, {show.size(amount.bytes)}{divided}"


# --- JSON -------------------------------------------------------------------------------------------


def document(found: Sizes) -> Document:
    """Describe where a zone's bytes come from."""
    lines = [
        {
            "origin": line.origin or None,
            **_amount(line.amount),
            "roots": [_root(root) for root in _counting(line.roots)],
        }
        for line in _counting(found.lines)
    ]
    return {**_amount(found.amount), "lines": lines, "packages": [_part(one) for one in found.packages]}


def removal_document(removal: Removal) -> Document:
    """Describe what would go with a path."""
    others = [{"path": path, "with": above} for path, above in removal.others]
    return {**_amount(removal.amount), "itself": list(removal.itself), "others": others}


def _root(root: Root) -> Document:
    return {"path": root.path, **_amount(root.amount), "packages": [_part(one) for one in root.parts]}


def _part(part: Part) -> Document:
    supplier = part.supplier
    return {
        "package": supplier.package if supplier else None,
        "version": supplier.version if supplier else None,
        **_amount(part.amount),
    }


def _amount(amount: Amount) -> Document:
    return {**amount._asdict(), "bytes": amount.bytes}
