"""What earlier runs found out, in an sqlite database in the store.

It is done without where it cannot be used, never an error; a broken one is removed so that the next run makes
a new one. Several processes may use one at once.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar, Self

if TYPE_CHECKING:
    import sqlite3

_PATIENCE = 5.0  # seconds that another process may keep the database locked


class Memory:
    """A table that is remembered from run to run; ``file`` None remembers nothing."""

    schema: ClassVar[str]
    """Makes the table if it is not there."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._database: sqlite3.Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the database; nothing is remembered from then on."""
        self._file = None
        if self._database is not None:
            self._database.close()
            self._database = None

    def with_database(self, action: "Callable[[sqlite3.Connection], None]") -> bool:
        """Do something with the database; False, and never again, if that does not work."""
        if self._file is None:
            return False
        import sqlite3

        try:
            if self._database is None:
                self._database = sqlite3.connect(self._file, timeout=_PATIENCE)
                self._database.execute(self.schema)
            action(self._database)
        except sqlite3.OperationalError:  # locked for too long, not writable, no space, no such directory
            self.close()
        except (sqlite3.DatabaseError, ValueError, TypeError):
            self._remove()
        return self._file is not None

    def _remove(self) -> None:
        """Remove a broken database."""
        file = self._file
        self.close()
        if file is not None:
            with suppress(OSError):
                os.unlink(file)
