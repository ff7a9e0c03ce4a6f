"""What Linux' libraries open by configuration: name services of glibc, and Linux-PAM."""

from collections.abc import Iterable

from partialroot.closure.following import Following, Job
from partialroot.closure.linker.glibc import Glibc
from partialroot.closure.linker.musl import Musl
from partialroot.closure.modules import nss, pam
from partialroot.nodes import Item, Reason

_GLIBC, _MUSL = "libc.so.6", "libc.so"


def name_services(walk: Following, databases: Iterable[Item], nsswitch: str) -> None:
    """Add the modules that look up the databases, for every linker whose libc is there."""
    wanted = [(one, item.where) for item in databases for one in nss.services(nsswitch, item.text)]
    for linker in walk.linkers_with(Glibc, _GLIBC):
        for service, where in wanted:
            if not nss.is_built_in(service, linker.rtld.release):
                walk.open(linker, nss.module(service), Reason("nss", where), "warning")


def pluggable_modules(walk: Following, services: Iterable[Item]) -> None:
    """Add the PAM files, modules and what those run and read, for the services and for ``other``.

    libpam reads the stacks of ``other`` too, and uses them for a service that has none.
    """
    linkers = _linkers(walk)
    for item in services:
        stack = pam.stack(item.text, item.where, walk.files.text)
        other = pam.stack(pam.OTHER, item.where, walk.files.text)
        for path, origin in stack.absent:
            walk.result.miss(path, origin, "error" if stack.files or not other.files else "warning")
        _stack(walk, linkers, stack)
        _stack(walk, linkers, other)


def _linkers(walk: Following) -> list[Glibc | Musl]:
    """Return the linkers whose libpam is in the zone; else all, as a program may open it later."""
    with_pam = _linkers_with(walk, pam.LIBRARY, pam.LIBRARY)
    return with_pam or _linkers_with(walk, _GLIBC, _MUSL)


def _linkers_with(walk: Following, glibc: str, musl: str) -> list[Glibc | Musl]:
    return [*walk.linkers_with(Glibc, glibc), *walk.linkers_with(Musl, musl)]


def _stack(walk: Following, linkers: Iterable[Glibc | Musl], stack: pam.Stack) -> None:
    """Add what there is of one service's files, and its modules."""
    for path, origin in stack.files:
        walk.add(path, Reason("pam", walk.real(origin)))
    for linker in linkers:
        for step in stack.steps:
            _module(walk, linker, step)


def _module(walk: Following, linker: Glibc | Musl, step: pam.Step) -> None:
    name = step.module.rpartition("/")[2] if "$ISA" in step.module else step.module
    path = name if name.startswith("/") else f"{_security(walk, linker)}/{name}"
    library = walk.open(linker, path, Reason("pam", walk.real(step.origin)), step.severity)
    if library is not None:
        used = pam.used_files(walk.files.data(library.found))
        reason = Reason("pam", library.found.real)
        walk.follow(Job(one, reason, "pam", "warning") for one in used if walk.files.file(one))
    command = pam.command(step)
    if command is not None:
        walk.follow([Job(command, Reason("pam", walk.real(step.origin)), "pam", step.severity or "warning")])


def _security(walk: Following, linker: Glibc | Musl) -> str:
    """Return where a linker's libpam looks for modules: it is built into it."""
    library = linker.search(pam.LIBRARY, (), False).library
    built_in = library and pam.security_directory(walk.files.data(library.found))
    return built_in or f"{linker.default_directory}/security"
