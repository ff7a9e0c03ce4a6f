"""Which failed lookups of a zone are worth a line in its profile: those that the source could have satisfied.

Not told are: what the source has not got either; what a later lookup of the same process found by the same
name elsewhere (a search path); what the kernel, the runtime or the linker supplies; caches; what the profile
leaves out on purpose; sockets and devices; and state: what machines vary (/var, /run, /tmp) in a directory
that the zone has, and files of a directory to which the zone itself writes.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from partialroot.learn.lesson import Known, Source
from partialroot.learn.needs import VARIABLE, Need, Needs, passing, spelled
from partialroot.learn.trace import Lookup, Trace, Use
from partialroot.nodes import FileType
from partialroot.paths import STANDARD_PATH, RootPath

_ABSENT = frozenset({"ENOENT", "ENOTDIR"})
_TAKEN = (FileType.FILE, FileType.DIR)


class _Seen(NamedTuple):
    """What went well in a run: paths found, and the directories in which something was written."""

    found: frozenset[str]
    written: frozenset[str]


def missed(trace: Trace, known: Known, source: Source) -> Needs:
    """Return what the zone asked for in vain though the source has it, and nothing else."""
    seen = _seen(trace)
    needs: dict[RootPath, Need] = {}
    executed: set[RootPath] = set()
    for lookup in _unanswered(trace.lookups):
        need = _need(lookup, seen, known, source)
        if need is not None:
            needs.setdefault(need.found.real, need).programs[lookup.program] += 1
            executed |= {need.found.real} if lookup.use is Use.EXEC or _is_command(need) else set()
    programs = {need.path: need for real, need in needs.items() if real in executed}
    others = {need.path: need for real, need in needs.items() if real not in executed}
    return Needs(
        programs=programs,
        files={path: need for path, need in others.items() if need.node.type is FileType.FILE},
        directories={path: need for path, need in others.items() if need.node.type is FileType.DIR},
        written={},
        changed={},
    )


def _is_command(need: Need) -> bool:
    """Whether something is a program where shells look for them: they do so before they execute any."""
    is_program = need.node.type is FileType.FILE and need.node.mode & 0o111
    return bool(is_program) and need.path.parent in STANDARD_PATH


def _seen(trace: Trace) -> _Seen:
    done = [lookup for lookup in trace.lookups if not lookup.error]
    written = (_directory(lookup.path) for lookup in done if lookup.use is Use.WRITE)
    return _Seen(frozenset(lookup.path for lookup in done), frozenset(written))


def _unanswered(lookups: Iterable[Lookup]) -> Iterator[Lookup]:
    """Yield the lookups of what was absent, but for those whose name the same process found later on."""
    later: set[tuple[int, str]] = set()
    unanswered = []
    for lookup in reversed(tuple(lookups)):
        name = (lookup.process, lookup.path.rpartition("/")[2])
        if not lookup.error:
            later.add(name)
        elif lookup.error in _ABSENT and name not in later:
            unanswered.append(lookup)
    return reversed(unanswered)


def _need(lookup: Lookup, seen: _Seen, known: Known, source: Source) -> Need | None:
    """Return what would have satisfied a lookup: what it asked for, or where it wanted to write."""
    text = _directory(lookup.path) if lookup.use is Use.WRITE else lookup.path
    path = spelled(source.tree, text)
    if path is None or len(path) < 2 or text in seen.found or passing(path, source.tops):
        return None
    found = source.tree.resolve(path)
    if found.node is None or found.node.type not in _TAKEN or passing(found.real, source.tops):
        return None
    need = Need(path, found, found.node)
    if not known.lacks(need) or (lookup.use is not Use.WRITE and _is_state(path, seen, known.paths)):
        return None
    return need


def _is_state(path: RootPath, seen: _Seen, paths: Collection[RootPath]) -> bool:
    """Whether a path is one that the zone's programs make themselves, in a directory that is there."""
    if path.parent in seen.written:
        return True
    return path.parent in paths and any(path.is_below(top) for top in VARIABLE)


def _directory(path: str) -> str:
    return path.rpartition("/")[0] or "/"
