"""Programs, scripts and libraries, followed to what they need by any kind of linker."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from partialroot.closure import openers
from partialroot.closure.elf import Elf
from partialroot.closure.files import Files, Found
from partialroot.closure.linker import Linkers
from partialroot.closure.linker.common import Absent, Library, Loading
from partialroot.closure.linker.kinds import ISALIST
from partialroot.closure.result import Closure, Collector
from partialroot.nodes import FileType, Reason
from partialroot.paths import STANDARD_PATH, RootPath

if TYPE_CHECKING:
    from partialroot.closure.linker import AnyLinker

STANDARD_PATH_OF_ILLUMOS = ("/usr/sbin", "/usr/bin")
"""STANDARD_PATH on illumos (su(8), SUPATH); /sbin and /bin have nothing that is not there too."""

ISAEXEC = "/usr/lib/isaexec"
"""The program that is linked to the name of each that exists for several instruction sets."""

EXCLUDED = " (excluded)"
_RUNNING = ("interpreter", "script", "isaexec")
_Kind = TypeVar("_Kind", bound="AnyLinker")


class Wanted(NamedTuple):
    """A path the zone shall have, why, and how bad it is if what it needs is not there (error or warning)."""

    path: RootPath
    reason: Reason
    severity: str = "error"


class Job(NamedTuple):
    """Something to be had by name. ``depth`` counts the scripts that interpret scripts."""

    name: str
    reason: Reason
    rule: str
    severity: str
    depth: int = 0


class Following:
    """One closure on its way. ``libraries`` are all objects met, with the linker that loads them.

    ``notes`` says whether what is opened at run time is followed.
    """

    def __init__(self, files: Files, notes: bool, lean: bool, result: Collector) -> None:
        self.files = files
        self.result = result
        self.libraries: dict[RootPath, tuple[AnyLinker, Library]] = {}
        self._linkers = Linkers(files, lean)
        self.notes = notes
        self._seen: set[RootPath] = set()
        self._edges: set[tuple[str, str, bool]] = set()

    @property
    def is_sunos(self) -> bool:
        """Whether the source is illumos."""
        return self._linkers.is_sunos

    def closure(self) -> Closure:
        """Return what was found, and warn of what could not be read."""
        for path, message in self.files.troubles.items():
            self.result.warn(f"{path}: {message}")
        return self.result.closure()

    def follow(self, jobs: Iterable[Job]) -> None:
        """Add what the jobs name and all that needs; first where a lack is an error, for it is noted once."""
        todo = deque(sorted(jobs, key=lambda job: job.severity != "error"))
        while todo:
            job = todo.popleft()
            todo.extendleft(self._do(job))

    def open(
        self, linker: "AnyLinker", name: str, reason: Reason, severity: str, *, now: bool = False
    ) -> Library | None:
        """Add a module that is opened at run time (``now``: with RTLD_NOW), with its needs."""
        loading = self._linkers.load(linker)
        library = loading.open(name, reason.rule, reason.origin, now=now)
        self._collect(linker, loading, severity)
        return library

    def add(self, path: str, reason: Reason) -> None:
        """Add a file that is only read, if it is there."""
        found = self.files.file(path)
        if found is not None:
            self.result.add(found, reason.rule, reason)

    def linkers_with(self, kind: type[_Kind], name: str) -> list[_Kind]:
        """Return the linkers of a kind whose library of that name is in the zone."""
        linkers = [linker for linker in self._linkers if isinstance(linker, kind)]
        libraries = [(linker, linker.search(name, (), False).library) for linker in linkers]
        return [linker for linker, library in libraries if library and library.found.real in self.result]

    def real(self, origin: str) -> str:
        """Return the canonical path of what refers to something; places in profiles stay as they are."""
        found = self.files.file(origin)
        return origin if found is None else found.real

    def _do(self, job: Job) -> list[Job]:
        """Do one job, and return those it leads to."""
        found = self.files.find(job.name)
        text = self.files.texts.get(RootPath(job.name) if found is None else found.real)
        if text is not None:
            return self._script(text, job.name if found is None else found.real, job)
        if found is None:
            self._miss(job)
            return []
        self.result.add(found, job.rule, job.reason)
        if found.node.type is not FileType.FILE or found.real in self._seen:
            return []
        self._seen.add(found.real)
        if job.rule in _RUNNING and not found.node.mode & 0o111:
            self.result.warn(
                f"{found.real}: cannot be run, and runs {job.reason.origin}: it is not executable"
            )
        elf, head = self.files.content(found)
        if elf is not None and job.rule != "interpreter":
            elf = self._linkers.as_loaded(found, elf)
            self._link(found, elf, job.severity)
            return self._instruction_sets(found, elf, job.severity)
        return self._script(head, found.real, job) if head and found.node.mode & 0o111 else []

    def _miss(self, job: Job) -> None:
        """Note that a job's file is not there; leaving out what is wanted itself is no news."""
        if job.name not in self.files.shut:
            self.result.miss(job.name, job.reason.origin, job.severity)
        elif job.rule != "wanted":
            self.result.miss(job.name, job.reason.origin, "warning", EXCLUDED)

    def _script(self, head: bytes, origin: str, job: Job) -> list[Job]:
        """Return what a script needs: its interpreter and, if that is env, the program env runs."""
        from partialroot.closure.scripts import DEEPEST, shebang, shebang_of_illumos

        line = shebang_of_illumos(head) if self.is_sunos else shebang(head)
        if line is None:
            return []
        if job.depth == DEEPEST:
            self.result.warn(f"{origin}: the kernel does not run it, too many scripts are run by scripts")
            return []
        reason = Reason("script", origin)
        jobs = [Job(line.interpreter, reason, "script", job.severity, job.depth + 1)]
        if line.program is not None:
            jobs.append(Job(self._on_path(line.program), reason, "script", job.severity, job.depth + 1))
        return jobs

    def _on_path(self, program: str) -> str:
        """Return the path of a program, or its bare name when it is nowhere."""
        if "/" in program:
            return program
        for directory in STANDARD_PATH_OF_ILLUMOS if self.is_sunos else STANDARD_PATH:
            found = self._executable(f"{directory}/{program}")
            if found is not None:
                return found.name
        return program

    def _executable(self, path: str) -> Found | None:
        found = self.files.file(path)
        return found if found is not None and found.node.mode & 0o111 else None

    def _instruction_sets(self, found: Found, elf: Elf, severity: str) -> list[Job]:
        """Return what a link to isaexec runs: the best that is there (libc, gen/isaexec.c).

        A copy of isaexec, or a program that calls it itself, may do without.
        """
        if not self.is_sunos or found.real == ISAEXEC:
            return []
        original = self.files.file(ISAEXEC)
        is_link = original is not None and _inode(original) == _inode(found)
        if not (is_link or elf.opens & openers.ISAEXEC):
            return []
        places = [f"{found.real.parent}/{isa}/{found.real.name}" for isa in ISALIST]
        for place in filter(self._executable, places):
            return [Job(place, Reason("isaexec", found.real), "isaexec", severity)]
        if is_link:
            self.result.miss(places[0], found.real, severity)
        return []

    def _link(self, found: Found, elf: Elf, severity: str) -> None:
        """Add what a program, or a library on its own, gets loaded."""
        for name in self._linkers.names_of_interpreter(elf, found):
            self._do(Job(name, Reason("interpreter", found.real), "interpreter", severity))
        if not (elf.interpreter or elf.needs or elf.dlopen):
            return
        linker = self._linkers.of(elf)
        if linker is None:
            self.result.warn(f"{found.real}: what its dynamic linker {elf.interpreter} loads is not known")
            return
        library = Library(found._replace(name=found.real), elf)
        self.libraries.setdefault(found.real, (linker, library))
        loading = self._linkers.load(linker)
        loading.start(library)
        self._collect(linker, loading, severity, is_library=elf.interpreter is None)

    def _collect(
        self, linker: "AnyLinker", loading: Loading, severity: str, *, is_library: bool = False
    ) -> None:
        """Take over what a map holds. A lack is at most a warning for what is opened at run time.

        What a library on its own needs may be loaded already by the program that opens it.
        """
        if self.notes:
            loading.follow_openings()
        for rule, origin, library, variant in loading.edges:
            key = (origin, library.found.name, variant)
            if key not in self._edges:
                self._edges.add(key)
                self.libraries.setdefault(library.found.real, (linker, library))
                self.result.add(library.found, rule, Reason(rule, origin), variant=variant)
                self._configured(library)
        for absent in loading.absent:
            is_mild = absent.soft or absent.rule == "dlopen"
            self._lack(absent, "warning" if is_mild else severity, is_library)

    def _configured(self, library: Library) -> None:
        """Add what the linker needs to find a library again."""
        if library.entry is not None:
            self.result.cache(library.entry)
        if library.config is not None:
            self.result.add(library.config, "needed", Reason("needed", library.found.real))

    def _lack(self, absent: Absent, severity: str, perhaps: bool) -> None:
        refused, shut = absent.choice.refused, absent.choice.shut
        if shut:
            self.result.miss(absent.name, absent.origin, "warning", EXCLUDED)
        elif severity or absent.rule != "pam":
            remark = f" ({refused} is no ELF object, or damaged)" if refused else absent.remark
            self.result.miss(absent.name, absent.origin, severity or "warning", remark, perhaps=perhaps)


def _inode(found: Found) -> tuple[int, int]:
    return found.node.dev, found.node.ino


def grown(libraries: "dict[RootPath, tuple[AnyLinker, Library]]") -> "Iterator[tuple[AnyLinker, Library]]":
    """Yield all libraries, and those that are added meanwhile."""
    seen: set[RootPath] = set()
    while len(seen) < len(libraries):
        for path in [path for path in libraries if path not in seen]:
            seen.add(path)
            yield libraries[path]
