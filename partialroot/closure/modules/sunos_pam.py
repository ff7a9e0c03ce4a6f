"""PAM of illumos: which modules a service's stacks consist of (libpam, pam_framework.c; pam.conf(5)).

For each type of call the lines of the service count, or if it has none those of ``other``. All modules of a
stack are loaded before one is called, so none may be missing, whatever its control flag.
"""

from collections.abc import Callable
from typing import NamedTuple

from partialroot.closure.modules.pam import OTHER, Stack, Step
from partialroot.closure.modules.sunos_conf import SECURITY, module_path

__all__ = ["module_path", "stack"]

CONFIGURATION = "/etc/pam.conf"
DIRECTORY = "/etc/pam.d"
"""Files of services: illumos-gate has none, but distributions may; those of pam.conf come first."""

_TYPES = ("auth", "account", "session", "password")
_DEEPEST = 32


class _Line(NamedTuple):
    type: str
    control: str
    module: str
    arguments: tuple[str, ...]


def stack(service: str, where: str, read: Callable[[str], str | None]) -> Stack:
    """Return all that a service consists of; ``read`` returns a file's text, None if there is none."""
    reading = _Reading(service, read)
    for type_ in _TYPES:
        reading.stack_of(type_, where)
    absent = () if reading.files else ((CONFIGURATION, where),)
    return Stack(tuple(reading.files.items()), tuple(reading.steps), (*absent, *reading.absent.items()))


class _Reading:
    """Follows includes."""

    def __init__(self, service: str, read: Callable[[str], str | None]) -> None:
        self.files: dict[str, str] = {}
        self.steps: dict[Step, None] = {}
        self.absent: dict[str, str] = {}
        self._included: set[tuple[str, str]] = set()
        self._service = service.lower()
        self._read = read

    def stack_of(self, type_: str, where: str) -> None:
        """Read the stack of one type: of the service, else of ``other``."""
        for service in (self._service, OTHER):
            for path, has_services in ((CONFIGURATION, True), (f"{DIRECTORY}/{service}", False)):
                chosen = self._lines(path, where, type_, service if has_services else None)
                if chosen:
                    self._steps(chosen, path, 0)
                    return

    def _steps(self, lines: list[_Line], path: str, depth: int) -> None:
        for line in lines:
            if line.control != "include":
                self.steps[Step(path, line.module, "error", line.arguments)] = None
            elif depth < _DEEPEST and (line.type, line.module) not in self._included:
                self._included.add((line.type, line.module))
                self._include(line, path, depth)

    def _include(self, line: _Line, path: str, depth: int) -> None:
        """Go on in another file, of the same form; there, too, the service's lines come before ``other``."""
        name = line.module if line.module.startswith("/") else f"{SECURITY}/{line.module}"
        if self._read(name) is None:
            self.absent.setdefault(name, path)
            return
        for service in (self._service, OTHER):
            chosen = self._lines(name, path, line.type, service)
            if chosen:
                self._steps(chosen, name, depth + 1)
                return

    def _lines(self, path: str, where: str, type_: str, service: str | None) -> list[_Line]:
        """Return a file's lines of a type, and of a ``service`` where that is the first column.

        Case makes no difference in both columns.
        """
        text = self._read(path)
        if text is None:
            return []
        self.files.setdefault(path, where)
        lines = []
        for words in (line.partition("#")[0].split() for line in text.splitlines()):
            if service is not None:
                words = words[1:] if words and words[0].lower() == service else []
            if len(words) > 2 and words[0].lower() == type_:
                lines.append(_Line(type_, words[1].lower(), words[2], tuple(words[3:])))
        return lines
