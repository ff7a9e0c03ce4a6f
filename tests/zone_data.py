"""The tables in tests/data/illumos."""

import gzip
from collections.abc import Iterator
from pathlib import Path

DATA = Path(__file__).parent / "data/illumos"


def table(name: str) -> Iterator[list[str]]:
    """Yield the rows of a table: columns separated by tabs."""
    place = DATA / name
    text = gzip.decompress(place.read_bytes()) if place.suffix == ".gz" else place.read_bytes()
    for line in text.decode().splitlines():
        yield line.split("\t")
