"""From what the user asked for to a plan: library, source, selection, host facts, plan."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from partialroot.closure import Closure, Wanted, closure
from partialroot.closure.modules import brand
from partialroot.closure.modules.brand import BrandProgram
from partialroot.errors import BusyError, ConflictError, SourceError
from partialroot.host import local
from partialroot.host.illumos import mnttab
from partialroot.host.illumos.mnttab import MountTable
from partialroot.model import (
    NOTHING,
    Item,
    Node,
    Plan,
    Profile,
    Reason,
    Request,
    Selection,
    ZoneSettings,
)
from partialroot.paths import RootPath, host_path
from partialroot.pipeline import live
from partialroot.pipeline.fixing import fix
from partialroot.plan.fragments import with_fragments
from partialroot.plan.planner import Sharing, plan, refuse_missing, without_unreadable
from partialroot.plan.platforms import Illumos, Linux, Literal, Platform
from partialroot.plan.select import select, source_nsswitch
from partialroot.plan.supplied import taken, with_suppliers
from partialroot.plan.wishes import find_program, with_overlays
from partialroot.profiles.library import Library
from partialroot.source.content import measure
from partialroot.source.memory import NAME, Memory
from partialroot.source.packages import Packages, open_packages
from partialroot.source.packages.suppliers import suppliers as find_suppliers
from partialroot.source.platform import detect_platform
from partialroot.source.tarball import is_tarball
from partialroot.source.tree import Tree

if TYPE_CHECKING:  # most sources are no tarballs
    from partialroot.zone.unpack import Unpacked

BRAND_CONFIG = RootPath("/usr/lib/brand/partial-root/config.xml")
_ASKED = Reason("wanted", "command line")
# What programs look up by getpwnam(3), getgrnam(3), getaddrinfo(3) and getservbyname(3).
_DATABASES = ("passwd", "group", "hosts", "services")


class Options(NamedTuple):
    """What the command line says beside the words: the same for every zone of one command."""

    store: Path
    source: Path = Path("/")
    platform: str | None = None
    manifests: tuple[Path, ...] = ()
    share: tuple[str, ...] = ("auto",)
    parameters: Mapping[str, str] = NOTHING
    trust_zone: bool = False
    address: str | None = None
    keep_going: bool = False
    add_closure: bool = False
    run_fix_scripts: bool = False
    views: Mapping[str, str] = NOTHING
    memory: Memory | None = None
    overlays: tuple[str, ...] = ()
    unpacked: "Unpacked | None" = None

    @classmethod
    def again(cls, request: Request, store: Path) -> "Options":
        """Return the options that a zone was made with."""
        return cls(
            store=store,
            source=Path(request.source),
            platform=request.platform,
            manifests=tuple(map(Path, request.manifests)),
            share=request.share,
            parameters=dict(request.parameters),
            trust_zone=request.trust_zone,
            address=request.address,
            keep_going=request.keep_going,
            add_closure=request.add_closure,
            run_fix_scripts=request.run_fix_scripts,
            overlays=request.overlays,
        )

    def request(self, profiles: Sequence[str], platform: str) -> Request:
        """Return what a receipt keeps of this, so that a refresh can ask for the same, wherever it is run."""
        return Request(
            profiles=names_of(profiles),
            manifests=tuple(map(os.path.abspath, self.manifests)),
            parameters=tuple(sorted(self.parameters.items())),
            source=str(self.unpacked.tarball if self.unpacked else self.source),
            platform=platform,
            share=self.share,
            trust_zone=self.trust_zone,
            address=self.address,
            keep_going=self.keep_going,
            add_closure=self.add_closure,
            run_fix_scripts=self.run_fix_scripts,
            overlays=self.overlays,
        )


def names_of(profiles: Sequence[str]) -> tuple[str, ...]:
    """Return what profiles are called wherever we are: a file by its whole path."""
    return tuple(os.path.abspath(one) if one.endswith(".toml") else one for one in profiles)


@contextmanager
def reading(options: Options, home: Path | None = None) -> Iterator[Options]:
    """Yield the options for as long as the source is read.

    Meanwhile files hidden by mounts are seen, and what earlier runs found out is at hand. A tarball is
    unpacked for that time, so that images in ``home`` (None: in the store) can link its files.
    """
    if is_tarball(options.source.name):
        from partialroot.zone.unpack import unpacked

        with unpacked(options.store, options.source, home) as found:
            yield options._replace(source=found.root, unpacked=found)
        return
    with (
        live.own_files(options.store, options.source) as views,
        Memory(options.store / NAME) as memory,
    ):
        yield options._replace(views=views, memory=memory)


def open_tree(options: Options) -> Tree:
    """Return the source, without the store if that lies in it."""
    tree = Tree(options.source, views=options.views, memory=options.memory)
    if options.store.is_relative_to(tree.root):
        tree.hidden = frozenset({RootPath("/" + str(options.store.relative_to(tree.root)))})
    return tree


def packages_of(tree: Tree) -> Packages:
    """Return the source's package database; of a live illumos system when all changes are in it."""
    packages = open_packages(tree)
    if local.is_illumos() and tree.root == Path("/"):
        from partialroot.source.packages.svr4 import Svr4

        if isinstance(packages, Svr4):
            live.sync_packages()
    return packages


def platform_name(options: Options, tree: Tree) -> str:
    """Return the platform that is asked for, else that of the source."""
    return options.platform or detect_platform(tree)


def library(options: Options) -> Library:
    """Return where profiles are looked up."""
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


class Planned(NamedTuple):
    """A plan, and the owners that cannot be given to a file on this host."""

    plan: Plan
    lost_owners: frozenset[tuple[int, int]]


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
    profile = Library(options.manifests, platform_name(options, tree)).compose(profiles, options.parameters)
    return select_profile(options, profile, tuple(sorted(names_of(profiles))), tree, packages_of(tree)), tree


def select_profile(
    options: Options, profile: Profile, names: tuple[str, ...], tree: Tree, packages: Packages
) -> Selection:
    """Select from the source what a composed profile says."""
    target = Literal() if profile.fragments else _platform(platform_name(options, tree), tree)
    profile, missing = with_overlays(profile, options.overlays, packages)
    selected = select(profile, names, tree, packages, target)
    selected = selected._replace(missing=(*missing, *selected.missing))
    if profile.fragments:
        selected = with_fragments(
            selected,
            profile.fragments,
            tree,
            packages,
            lambda one: fix(one, profile.fragments, tree, unconfined=options.run_fix_scripts),
            keep_going=options.keep_going,
            add_closure=options.add_closure,
        )
    return selected._replace(views=options.views)


def make_plan(
    options: Options, profiles: Sequence[str], zonepaths: Sequence[Path], *, suppliers: bool = True
) -> Planned:
    """Return the plan of one command, the same for all its zones.

    A plan that is only looked at needs no ``suppliers``, who may take 0.1 s to find. Raises MissingError
    before a byte is read for measuring, and every other refusal of the stages.
    """
    selection, tree = make_selection(options, profiles)
    refuse_missing(selection)
    if local.is_illumos():
        refuse_covered(selection, mnttab.read())
    refuse_host_network(selection.settings, options.trust_zone)
    read_only = selection.settings.read_only
    sharing = Sharing.parse(options.share, trust_zone=options.trust_zone, read_only=read_only)
    contents = measure(tree, _files(selection))
    selection = without_unreadable(selection, contents)
    refuse_missing(selection)
    try:
        facts = local.probe(selection, options.store, zonepaths, into_root=sharing.link_into_root)
    except FileNotFoundError as error:
        where = str(error.filename)
        raise BusyError(
            "went away while it was looked at", path=where, hint="run the command again"
        ) from error
    if local.is_illumos():
        refuse_shared_datasets(zonepaths, facts.image_home)
    if selection.platform == "illumos":  # platform.xml mounts the image in every zone of the brand
        facts = facts._replace(no_mount="")
    planned = plan(selection, facts, contents, sharing)
    if suppliers:  # later, packages may have changed
        planned = with_suppliers(planned, find_suppliers(tree, open_packages(tree), taken(planned)))
    return Planned(planned, facts.lost_owners)


def refuse_shared_datasets(zonepaths: Sequence[Path], image_home: Path) -> None:
    """Raise ConflictError for a zonepath in the dataset of the images (P2)."""
    from partialroot.host.facts import existing
    from partialroot.host.illumos.datasets import refuse_shared_dataset

    for zonepath in zonepaths:
        refuse_shared_dataset(existing(zonepath), [existing(image_home)])


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


def refuse_host_network(settings: ZoneSettings, trust_zone: bool) -> None:
    """Raise ConflictError for a zone on the host's network that root does not trust in words.

    It would reach the abstract sockets of the host's services, which no file permission protects.
    """
    if settings.network == "host" and os.geteuid() == 0 and not trust_zone:
        raise ConflictError(
            'network = "host" shows a zone the abstract sockets of the host',
            hint='say --trust-zone, or leave network at "private"',
        )


def find_closure(options: Options, words: Sequence[str], *, modules: bool) -> Closure:
    """Return what the named programs need at run time; those that do not exist are in its ``missing``.

    With ``modules`` also what they load later: dlopen notes, name services, and for programs that have a
    PAM stack of their name, its modules.
    """
    tree = open_tree(options)
    paths = [_program_path(tree, word) for word in words]
    return closure(
        tree,
        [Wanted(path, _ASKED) for path in paths],
        nss=[Item(database, _ASKED.origin) for database in _DATABASES] if modules else (),
        pam=[Item(path.name, _ASKED.origin) for path in paths if modules and _has_stack(tree, path.name)],
        nsswitch=source_nsswitch(tree),
        notes=modules,
        supplier=packages_of(tree).supplier,
    )


def _program_path(tree: Tree, word: str) -> RootPath:
    """Return the path a word means: a path, or a program on the standard path."""
    if "/" in word:
        return RootPath.parse(os.path.abspath(word) if tree.root == Path("/") else word)
    return find_program(tree, word) or RootPath.parse(f"/{word}")


def _has_stack(tree: Tree, service: str) -> bool:
    """Whether PAM knows a service: by a file of its own, or (illumos) in the one of all, with ``other``."""
    files = (RootPath("/etc/pam.d") / service, RootPath("/etc/pam.conf"))
    return any(tree.resolve(file).node is not None for file in files)
