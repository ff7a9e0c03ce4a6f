"""Every way partialroot says no: one exception class per kind, each with its exit code.

The exit codes are part of the command line's contract: 1 failed after starting and undone,
2 refused before anything was touched, 3 busy or earlier work that could not be recovered.
Findings (exit 5) are results, not errors.
"""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple


class Missing(NamedTuple):
    """Something wanted or needed that the source does not have.

    ``severity`` is ``error`` (nothing is built) or ``warning`` (built without it); ``package`` names
    the package that would supply it, where the package database knows.
    """

    name: str
    needed_by: str
    severity: str
    package: str | None = None


class PartialRootError(Exception):
    """What went wrong, where, and what to do about it.

    ``message`` says what and why in one sentence, ``path`` where, ``hint`` what to do next; ``missing`` has
    what the source lacks besides, where that is known.
    """

    kind: ClassVar[str] = "failed"
    code: ClassVar[int] = 1

    def __init__(self, message: str, *, path: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.path = None if path is None else str(path)
        self.hint = hint
        self.missing: tuple[Missing, ...] = ()

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{where}{self.message}{hint}"


class UsageError(PartialRootError):
    """The command line asks for something that is not there."""

    kind, code = "usage", 2


class ProfileError(PartialRootError):
    """A profile cannot be read, or contradicts itself or another."""

    kind, code = "profile", 2


class SourceError(PartialRootError):
    """The source (its files, its package database) cannot be used as it is."""

    kind, code = "source", 2


class MissingError(PartialRootError):
    """Something wanted or needed is not in the source; all of it, at once."""

    kind, code = "missing", 2

    def __init__(self, missing: Sequence[Missing]) -> None:
        lines = [f"{m.name} (needed by {m.needed_by})" for m in missing]
        packages = sorted({m.package for m in missing if m.package})
        hint = f"install {', '.join(packages) or 'what is missing'}, or leave out what needs it"
        if any(one.needed_by.partition(":")[0].endswith((".pkgs", ".dirs", ".files")) for one in missing):
            hint += "; --keep-going leaves out what mvi's lists name and the source lacks, as zmvix.sh does"
        super().__init__("missing from the source: " + ", ".join(lines), hint=hint)
        self.missing = tuple(missing)


class ZonepathError(PartialRootError):
    """The zonepath is refused."""

    kind, code = "zonepath", 2


class StoreError(PartialRootError):
    """The store cannot be trusted or used."""

    kind, code = "store", 2


class ConflictError(PartialRootError):
    """Two wishes cannot both be fulfilled."""

    kind, code = "conflict", 2


class SpaceError(PartialRootError):
    """Not enough bytes or inodes for what would be written."""

    kind, code = "space", 2


class NoReceiptError(PartialRootError):
    """There is no receipt of ours where one is needed, or it cannot be read."""

    kind, code = "no-receipt", 2


class TraceError(PartialRootError):
    """What programs do cannot be watched here."""

    kind, code = "trace", 2


class ApplyError(PartialRootError):
    """An effect failed; what had been done was undone."""

    kind, code = "failed", 1


class BootError(PartialRootError):
    """The zone could not be started or stopped."""

    kind, code = "boot", 1


class BusyError(PartialRootError):
    """Somebody else works on it, or a zone runs."""

    kind, code = "busy", 3
