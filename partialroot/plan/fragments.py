"""A selection with what mvi's fragments bring: their lists, their fix scripts, and how the zone starts."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from partialroot.closure import Closure, Wanted, closure
from partialroot.errors import ConflictError, Missing
from partialroot.model import Entry, Fragment, Selection, Start
from partialroot.nodes import FileType, Item, Reason
from partialroot.paths import RootPath
from partialroot.plan.entries import entry_of, written
from partialroot.plan.illumos import INITTAB, start_command, with_start, without_bash
from partialroot.plan.literal import literal
from partialroot.source.packages import Packages
from partialroot.source.tree import Tree

_ETC = RootPath("/etc")
_RC = RootPath("/etc/mvi.rc")
_PASSWD = RootPath("/etc/passwd")
_BASH = RootPath("/usr/bin/bash")
_NSSWITCH = RootPath("/etc/nsswitch.conf")
_LOOKED_UP = ("passwd", "hosts")
_WELCOME = 'echo " *** Welcome to minimal viable illumos ***"'

Fix = Callable[[Selection], Selection]


def with_fragments(
    selection: Selection,
    fragments: Sequence[Fragment],
    tree: Tree,
    packages: Packages,
    fix: Fix,
    *,
    keep_going: bool = False,
    add_closure: bool = False,
) -> Selection:
    """Return a selection with all that ``fragments`` list; what other profiles want is left as it is.

    ``fix`` runs the fix scripts, unless something is missing. With ``keep_going`` what is listed but not
    there is only a warning, with ``add_closure`` the zone also gets what the listed programs need: without,
    that is named in ``missing``, as a warning.
    """
    found = literal(fragments, tree, packages, selection.tops)
    missing = found.missing
    if keep_going:
        missing = [one._replace(severity="warning") for one in missing]
    others = {entry.path: entry for entry in selection.entries}
    wanted = {path: entry for path, entry in others.items() if not _is_incidental(entry)}
    merged = {**others, **found.entries, **wanted}
    selection = selection._replace(
        entries=_sorted(merged),
        missing=(*selection.missing, *missing),
        warnings=tuple(dict.fromkeys((*selection.warnings, *found.warnings, *packages.doubts))),
    )
    if any(one.severity == "error" for one in selection.missing):
        return selection
    selection = _with_start(fix(selection), fragments, tree)
    return _with_needs(selection, found.entries, tree, packages, add_closure=add_closure)


def _is_incidental(entry: Entry) -> bool:
    """Return whether a directory is only there to hold something else."""
    rules = {reason.rule for reason in entry.reasons}
    return entry.type is FileType.DIR and rules <= {"parent", "mount point"}


def _sorted(entries: Mapping[RootPath, Entry]) -> tuple[Entry, ...]:
    return tuple(entries[path] for path in sorted(entries))


# --- what is written ----------------------------------------------------------------------------------


def _with_start(selection: Selection, fragments: Sequence[Fragment], tree: Tree) -> Selection:
    """Write what zmvix.sh writes: the rc scripts, inittab, and shells in passwd that the zone has."""
    entries = {entry.path: entry for entry in selection.entries}
    if _ETC not in entries or entries[_ETC].type is not FileType.DIR:
        hint = "a list must bring it, and no fix script take it away"
        error = ConflictError("is no directory in the zone, and holds what starts it", path=_ETC, hint=hint)
        error.missing = selection.missing
        raise error

    def text(path: RootPath) -> str:
        return _text(entries.get(path), tree)

    def write(path: RootPath, mode: int, content: str, origin: str) -> None:
        entries[path] = written(path, mode, content, Reason("text", origin), selection.tops)

    scripts = [one for one in fragments if one.rc is not None]
    for one in scripts:
        write(_rc_of(one), 0o755, one.rc or "", f"{one.name}.rc")
    write(_RC, 0o755, rc_script(scripts, selection.settings.start), "mvi's fragments")
    write(INITTAB, 0o644, with_start(text(INITTAB), _RC), "mvi's fragments")
    if _BASH not in entries and _PASSWD in entries:
        passwd = without_bash(text(_PASSWD)).encode("utf-8", "surrogateescape")
        entries[_PASSWD] = _rewritten(entries[_PASSWD], passwd)
    return selection._replace(entries=_sorted(entries))


def _rewritten(entry: Entry, text: bytes) -> Entry:
    return entry._replace(text=text, size=len(text), source=None, node=None, mtime_ns=0)


def _text(entry: Entry | None, tree: Tree) -> str:
    return "" if entry is None else content(entry, tree).decode("utf-8", "surrogateescape")


def content(entry: Entry, tree: Tree) -> bytes:
    """Return the content of a regular file of a selection."""
    if entry.text is not None or entry.source is None:
        return entry.text or b""
    return tree.read(entry.source)


def _rc_of(fragment: Fragment) -> RootPath:
    return RootPath(f"/etc/mvi-{fragment.name}.rc")


def rc_script(scripts: Iterable[Fragment], start: Start | None) -> str:
    """Return /etc/mvi.rc: each fragment's rc in order, then a shell on the console, or ``start``."""
    from shlex import quote

    lines = ["#!/sbin/sh"]
    for one in scripts:
        lines.append(f'echo " *** Running {one.name} startup ***" > /dev/console')
        lines.append(f"{_rc_of(one)} >/dev/console 2>&1 </dev/console")
    if start is None:
        lines += [f"{_WELCOME} > /dev/console", "/bin/sh >/dev/console 2>&1 </dev/console"]
    else:
        command = " ".join(map(quote, start_command(start)))
        lines.append(f"exec {command} >/dev/console 2>&1 </dev/console")
    return "".join(f"{line}\n" for line in lines)


# --- what the listed programs need --------------------------------------------------------------------


def _with_needs(
    selection: Selection,
    listed: Mapping[RootPath, Entry],
    tree: Tree,
    packages: Packages,
    *,
    add_closure: bool,
) -> Selection:
    """Add what the closure of the listed files finds, or say that it is missing.

    The lists do not say what names their programs look up: hardly one looks up neither users nor hosts.
    """
    entries = {entry.path: entry for entry in selection.entries}
    wanted = [
        Wanted(path, entry.reasons[0], "warning")
        for path, entry in entries.items()
        if path in listed and entry.source == path and _is_runnable(entry)
    ]
    nsswitch = entries.get(_NSSWITCH)
    is_known = nsswitch is None or nsswitch.type is FileType.FILE  # a script may have made a symlink of it
    found = closure(
        tree,
        wanted,
        nss=[Item(database, f"{_NSSWITCH}: {database}") for database in _LOOKED_UP if is_known],
        nsswitch=_text(nsswitch, tree) if is_known else None,
        notes=False,
        supplier=packages.supplier,
    )
    lacking = {path: reasons for path, reasons in found.reasons.items() if path not in entries}
    missing = [*selection.missing, *found.missing]
    for path, reasons in lacking.items():
        node = tree.lstat(path)
        if node is not None and add_closure:
            entries[path] = entry_of(path, node, reasons[:1], selection.tops)
            _add_parents(path, entries, tree, selection)
        elif node is not None:
            missing.append(_lack(path, reasons[0], found, packages))
    return selection._replace(entries=_sorted(entries), missing=tuple(dict.fromkeys(missing)))


def _is_runnable(entry: Entry) -> bool:
    return entry.type is FileType.FILE and (bool(entry.mode & 0o111) or ".so" in entry.path.name)


def _lack(path: RootPath, reason: Reason, found: Closure, packages: Packages) -> Missing:
    """Return that ``path`` is not in the zone; of a symlink, who needs what it leads to."""
    needed_by = reason.origin
    if reason.rule == "symlink" and (behind := found.reasons.get(RootPath(reason.origin))):
        needed_by = behind[0].origin
    return Missing(path, needed_by, "warning", packages.supplier(path))


def _add_parents(path: RootPath, entries: dict[RootPath, Entry], tree: Tree, selection: Selection) -> None:
    for parent in path.ancestors:
        node = tree.lstat(parent)
        if parent not in entries and node is not None:
            entries[parent] = entry_of(parent, node, (Reason("parent", path),), selection.tops)
