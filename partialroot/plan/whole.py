"""A root taken as it is: all that is in a source, without a profile. For tarballs that were unpacked."""

from pathlib import Path

from partialroot.errors import ConflictError
from partialroot.model import Profile, Selection, ZoneSettings
from partialroot.nodes import FileType, Reason
from partialroot.paths import ROOT, RootPath
from partialroot.plan.assemble import assemble
from partialroot.plan.draft import Draft
from partialroot.plan.platforms import Platform
from partialroot.plan.policy import Excludes, all_tops, shared_tops
from partialroot.source.packages import NoPackages
from partialroot.source.tree import Tree

FIRST_PROCESS = "brand initname"


def select_all(tree: Tree, platform: Platform, origin: str) -> Selection:
    """Return everything in ``tree``, and what the platform mounts on; ``origin`` is why it is there.

    What the platform runs in a zone and the tree has not is in the selection's ``missing``: without its first
    process it is no zone. Raises ConflictError for a root that the platform could make no zone of.
    """
    profile = Profile(name="", where=origin)
    draft = Draft(tree, NoPackages(), Excludes(tree, ()))
    for path, node in tree.walk(ROOT):
        draft.add(path, node, Reason("tarball", origin))
    for program in platform.programs(profile):
        if tree.resolve(RootPath.parse(program.name)).node is None:
            severity = "error" if program.reason.rule == FIRST_PROCESS else "warning"
            draft.miss(program.name, program.reason.origin, severity)
    always = platform.always(all_tops(platform.name))
    _refuse_no_directories(tree, always)
    tops = tuple(dict.fromkeys((*shared_tops(platform.name, tree.lstat), *always)))
    entries = assemble(draft, platform.made(profile, draft), tops, (), always)
    platform.check(entries)
    return Selection(
        profiles=(),
        source=Path(tree.root),
        platform=platform.name,
        entries=entries,
        missing=tuple(draft.missing),
        warnings=tuple(draft.warnings),
        tops=tops,
        settings=ZoneSettings(),
    )


def _refuse_no_directories(tree: Tree, tops: tuple[RootPath, ...]) -> None:
    for top in tops:
        node = tree.lstat(top)
        if node is not None and node.type is not FileType.DIR:
            raise ConflictError(f"a {node.type} cannot be here: the platform mounts on it", path=top)
