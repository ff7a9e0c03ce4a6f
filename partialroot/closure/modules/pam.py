"""Linux-PAM: which files and modules a service consists of (pam.conf(5), libpam/pam_handlers.c)."""

import re
from collections.abc import Callable
from typing import NamedTuple

DIRECTORIES = ("/etc/pam.d", "/usr/lib/pam.d")
"""Where a service's file is looked for: the administrator's, then the vendor's."""

SINGLE_FILE = "/etc/pam.conf"
"""Read only where there is no /etc/pam.d; its lines begin with a service's name."""

OTHER = "other"
LIBRARY = "libpam.so.0"

_RULE = r"(?i)(-?)(?:auth|account|password|session)\s+(\[[^]]*\]|\S+)\s+(\S+)\s*(.*)"
_SECURITY = rb"\0(/[\w.+/-]{1,255}/security)/\0"
_PROGRAM = rb"(?:/usr)?/s?bin/(?:\w{1,99}_(?:chkpwd|helper|update)|xauth)"
_USED = rb"(?<=\0)(?:" + _PROGRAM + rb"|/etc/security/[\w.+-]{1,99}\.conf)(?=\0)"
_UNKNOWN_IS_FINE = r"\bmodule_unknown=(?:ignore|ok)\b"


class Step(NamedTuple):
    """A line of a stack. ``module`` is a name or path; ``severity`` "" says nothing when it is not there."""

    origin: str
    module: str
    severity: str
    arguments: tuple[str, ...]


class Stack(NamedTuple):
    """All that a service names: ``files`` as (path, what refers to it), the steps, and files not found."""

    files: tuple[tuple[str, str], ...]
    steps: tuple[Step, ...]
    absent: tuple[tuple[str, str], ...]


def stack(service: str, where: str, read: Callable[[str], str | None]) -> Stack:
    """Return all that a service consists of; ``read`` returns a file's text, None if there is none."""
    reading = _Reading(read)
    reading.service(service, where)
    return Stack(tuple(reading.files.items()), tuple(reading.steps), tuple(reading.absent.items()))


def security_directory(library: bytes) -> str | None:
    """Return where libpam, whose bytes these are, looks for modules."""
    found = re.search(_SECURITY, library)
    return found[1].decode("ascii") if found else None


def used_files(module: bytes) -> tuple[str, ...]:
    """Return the helper programs and the files of /etc/security that a module has built in."""
    return tuple(dict.fromkeys(text.decode("ascii") for text in re.findall(_USED, module)))


def command(step: Step) -> str | None:
    """Return the program that pam_exec is told to run."""
    if step.module.rpartition("/")[2] != "pam_exec.so":
        return None
    return next((word for word in step.arguments if word.startswith("/")), None)


class _Reading:
    """Follows includes, each file once."""

    def __init__(self, read: Callable[[str], str | None]) -> None:
        self.files: dict[str, str] = {}
        self.steps: list[Step] = []
        self.absent: dict[str, str] = {}
        self._read = read

    def service(self, name: str, where: str) -> None:
        """Read a service's file, or its lines of the single file."""
        if self._file(name, where):
            return
        text = self._read(SINGLE_FILE)
        lines = [rest for first, rest in map(_first_word, _lines(text or "")) if first == name]
        if lines:
            self.files.setdefault(SINGLE_FILE, where)
            self._steps(lines, SINGLE_FILE)
        else:
            self.absent.setdefault(f"{DIRECTORIES[0]}/{name}", where)

    def _file(self, name: str, where: str) -> bool:
        paths = [name] if name.startswith("/") else [f"{directory}/{name}" for directory in DIRECTORIES]
        for path in paths:
            if path in self.files:
                return True
            text = self._read(path)
            if text is not None:
                self.files[path] = where
                self._steps(_lines(text), path)
                return True
        return False

    def _steps(self, lines: list[str], path: str) -> None:
        for line in lines:
            first, rest = _first_word(line)
            rule = re.match(_RULE, line)
            if first == "@include":
                self._include(rest, path)
            elif rule is not None and rule[2].lower() in ("include", "substack"):
                self._include(rule[3], path)
            elif rule is not None:
                severity = "" if rule[1] else _severity(rule[2].lower())
                self.steps.append(Step(path, rule[3], severity, tuple(rule[4].split())))

    def _include(self, name: str, path: str) -> None:
        if not self._file(name, path):
            self.absent.setdefault(name if name.startswith("/") else f"{DIRECTORIES[0]}/{name}", path)


def _severity(control: str) -> str:
    """What it means that a module is missing: libpam takes it for one that fails with PAM_MODULE_UNKNOWN."""
    if re.search(_UNKNOWN_IS_FINE, control):
        return ""
    return "warning" if control in ("optional", "sufficient") else "error"


def _lines(text: str) -> list[str]:
    """Return the lines without comments; a backslash at the end joins two."""
    joined = text.replace("\\\n", " ")
    return [line for line in (line.partition("#")[0].strip() for line in joined.splitlines()) if line]


def _first_word(line: str) -> tuple[str, str]:
    first, _, rest = line.replace("\t", " ").partition(" ")
    return first, rest.strip()
