"""Readers that turn parsed JSON into our values, or raise ValueError: nothing is guessed or mended.

A *reader* takes one parsed value. A *column reader* takes the same field of many rows at once, which is
several times faster than row by row where there are thousands.
"""

import base64
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, groupby, islice, repeat
from operator import ne
from typing import Any, TypeVar

from partialroot.paths import RootPath

T = TypeVar("T")
Reader = Callable[[object], T]
Column = Sequence[Any]
ColumnReader = Callable[[Column], Sequence[T]]

_SHA256 = re.compile(r"[0-9a-f]{64}").fullmatch
# One path after the other, each closed by a NUL: no empty, "." or ".." component anywhere.
_PATHS = re.compile(r"(?:/\0|(?:/(?!\.{0,2}[/\0])[^/\0]+)+\0)*").fullmatch
_SECONDS_MAX = 1e12


def shown(value: object) -> str:
    """Return ``value`` as it may stand in a message: ASCII and short."""
    return f"{value!a}"[:80]


# --- one value --------------------------------------------------------------------------------------


def fields(value: object, readers: Mapping[str, Reader[Any]]) -> dict[str, Any]:
    """Read an object that has exactly the keys of ``readers``."""
    if not isinstance(value, dict) or value.keys() != readers.keys():
        keys = value.keys() if isinstance(value, dict) else ()
        wrong = ", ".join(sorted(readers.keys() ^ keys))
        raise ValueError(f"missing or unknown: {wrong[:200]!a}")
    return {key: _field(key, reader, value[key]) for key, reader in readers.items()}


def _field(key: str, reader: Callable[[Any], T], value: object) -> T:
    try:
        return reader(value)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from error


def record(make: Callable[..., T], **readers: Reader[Any]) -> Reader[T]:
    """Return a reader of an object with exactly the keys of ``readers``, which are given to ``make``."""
    return lambda value: make(**fields(value, readers))


def optional(reader: Reader[T]) -> Reader[T | None]:
    """Return ``reader`` with null allowed."""
    return lambda value: None if value is None else reader(value)


def items(reader: ColumnReader[T]) -> Reader[tuple[T, ...]]:
    """Return a reader of a list whose items are one column."""
    return lambda value: tuple(reader(listed(value)))


def one(reader: ColumnReader[T]) -> Reader[T]:
    """Return a column reader as a reader of a single value."""
    return lambda value: reader([value])[0]


def listed(value: object) -> list[Any]:
    """Read a list, whatever its items are."""
    if type(value) is not list:
        raise ValueError(f"{shown(value)} is not a list")
    return value


def flag(value: object) -> bool:
    """Read true or false."""
    if type(value) is not bool:
        raise ValueError(f"{shown(value)} is neither true nor false")
    return value


def seconds(value: object) -> float:
    """Read a time since the epoch."""
    if not isinstance(value, (int, float)) or not 0 <= value <= _SECONDS_MAX:
        raise ValueError(f"{shown(value)} is not a number of seconds")
    return float(value)


# --- columns ----------------------------------------------------------------------------------------


def table(make: Callable[[Iterable[Any]], T], readers: Mapping[str, ColumnReader[Any]]) -> ColumnReader[T]:
    """Return a reader of rows that have one field for each of ``readers``, in that order."""

    def read_table(rows: Column) -> list[T]:
        if any(type(row) is not list or len(row) != len(readers) for row in rows):
            raise ValueError(f"a row has not the fields {', '.join(readers)}")
        return zipped(make, readers, list(zip(*rows, strict=True)) or [()] * len(readers))

    return read_table


def zipped(
    make: Callable[[Iterable[Any]], T], readers: Mapping[str, ColumnReader[Any]], columns: Sequence[Column]
) -> list[T]:
    """Read columns of one length, one for each of ``readers``, and make a value of each row of them."""
    named = zip(readers.items(), columns, strict=True)
    read = [_field(name, reader, column) for (name, reader), column in named]
    return list(map(make, zip(*read, strict=True)))


def packed(columns: Iterable[Column]) -> list[object]:
    """Return columns as :func:`unpacked` reads them: all but the first in runs of equals if there are few."""
    first, *others = columns
    return [first, *map(_packed, others)]


def _packed(column: Column) -> object:
    if sum(map(ne, column, islice(column, 1, None))) > len(column) // 2:
        return column
    return {"runs": [(value, len(list(some))) for value, some in groupby(column)]}


def unpacked(columns: object) -> list[Column]:
    """Return the columns that :func:`packed` wrote; the first, which has no runs, says how long all are."""
    first, *others = listed(columns)
    length = len(listed(first))
    return [first, *(_unpacked(column, length) for column in others)]


def _unpacked(column: object, length: int) -> Column:
    if isinstance(column, dict):
        runs = fields(column, {"runs": listed})["runs"]
        if not all(type(run) is list and len(run) == 2 and type(run[1]) is int for run in runs):
            raise ValueError("a run is not a value and how often it is there")
        if min((count for _, count in runs), default=0) < 0 or sum(count for _, count in runs) != length:
            raise ValueError("runs are not as long as other columns")
        return list(chain.from_iterable(repeat(value, count) for value, count in runs))
    if len(listed(column)) != length:
        raise ValueError("columns are not of one length")
    return listed(column)


def some(reader: ColumnReader[T]) -> ColumnReader[T | None]:
    """Return a reader of a column that has null where there is nothing for ``reader``."""

    def read_some(values: Column) -> list[T | None]:
        read = iter(reader([value for value in values if value is not None]))
        return [None if value is None else next(read) for value in values]

    return read_some


def several(reader: ColumnReader[T]) -> ColumnReader[tuple[T, ...]]:
    """Return a reader of a column of lists, whose items are all one column for ``reader``."""

    def read_several(values: Column) -> list[tuple[T, ...]]:
        if not set(map(type, values)) <= {list}:
            raise ValueError("not a list")
        read = iter(reader(list(chain.from_iterable(values))))
        return [tuple(islice(read, len(value))) for value in values]

    return read_several


def texts(values: Column) -> Sequence[str]:
    """Read texts without NUL that a file name could be."""
    if not set(map(type, values)) <= {str} or "\0" in (joined := "\n".join(values)):
        raise ValueError("not a text")
    os.fsencode(joined)  # UnicodeEncodeError is a ValueError
    return values


def paths(values: Column) -> Sequence[RootPath]:
    """Read paths inside a root; they must be normal already, none is made so here."""
    if not _PATHS("\0".join([*texts(values), ""])):
        raise ValueError("not a normal path inside a root")
    return list(map(RootPath, values))


def sums(values: Column) -> Sequence[str]:
    """Read SHA-256 sums in lower-case hexadecimal."""
    if not all(map(_SHA256, texts(values))):
        raise ValueError("not a SHA-256")
    return values


def blobs(values: Column) -> Sequence[bytes]:
    """Read bytes, written in base64."""
    return [base64.b64decode(value, validate=True) for value in texts(values)]


def numbers(low: int, high: int) -> ColumnReader[int]:
    """Return a reader of whole numbers from ``low`` to ``high``."""

    def read_numbers(values: Column) -> Sequence[int]:
        if values and (set(map(type, values)) != {int} or min(values) < low or max(values) > high):
            raise ValueError(f"not a number from {low} to {high}")
        return values

    return read_numbers


def choices(known: Mapping[str, T]) -> ColumnReader[T]:
    """Return a reader of the texts in ``known``, as what they stand for."""

    def read_choices(values: Column) -> list[T]:
        try:
            return [known[value] for value in texts(values)]
        except KeyError as error:
            raise ValueError(f"there is no such value: {shown(error.args[0])}") from error

    return read_choices
