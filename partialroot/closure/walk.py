"""From what is wanted to all that must be there with it, over linkers, scripts and modules."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from partialroot.closure.elf import Elf
from partialroot.closure.files import Files, Found
from partialroot.closure.linker import Linkers
from partialroot.closure.linker.glibc import Glibc, Library
from partialroot.closure.linker.load import Absent, LinkMap
from partialroot.closure.modules import nss as nss_modules
from partialroot.closure.modules import pam as pam_modules
from partialroot.closure.result import Closure, Collector
from partialroot.closure.scripts import DEEPEST, shebang
from partialroot.model import FileType, Item, Reason
from partialroot.paths import RootPath
from partialroot.source.tree import Tree

STANDARD_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
"""Where env looks for programs: the PATH that root has on Debian (login.defs, ENV_SUPATH)."""

LIBC = "libc.so.6"
EXCLUDED = " (excluded)"


class Wanted(NamedTuple):
    """A path the zone shall have, why, and how bad it is if what it needs is not there (error or warning)."""

    path: RootPath
    reason: Reason
    severity: str = "error"


def closure(
    tree: Tree,
    wanted: Iterable[Wanted],
    *,
    nss: Iterable[Item] = (),
    pam: Iterable[Item] = (),
    nsswitch: str | None = None,
    texts: Mapping[RootPath, bytes] | None = None,
    excluded: Callable[[RootPath], bool] = lambda path: False,
    notes: bool = True,
    supplier: Callable[[str], str | None] = lambda name: None,
) -> Closure:
    """Return what is wanted with all that it needs at run time.

    ``nss`` names databases (``passwd``), ``pam`` services (``login``). ``nsswitch`` and ``texts`` are what
    the zone has instead of the source's files, or besides them. What is ``excluded`` is not there for any
    search. ``notes`` says whether what is opened at run time is followed, ``supplier`` which package has a
    missing thing. What is damaged or cannot be read is in the warnings.
    """
    walk = _Walk(Files(tree, excluded, texts or {}), notes, Collector(supplier))
    walk.follow(_Job(one.path, one.reason, "wanted", one.severity) for one in wanted)
    walk.name_services(nss, nsswitch or "")
    walk.pluggable_modules(pam)
    return walk.closure()


class _Job(NamedTuple):
    """Something to be had by name. ``depth`` counts the scripts that interpret scripts."""

    name: str
    reason: Reason
    rule: str
    severity: str
    depth: int = 0


class _Walk:
    """One closure on its way."""

    def __init__(self, files: Files, notes: bool, result: Collector) -> None:
        self._files = files
        self._linkers = Linkers(files)
        self._notes = notes
        self._result = result
        self._seen: set[RootPath] = set()
        self._edges: set[tuple[str, str, bool]] = set()

    def closure(self) -> Closure:
        """Return what was found, and warn of what could not be read."""
        for path, message in self._files.troubles.items():
            self._result.warn(f"{path}: {message}")
        return self._result.closure()

    def follow(self, jobs: Iterable[_Job]) -> None:
        """Add what the jobs name and all that needs; first where a lack is an error, for it is noted once."""
        todo = deque(sorted(jobs, key=lambda job: job.severity != "error"))
        while todo:
            job = todo.popleft()
            todo.extendleft(self._do(job))

    def name_services(self, databases: Iterable[Item], nsswitch: str) -> None:
        """Add the modules that look up the databases, for every linker whose libc is there."""
        wanted = [
            (one, item.where) for item in databases for one in nss_modules.services(nsswitch, item.text)
        ]
        for linker in self._linkers_with(LIBC):
            for service, where in wanted:
                if not nss_modules.is_built_in(service, linker.rtld.release):
                    self._open(linker, nss_modules.module(service), Reason("nss", where), "warning")

    def pluggable_modules(self, services: Iterable[Item]) -> None:
        """Add the PAM files, modules and what those run and read, for the services and for ``other``.

        libpam reads the stacks of ``other`` too, and uses them for a service that has none.
        """
        for item in services:
            stack = pam_modules.stack(item.text, item.where, self._files.text)
            other = pam_modules.stack(pam_modules.OTHER, item.where, self._files.text)
            for path, origin in stack.absent:
                self._result.miss(path, origin, "error" if stack.files or not other.files else "warning")
            self._stack(stack)
            self._stack(other)

    def _stack(self, stack: pam_modules.Stack) -> None:
        """Add what there is of one service's files, and its modules."""
        for path, origin in stack.files:
            found = self._files.file(path)
            if found is not None:
                self._result.add(found, "pam", Reason("pam", self._real(origin)))
        for linker in self._linkers_with(pam_modules.LIBRARY) or self._linkers_with(LIBC):
            for step in stack.steps:
                self._pluggable_module(linker, step)

    def _do(self, job: _Job) -> list[_Job]:
        """Do one job, and return those it leads to."""
        found = self._files.find(job.name)
        text = self._files.texts.get(RootPath(job.name) if found is None else found.real)
        if text is not None:
            return self._script(text, job.name if found is None else found.real, job)
        if found is None:
            self._miss(job)
            return []
        self._result.add(found, job.rule, job.reason)
        if found.node.type is not FileType.FILE or found.real in self._seen:
            return []
        self._seen.add(found.real)
        elf, head = self._files.content(found)
        if elf is not None:
            self._link(found, elf, job.severity)
        return self._script(head, found.real, job) if found.node.mode & 0o111 else []

    def _miss(self, job: _Job) -> None:
        """Note that a job's file is not there; leaving out what is wanted itself is no news."""
        if job.name not in self._files.shut:
            self._result.miss(job.name, job.reason.origin, job.severity)
        elif job.rule != "wanted":
            self._result.miss(job.name, job.reason.origin, "warning", EXCLUDED)

    def _script(self, head: bytes, origin: str, job: _Job) -> list[_Job]:
        """Return what a script needs: its interpreter and, if that is env, the program env runs."""
        line = shebang(head)
        if line is None:
            return []
        if job.depth == DEEPEST:
            self._result.warn(f"{origin}: Linux does not run it, too many scripts are run by scripts")
            return []
        reason = Reason("script", origin)
        jobs = [_Job(line.interpreter, reason, "script", job.severity, job.depth + 1)]
        if line.program is not None:
            jobs.append(_Job(self._on_path(line.program), reason, "script", job.severity, job.depth + 1))
        return jobs

    def _on_path(self, program: str) -> str:
        """Return the path of a program, or its bare name when it is nowhere."""
        if "/" in program:
            return program
        for directory in STANDARD_PATH:
            found = self._files.file(f"{directory}/{program}")
            if found is not None and found.node.mode & 0o111:
                return found.name
        return program

    def _link(self, found: Found, elf: Elf, severity: str) -> None:
        """Add what a program, or a library on its own, gets loaded."""
        if elf.interpreter is not None:
            reason = Reason("interpreter", found.real)
            self._do(_Job(elf.interpreter, reason, "interpreter", severity))
        if not (elf.interpreter or elf.needs or elf.dlopen):
            return
        linker = self._linkers.of(elf)
        if linker is None:
            self._result.warn(f"{found.real}: what its dynamic linker {elf.interpreter} loads is not known")
            return
        loading = LinkMap(linker)
        loading.start(Library(found._replace(name=found.real), elf))
        self._collect(loading, severity, is_library=elf.interpreter is None)

    def _open(self, linker: Glibc, name: str, reason: Reason, severity: str) -> Library | None:
        """Add a module that is opened at run time, with its needs."""
        loading = LinkMap(linker)
        library = loading.open(name, reason.rule, reason.origin)
        self._collect(loading, severity)
        return library

    def _collect(self, loading: LinkMap, severity: str, *, is_library: bool = False) -> None:
        """Take over what a map holds. A lack is at most a warning for what is opened at run time.

        What a library on its own needs may be loaded already by the program that opens it.
        """
        if self._notes:
            loading.follow_openings()
        for rule, origin, library, variant in loading.edges:
            key = (origin, library.found.name, variant)
            if key not in self._edges:
                self._edges.add(key)
                self._result.add(library.found, rule, Reason(rule, origin), variant=variant)
                if library.entry is not None:
                    self._result.cache(library.entry)
        for absent in loading.absent:
            self._lack(absent, "warning" if absent.rule == "dlopen" else severity, is_library)

    def _lack(self, absent: Absent, severity: str, perhaps: bool) -> None:
        refused, shut = absent.choice.refused, absent.choice.shut
        if shut:
            self._result.miss(absent.name, absent.origin, "warning", EXCLUDED)
        elif severity or absent.rule != "pam":
            remark = f" ({refused} is no ELF object, or damaged)" if refused else ""
            self._result.miss(absent.name, absent.origin, severity or "warning", remark, perhaps=perhaps)

    def _pluggable_module(self, linker: Glibc, step: pam_modules.Step) -> None:
        name = step.module.rpartition("/")[2] if "$ISA" in step.module else step.module
        path = name if name.startswith("/") else f"{self._security(linker)}/{name}"
        library = self._open(linker, path, Reason("pam", self._real(step.origin)), step.severity)
        if library is not None:
            used = pam_modules.used_files(self._files.data(library.found))
            reason = Reason("pam", library.found.real)
            self.follow(_Job(one, reason, "pam", "warning") for one in used if self._files.file(one))
        command = pam_modules.command(step)
        if command is not None:
            self.follow(
                [_Job(command, Reason("pam", self._real(step.origin)), "pam", step.severity or "warning")]
            )

    def _security(self, linker: Glibc) -> str:
        """Return where a linker's libpam looks for modules: it is built into it."""
        library = linker.search(pam_modules.LIBRARY, (), False).library
        built_in = library and pam_modules.security_directory(self._files.data(library.found))
        return built_in or f"{linker.rtld.directories[0]}/security"

    def _linkers_with(self, name: str) -> list[Glibc]:
        """Return the linkers whose library of that name is in the zone."""
        libraries = [(linker, linker.search(name, (), False).library) for linker in self._linkers]
        return [linker for linker, library in libraries if library and library.found.real in self._result]

    def _real(self, origin: str) -> str:
        """Return the canonical path of what refers to something; places in profiles stay as they are."""
        found = self._files.file(origin)
        return origin if found is None else found.real
