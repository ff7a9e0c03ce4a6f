"""How values look: rich's tables and trees on a terminal, plain aligned text in a pipe."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TextIO

from partialroot.paths import safe_name


class Branch:
    """A line of a tree, with what hangs below it."""

    def __init__(self, text: str, below: Iterable["Branch"] = ()) -> None:
        self.text = text
        self.below = list(below)


def table(headings: Sequence[str], rows: Iterable[Sequence[object]], out: TextIO | None = None) -> None:
    """Print rows under headings; the last column is not padded."""
    out = out or sys.stdout
    texts = [[safe_name(str(cell)) for cell in row] for row in rows]
    if out.isatty():
        _rich_table(headings, texts, out)
        return
    widths = [max(map(len, column)) for column in zip(headings, *texts, strict=True)]
    for row in (headings, *texts):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        print("  ".join(cells).rstrip(), file=out)


def _rich_table(headings: Sequence[str], rows: Iterable[Sequence[str]], out: TextIO) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False)
    for heading in headings:
        drawn.add_column(heading, overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(cell) for cell in row))
    Console(file=out, highlight=False).print(drawn)


def tree(branches: Iterable[Branch], out: TextIO | None = None) -> None:
    """Print trees, one after the other."""
    out = out or sys.stdout
    draw = _rich_tree if out.isatty() else _plain_tree
    for branch in branches:
        draw(branch, out)


def _plain_tree(branch: Branch, out: TextIO) -> None:
    print(*_lines(branch, 0), sep="\n", file=out)


def _lines(branch: Branch, depth: int) -> Iterator[str]:
    yield "  " * depth + safe_name(branch.text)
    for below in branch.below:
        yield from _lines(below, depth + 1)


def _rich_tree(branch: Branch, out: TextIO) -> None:
    from rich.console import Console
    from rich.text import Text
    from rich.tree import Tree

    def grow(into: Tree, one: Branch) -> None:
        for below in one.below:
            grow(into.add(Text(safe_name(below.text))), below)

    drawn = Tree(Text(safe_name(branch.text)))
    grow(drawn, branch)
    Console(file=out, highlight=False).print(drawn)


def size(count: int) -> str:
    """Return a number of bytes for reading: ``94.4 MiB``."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError("unreachable")


def line(text: str) -> None:
    """Print one line."""
    print(safe_name(text))
