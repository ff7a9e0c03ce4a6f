"""Profile and source -> Selection: every path of the new root, where it comes from and why it is there."""

from collections.abc import Iterable
from pathlib import Path

from partialroot.closure import Closure, Wanted, closure
from partialroot.errors import Missing
from partialroot.model import Profile, Selection, ZoneSettings
from partialroot.nodes import Reason
from partialroot.paths import RootPath
from partialroot.plan.ahead import is_runnable, read_ahead
from partialroot.plan.assemble import assemble
from partialroot.plan.draft import Draft
from partialroot.plan.made import make
from partialroot.plan.platforms import Platform, Program
from partialroot.plan.policy import Excludes, shared_tops
from partialroot.plan.vet import refuse_secrets, taken_from, vet
from partialroot.plan.wishes import find_start, gather, gather_data, named_literally
from partialroot.source.packages import Packages
from partialroot.source.programs import find_program, is_program
from partialroot.source.tree import Tree


def select(
    profile: Profile, names: tuple[str, ...], tree: Tree, packages: Packages, platform: Platform
) -> Selection:
    """Return everything the profile puts into a zone, with all that is missing.

    Raises ProfileError, ConflictError or SourceError when the profile cannot be followed; what the source
    merely lacks is in the selection's ``missing``.
    """
    if profile.start is not None:
        profile = profile._replace(start=find_start(profile.start, tree))
    draft = Draft(tree, packages, Excludes(tree, profile.exclude, named_literally(profile)))
    gather(profile, draft)
    for program in platform.programs(profile):
        _want(program, profile, draft)
    gather_data(platform.data(profile, draft), draft)
    tops = shared_tops(platform.name, tree.lstat)
    with read_ahead(draft, tops):
        found = _close(profile, draft, tops)
    refused = vet(draft, tops)
    made = make(profile, draft, found.cached, platform.made(profile, draft), platform.keeping)
    missing = tuple(_unique([*draft.missing, *found.missing]))
    refuse_secrets(refused, missing)
    entries = assemble(draft, made, tops, profile.private, platform.always(tops))
    platform.check(entries)
    settings = ZoneSettings(profile.start, profile.network or "private", bool(profile.read_only))
    return Selection(
        profiles=names,
        source=Path(tree.root),
        platform=platform.name,
        entries=entries,
        missing=missing,
        warnings=(*draft.warnings, *packages.doubts),
        tops=tops,
        settings=settings,
    )


def _unique(missing: Iterable[Missing]) -> list[Missing]:
    return sorted(dict.fromkeys(missing), key=lambda one: (one.severity, one.name, one.needed_by))


def _want(program: Program, profile: Profile, draft: Draft) -> None:
    """Choose a program that the platform runs; a text of the profile may be one."""
    name = program.name
    if any(text.path == name for text in profile.texts):
        return
    path = RootPath.parse(name) if "/" in name else find_program(draft.tree, name)
    node = None if path is None else draft.tree.resolve(path).node
    there = node is not None
    if program.severity == "error":
        if path is not None and is_program(node):
            draft.named.add(draft.add_resolved(path, program.reason).real)
        else:
            remark = " (there, but it cannot be run)" if there else ""
            draft.miss(f"{name}{remark}", program.reason.origin, program.severity)
    elif not _is_chosen(name, draft) and any(_is_chosen(one, draft) for one in program.beside):
        rule, origin = program.reason
        remark = " (there, but no profile names it)" if there else ""
        draft.miss(f"{name}{remark}", f"{origin}: {rule}", program.severity)


def _is_chosen(name: str, draft: Draft) -> bool:
    return draft.tree.resolve(RootPath.parse(name)).real in draft.nodes


def _close(profile: Profile, draft: Draft, tops: tuple[RootPath, ...]) -> Closure:
    """Choose what the chosen files, and the scripts among the profile's texts, need to run."""
    texts = {text.path: text for text in profile.texts}
    scripts = (Wanted(path, Reason("text", text.where)) for path, text in texts.items() if text.mode & 0o111)
    found = closure(
        draft.tree,
        [*_runnable(draft), *scripts],
        nss=profile.nss,
        pam=profile.pam,
        lean=bool(profile.lean),
        texts={path: text.content.encode("utf-8", "surrogateescape") for path, text in texts.items()},
        taken_from=lambda path: taken_from(draft, path, tops),
        excluded=draft.is_excluded,
        supplier=draft.packages.supplier,
    )
    for path, reasons in found.reasons.items():
        node = draft.tree.lstat(path)
        if node is not None and path not in texts:
            for reason in reasons:
                draft.add(path, node, reason)
    draft.warnings += found.warnings
    return found


def _runnable(draft: Draft) -> list[Wanted]:
    """Return the chosen files that may be ELF objects or scripts; data is not opened."""
    return [
        Wanted(path, next(iter(draft.reasons[path])), "warning" if path in draft.lenient else "error")
        for path, node in draft.nodes.items()
        if is_runnable(path, node)
    ]
