"""In which order glibc and musl load what a program needs, and what counts as loaded already.

Breadth first; a filter's objects come right before the one that names them. A name is not searched again
when something loaded is known by it; a file is not loaded twice. Facts: glibc, elf/dl-deps.c; musl,
ldso/dynlink.c.
"""

from typing import TYPE_CHECKING

from partialroot.closure.linker.common import Absent, Choice, Edge, Library

if TYPE_CHECKING:
    from partialroot.closure.linker.glibc import Glibc
    from partialroot.closure.linker.musl import Musl

_UNWINDING = (b"pthread_cancel", b"pthread_exit")
_LIBC = ("libc.so.6", "libpthread.so.0")

_RULES = {"needed": "needed", "filter": "filter", "auxiliary": "filter", "audit": "needed"}


class Loaded:
    """An object in the map. ``path`` is where its needs are sought, ``chain`` what those inherit of it."""

    __slots__ = ("chain", "done", "library", "origin", "path", "variant")

    path: tuple[str, ...]
    chain: tuple[str, ...]

    def __init__(
        self, linker: "Glibc | Musl", library: Library, caller: "Loaded | None", variant: bool
    ) -> None:
        self.library = library
        self.variant = variant
        self.done = False
        self.origin = library.found.name.rpartition("/")[0] or "/"
        inherited: tuple[str, ...] = () if caller is None else caller.chain
        self.path, self.chain = linker.scope(library.elf, self.origin, inherited)


class LinkMap:
    """What one program, or one module on its own, gets loaded.

    ``edges`` says what needs what, each thing after what first needs it; ``absent`` what is not there.
    """

    def __init__(self, linker: "Glibc | Musl") -> None:
        self.edges: list[Edge] = []
        self.absent: list[Absent] = []
        self._linker = linker
        self._known: list[Loaded] = []
        self._names: dict[str, Loaded] = {}
        self._files: dict[tuple[int, int], Loaded] = {}
        self._variants: list[tuple[Library, Loaded | None, str, str]] = []
        if linker.interpreter is not None:
            elf = linker.files.content(linker.interpreter).elf
            if elf is not None:
                self._add(Library(linker.interpreter, elf), None).done = True

    def start(self, library: Library) -> None:
        """Begin with a program, or with a library as if it were one."""
        self._add(library, None)
        self._run()

    def open(self, name: str, rule: str, origin: str, *, now: bool = False) -> Library | None:
        """Load what is opened by name at run time (dlopen), and all it needs; nothing is lazy here."""
        loaded = self._reach(name, None, rule, origin)
        self._run()
        return None if loaded is None else loaded.library

    def follow_openings(self) -> None:
        """Load what the objects open at run time: libc for itself, and what their notes say."""
        self._open_unwinder()
        self._follow_notes()

    def _open_unwinder(self) -> None:
        """Load what glibc opens to end or cancel a thread, or the process is aborted (misc/unwind-link.c)."""
        files, unwinder = self._linker.files, self._linker.unwinder
        if unwinder is None or unwinder in self._names:
            return
        for loaded in self._known:
            found, elf = loaded.library.found, loaded.library.elf
            if elf.soname not in _LIBC and files.mentions(found, elf, _UNWINDING):
                self._reach(unwinder, loaded, "dlopen", found.real)
                self._run()
                return

    def _follow_notes(self) -> None:
        """Of alternatives in a note the first that is there is loaded."""
        from partialroot.closure import notes  # few ask for them

        for loaded in self._known:  # grows meanwhile
            for note in (one for raw in loaded.library.elf.dlopen for one in notes.parse(raw)):
                if note.priority != "suggested":
                    names = [name for name in note.names if self._is_there(name, loaded)] or note.names
                    self._reach(names[0], loaded, "dlopen", loaded.library.found.real)
                    self._run()

    def _run(self) -> None:
        """Load the needs of all that is known, then those of the variants for other processors."""
        self._load_needs()
        while self._variants:
            library, caller, rule, origin = self._variants.pop(0)
            self._take(library, caller, rule, origin, variant=True)
            self._load_needs()

    def _load_needs(self) -> None:
        at = 0
        while at < len(self._known):
            loaded = self._known[at]
            if loaded.done:
                at += 1
            else:
                loaded.done = True
                self._load_needs_of(loaded, at)

    def _load_needs_of(self, loaded: Loaded, at: int) -> None:
        """Append what is needed to the known objects, but filters' objects before ``loaded``, at ``at``."""
        for kind, text, _ in loaded.library.elf.needs:
            name = self._linker.expand(text, loaded.origin) or text
            target = self._reach(name, loaded, _RULES[kind], loaded.library.found.real, kind != "auxiliary")
            if target is not None and kind != "needed" and self._known.index(target) > at:
                self._known.remove(target)
                self._known.insert(at, target)
                at += 1

    def _reach(
        self, name: str, caller: Loaded | None, rule: str, origin: str, must: bool = True
    ) -> Loaded | None:
        """Return what a name stands for, loaded if need be; note its absence if it ``must`` be there."""
        known = self._names.get(name)
        if known is not None:
            self.edges.append(Edge(rule, origin, known.library, known.variant))
            return known
        choice = self._choose(name, caller)
        self._variants += [(variant, caller, rule, origin) for variant in choice.variants]
        if choice.library is None:
            if must:
                self.absent.append(Absent(rule, origin, name, choice))
            return None
        loaded = self._take(choice.library, caller, rule, origin, caller is not None and caller.variant)
        self._names.setdefault(name, loaded)
        return loaded

    def _take(self, library: Library, caller: Loaded | None, rule: str, origin: str, variant: bool) -> Loaded:
        """Add a file unless it is known by another name, which then must exist in the zone all the same."""
        node = library.found.node
        loaded = self._files.get((node.dev, node.ino)) or self._add(library, caller, variant)
        other = loaded.library.found.real != library.found.real
        self.edges.append(Edge(rule, origin, library, other or loaded.variant))
        return loaded

    def _add(self, library: Library, caller: Loaded | None, variant: bool = False) -> Loaded:
        loaded = Loaded(self._linker, library, caller, variant)
        self._known.append(loaded)
        self._files[library.found.node.dev, library.found.node.ino] = loaded
        for name in self._linker.names(library):
            if name is not None:
                self._names.setdefault(name, loaded)
        return loaded

    def _choose(self, name: str, caller: Loaded | None) -> Choice:
        if "/" in name:
            return self._linker.open(name)
        if caller is None:
            return self._linker.search(name, (), no_default=False)
        return self._linker.search(name, caller.path, caller.library.elf.no_default)

    def _is_there(self, name: str, caller: Loaded) -> bool:
        return name in self._names or self._choose(name, caller).library is not None
