"""What illumos' dynamic linker loads for a program: sgs/rtld, analyze.c and elf.c.

Every need is searched for with the path of the object that has it; what was loaded before is recognised by
its inode only, not by its name. Most needs of illumos' own objects are lazy: loaded when they are first used.
"""

from collections import deque
from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from partialroot.closure import openers
from partialroot.closure.elf import Need
from partialroot.closure.linker.common import SET_ID, Absent, Choice, Edge, Library
from partialroot.closure.linker.sunos import Sunos
from partialroot.paths import RootPath

_OPENED = {"nss_dns.so.1": "libresolv.so.2"}  # nsswitch/dns/common/dns_mt.c
_DIGESTS = "libmd.so.1"


class SunosMap:
    """What one program, or one module on its own, gets loaded; with ``lean`` without lazy needs.

    Where all is bound at start-up nothing is lazy: by an object's own word (ld -z now), and by that of who
    loads it, for the mode is handed down (analyze.c, update_mode). Only deferred needs still wait.

    ``edges`` says what needs what, each thing after what first needs it; ``absent`` what is not there.
    """

    def __init__(self, linker: Sunos, lean: bool) -> None:
        self.edges: list[Edge] = []
        self.absent: list[Absent] = []
        self._linker = linker
        self._lean = lean
        self._secure = False
        self._trusted = {*linker.secure}
        self._known: dict[tuple[int, int], Library] = {}
        self._hard: deque[Library] = deque()
        self._soft: deque[Library] = deque()
        self._now: set[RootPath] = set()
        self._followed: set[tuple[RootPath, bool]] = set()

    def start(self, library: Library) -> None:
        """Begin with a program, or with a library as if it were one; the linker itself loads nothing.

        Its own needs are for debugging only (rtld/Makefile.com).
        """
        interpreter = self._linker.interpreter
        if interpreter is not None and interpreter.real == library.found.real:
            return
        self._secure = bool(library.found.node.mode & SET_ID)
        self._add(library, soft=False, now=self._linker.bind_now)
        if library.elf.interpreter is not None and not self._secure:
            for name in self._linker.preload:
                need = Need("needed", name)
                self._follow(need, self._choices(need, library), library, False, self._linker.bind_now)
        self._run()

    def open(self, name: str, rule: str, origin: str, *, now: bool = False) -> Library | None:
        """Load what libc opens by name at run time (dlopen), and all it needs."""
        choice = self._linker.open(name) if "/" in name else self._linker.search(name, (), False)
        if choice.library is None:
            self.absent.append(Absent(rule, origin, name, choice))
        else:
            self._take(choice, rule, origin, soft=False, now=now or self._linker.bind_now)
            self._run()
        return choice.library

    def follow_openings(self) -> None:
        """Load what is known to be opened at run time, and does not work without."""
        for library in list(self._known.values()):
            name = _OPENED.get(library.found.real.name)
            if name is None and library.elf.opens & openers.DIGESTING:
                name = _DIGESTS
            if name is not None:
                self.open(name, "dlopen", library.found.real)

    def _run(self) -> None:
        """Load the needs of all that is known, but for what other programs have shown to be complete.

        What is absent may be among what others load: then all is loaded, to know.
        """
        passed = self._follow_all(frozenset() if self._secure else self._linker.complete)
        if self.absent:
            self._soft += passed
            self._follow_all(frozenset())
        elif not self._secure and not any(edge.variant for edge in self.edges):
            self._linker.complete |= self._followed
        self.absent = [self._loaded_before(one) for one in self.absent]

    def _follow_all(self, complete: AbstractSet[tuple[RootPath, bool]]) -> list[Library]:
        """Load needs: first where a lack stops the program from starting. Return the objects passed over."""
        passed = []
        while self._hard or self._soft:
            soft = not self._hard
            library = (self._soft if soft else self._hard).popleft()
            real = library.found.real
            now = library.elf.now or real in self._now
            if (real, now) in self._followed or (real, True) in self._followed:
                continue
            if (real, now) in complete or (real, True) in complete:
                passed.append(library)
                continue
            self._followed.add((real, now))
            for need, choices in self._needs(library):
                waits = need.when == "deferred" or bool(need.when and not now)
                if waits and self._lean:
                    waits = need.when == "deferred" or need.name not in self._linker.bound_at_start(library)
                if not (waits and self._lean):
                    self._follow(need, choices, library, soft or waits, now)
        return passed

    def _needs(self, library: Library) -> Iterable[tuple[Need, list[Choice]]]:
        """Return what an object needs and where that is found.

        That is the same in every program, except in those with set-id: there it depends on what is loaded.
        """
        needs = library.elf.needs
        if self._secure:
            return ((need, self._choices(need, library)) for need in needs)
        known = self._linker.needs.get(library.found.real)
        if known is None:
            known = [(need, self._choices(need, library)) for need in needs]
            self._linker.needs[library.found.real] = known
        return known

    def _choices(self, need: Need, caller: Library) -> list[Choice]:
        """Find what one need names: a filter, or an audit, may name several objects."""
        if need.kind == "needed":
            return [self._choose(need.name, caller)]
        names = [name for name in need.name.split(":") if not self._linker.is_interpreter(name)]
        return [self._choose(name, caller) for name in names]

    def _follow(self, need: Need, choices: list[Choice], caller: Library, soft: bool, now: bool) -> None:
        """Load what a need leads to: of a filter's objects one at least must be there.

        Without its audit libraries a program runs, unwatched.
        """
        origin = caller.found.real
        rule = "needed" if need.kind in ("needed", "audit") else "filter"
        soft |= need.kind == "audit"
        for choice in choices:
            self._take(choice, rule, origin, soft, now)
        if need.kind == "audit":
            self._linker.files.troubles[origin] = f"is watched by the audit library {need.name}"
        if choices and need.kind != "auxiliary" and not any(choice.library for choice in choices):
            self.absent.append(Absent(rule, origin, need.name, choices[0], soft))

    def _choose(self, text: str, caller: Library) -> Choice:
        """Return the first that is there of what a name with tokens stands for."""
        choice = Choice(None)
        for name in self._linker.expand(text, caller.found.real.parent):
            choice = self._open(name, "$ORIGIN" in text) if "/" in name else self._search(name, caller)
            if choice.library is not None:
                break
        return choice

    def _search(self, name: str, caller: Library) -> Choice:
        """Search for a bare name, along the path of the object that needs it.

        In a set-id program, what moves with the object counts only if it is trusted (util.c, security), or a
        need was found there (analyze.c, load_file; paths.c, is_path_secure): where that matters it is told.
        """
        linker, path, no_default = self._linker, caller.elf.last_path, caller.elf.no_default
        elements = [] if path is None else list(linker.elements(path, caller.found.real.parent))
        usual = linker.search(name, tuple(one.directory for one in elements), no_default)
        if not self._secure or usual.library is None:
            return usual
        counting = (one.directory for one in elements if not one.moves or one.directory in self._trusted)
        choice = linker.search(name, tuple(counting), no_default)
        if choice.library is None or choice.library.found.real != usual.library.found.real:
            self._tell_distrusted(usual.library)
        return choice

    def _open(self, path: str, moves: bool) -> Choice:
        """Take a need that is named by its path, by the same rule for what ``moves`` with the object."""
        choice = self._linker.open(path)
        directory = path.rpartition("/")[0]
        if choice.library is None or not (self._secure and moves) or directory in self._trusted:
            return choice
        self._tell_distrusted(choice.library)
        return Choice(None)

    def _tell_distrusted(self, library: Library) -> None:
        self._linker.files.troubles[library.found.real] = (
            "is not taken by a set-id program, which trusts no $ORIGIN"
        )

    def _take(self, choice: Choice, rule: str, origin: str, soft: bool, now: bool) -> None:
        for library in () if choice.library is None else (choice.library, *choice.variants):
            known = self._add(library, soft, now)
            self._trusted |= {library.found.name.rpartition("/")[0], str(library.found.real.parent)}
            other = known.found.real != library.found.real
            self.edges.append(Edge(rule, origin, library, other or library is not choice.library))

    def _add(self, library: Library, soft: bool, now: bool) -> Library:
        """Return the object that a file is, perhaps one loaded before; what can wait is followed last."""
        node = library.found.node
        known = self._known.setdefault((node.dev, node.ino), library)
        if now:
            self._now.add(known.found.real)
        (self._soft if soft else self._hard).append(known)
        return known

    def _loaded_before(self, absent: Absent) -> Absent:
        """After the search has failed a name is compared with the names of all that is loaded (load_so).

        Whether that is loaded before depends on the order, so the object is not relied on without a word.
        """
        for library in () if absent.remark else self._known.values():
            if absent.name in (library.found.name.rpartition("/")[2], library.found.real.name):
                self.edges.append(Edge(absent.rule, absent.origin, library))
                remark = f" (only because {library.found.real} is loaded by others)"
                return absent._replace(soft=True, remark=remark)
        return absent
