"""A process that lives in a zone, whichever system tells of it."""

from typing import NamedTuple


class Process(NamedTuple):
    """A process by its number here (not in the zone's pid namespace), and its command line as one text.

    The process chose that text: make it terminal-safe before it is shown.
    """

    pid: int
    command: str
