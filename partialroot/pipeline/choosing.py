"""From what the user asked for to what is chosen: library, source, selection, contents, suppliers."""

import os
from collections.abc import Iterator, Sequence

from partialroot.closure.modules import brand
from partialroot.closure.modules.brand import BrandProgram
from partialroot.errors import SourceError
from partialroot.host import local
from partialroot.host.illumos import mnttab
from partialroot.host.illumos.mnttab import MountTable
from partialroot.model import Profile, Selection
from partialroot.nodes import NOTHING, Node
from partialroot.paths import RootPath, host_path, is_tarball
from partialroot.pipeline.opening import packages_of
from partialroot.pipeline.sources import (
    Options,
    names_of,
    open_tree,
    platform_name,
    reading,
)
from partialroot.plan.chosen import Chosen
from partialroot.plan.planner import refuse_missing, without_unreadable
from partialroot.plan.platforms import Illumos, Linux, Literal, Platform
from partialroot.plan.select import select
from partialroot.plan.supplied import taken
from partialroot.plan.wishes import with_overlays
from partialroot.profiles.library import Library
from partialroot.source.content import measure
from partialroot.source.packages import Packages, open_packages
from partialroot.source.tree import Tree

BRAND_CONFIG = RootPath("/usr/lib/brand/partial-root/config.xml")


def library(options: Options) -> Library:
    """Return where profiles are looked up."""
    if is_tarball(options.source.name):  # it must be looked into, to tell its platform
        with reading(options) as seen:
            return Library(options.manifests, platform_name(seen, open_tree(seen)))
    return Library(options.manifests, platform_name(options, open_tree(options)))


def compose(options: Options, profiles: Sequence[str]) -> Profile:
    """Return the profiles, and all they use, as one."""
    return library(options).compose(profiles, options.parameters)


def _platform(name: str, tree: Tree) -> Platform:
    if name == "illumos":
        return Illumos(_brand_programs(tree))
    from partialroot.host.linux.pause import pause_program

    machine = os.uname().machine
    return Linux(lambda: pause_program(machine))


def _brand_programs(tree: Tree) -> tuple[BrandProgram, ...]:
    """Return what our brand runs in a zone, by the source's config.xml where it is installed."""
    if tree.resolve(BRAND_CONFIG).node is None:
        return brand.USUAL
    text = tree.read(BRAND_CONFIG).decode("utf-8", "surrogateescape")
    return brand.programs(text, BRAND_CONFIG)


def choose(options: Options, profiles: Sequence[str], *, suppliers: bool = True) -> Chosen:
    """Return what is chosen of the source; who supplied it only if that is asked for: it may take 0.1 s.

    Raises MissingError before a byte is read for measuring.
    """
    selection, tree = make_selection(options, profiles)
    refuse_missing(selection)
    if local.is_illumos():
        refuse_covered(selection, mnttab.read())
    contents = measure(tree, _files(selection))
    selection = without_unreadable(selection, contents)
    refuse_missing(selection)
    if not suppliers:
        return Chosen(selection, contents, {})
    from partialroot.source.packages.suppliers import suppliers as find_suppliers

    return Chosen(selection, contents, find_suppliers(tree, open_packages(tree), taken(selection.entries)))


def make_selection(options: Options, profiles: Sequence[str]) -> tuple[Selection, Tree]:
    """Compose the profiles and select from the source; what is missing is in the selection.

    Of a tarball everything is selected if no profile is named.
    """
    tree = open_tree(options)
    if options.unpacked and not profiles:
        from partialroot.plan.whole import select_all

        origin = str(options.unpacked.tarball)
        everything = select_all(tree, _platform(platform_name(options, tree), tree), origin)
        return everything._replace(warnings=(*everything.warnings, *options.unpacked.lost)), tree
    known = Library(options.manifests, platform_name(options, tree))
    profile = known.compose(profiles, options.parameters)
    selected = select_profile(options, profile, tuple(sorted(names_of(profiles))), tree, packages_of(tree))
    warnings = (*selected.warnings, *_unheeded(options, selected.platform))
    return selected._replace(definitions=known.definitions(profiles), warnings=warnings), tree


def _unheeded(options: Options, platform: str) -> Iterator[str]:
    """Yield what zones of illumos are not given by us: zonecfg(8) and what runs in them say it."""
    own = {"hostname": options.hostname, "address": options.address} if platform == "illumos" else {}
    for name, value in own.items():
        if value is not None and name not in options.parameters:
            yield f"the {name} is not set: on illumos only a profile with the parameter {name!r} can do that"


def select_profile(
    options: Options, profile: Profile, names: tuple[str, ...], tree: Tree, packages: Packages
) -> Selection:
    """Select from the source what a composed profile says."""
    target = Literal() if profile.fragments else _platform(platform_name(options, tree), tree)
    profile, missing = with_overlays(profile, options.overlays, packages)
    selected = select(profile, names, tree, packages, target)
    selected = selected._replace(missing=(*missing, *selected.missing))
    if profile.fragments:
        selected = _with_fragments(selected, options, profile, tree, packages)
    return selected._replace(views=options.views)


def _with_fragments(
    selected: Selection, options: Options, profile: Profile, tree: Tree, packages: Packages
) -> Selection:
    from partialroot.pipeline.fixing import fix  # mvi's notation is seldom used
    from partialroot.plan.fragments import with_fragments

    return with_fragments(
        selected,
        profile.fragments,
        tree,
        packages,
        lambda one: fix(one, profile.fragments, tree, unconfined=options.run_fix_scripts),
        keep_going=options.keep_going,
        add_closure=options.add_closure,
    )


def refuse_covered(selection: Selection, mounts: MountTable) -> None:
    """Raise SourceError for files that a loopback mount shows: they are not those of the source."""
    source = str(selection.source)
    paths = (one.source for one in selection.entries if one.source and one.source not in selection.views)
    wrong = mnttab.covered(mounts, source, (host_path(selection.source, NOTHING, path) for path in paths))
    if wrong:
        raise SourceError(
            f"something else is mounted over {', '.join(wrong)}",
            hint=f"umount {mounts.holding(wrong[0]).point}; over single files root sees through it",
        )


def _files(selection: Selection) -> Iterator[tuple[RootPath, Node]]:
    return ((entry.source, entry.node) for entry in selection.entries if entry.source and entry.node)
