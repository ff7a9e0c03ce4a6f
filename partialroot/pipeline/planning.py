"""From what the user asked for to a plan: library, source, selection, host facts, plan."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from partialroot.closure import Closure, Wanted, closure
from partialroot.errors import BusyError, ConflictError, UsageError
from partialroot.model import Item, Node, Plan, Profile, Reason, Request, Selection, ZoneSettings
from partialroot.paths import RootPath
from partialroot.plan.planner import Sharing, plan, refuse_missing, without_unreadable
from partialroot.plan.select import Platform, select, source_nsswitch
from partialroot.plan.wishes import find_program
from partialroot.profiles.library import Library
from partialroot.source.content import ContentCache, measure
from partialroot.source.packages import open_packages
from partialroot.source.tree import Tree

_ASKED = Reason("wanted", "command line")
# What programs look up by getpwnam(3), getgrnam(3), getaddrinfo(3) and getservbyname(3).
_DATABASES = ("passwd", "group", "hosts", "services")


@dataclass(frozen=True)
class Options:
    """What the command line says beside the words: the same for every zone of one command."""

    store: Path
    source: Path = Path("/")
    platform: str | None = None
    manifests: tuple[Path, ...] = ()
    share: tuple[str, ...] = ("auto",)
    parameters: Mapping[str, str] = field(default_factory=dict)
    trust_zone: bool = False
    address: str | None = None

    def request(self, profiles: Sequence[str]) -> Request:
        """Return what a receipt keeps of this, so that a refresh can ask for the same."""
        return Request(
            profiles=tuple(profiles),
            manifests=tuple(map(str, self.manifests)),
            parameters=tuple(sorted(self.parameters.items())),
            source=str(self.source),
            platform=self.platform or "linux",
            share=self.share,
            trust_zone=self.trust_zone,
            address=self.address,
        )


def open_tree(options: Options) -> Tree:
    """Return the source, without the store if that lies in it."""
    tree = Tree(options.source)
    if options.store.is_relative_to(tree.root):
        tree.hidden = frozenset({RootPath("/" + str(options.store.relative_to(tree.root)))})
    return tree


def library(options: Options) -> Library:
    """Return where profiles are looked up."""
    return Library(options.manifests, platform(options))


def platform(options: Options) -> str:
    """Return the platform of the source; UsageError for one we cannot build from yet."""
    name = options.platform or "linux"
    if name != "linux":
        raise UsageError(f"sources of platform {name!r} cannot be used yet", hint="leave --platform out")
    return name


def compose(options: Options, profiles: Sequence[str]) -> Profile:
    """Return the profiles, and all they use, as one."""
    return library(options).compose(profiles, options.parameters)


@dataclass(frozen=True)
class Planned:
    """A plan, and the owners that cannot be given to a file on this host."""

    plan: Plan
    lost_owners: frozenset[tuple[int, int]]


def make_selection(options: Options, profiles: Sequence[str]) -> tuple[Selection, Tree]:
    """Compose the profiles and select from the source; what is missing is in the selection."""
    from partialroot.host.linux.pause import pause_program

    tree = open_tree(options)
    profile = compose(options, profiles)
    names = tuple(sorted(profiles))
    machine = os.uname().machine
    target = Platform(platform(options), lambda: pause_program(machine))
    selected = select(profile, names, tree, open_packages(tree), target)
    return selected, tree


def make_plan(options: Options, profiles: Sequence[str], zonepaths: Sequence[Path]) -> Planned:
    """Return the plan of one command, the same for all its zones.

    Raises MissingError before a byte is read for measuring, and every other refusal of the stages.
    """
    from partialroot.host.linux.facts import probe

    selection, tree = make_selection(options, profiles)
    refuse_missing(selection)
    refuse_host_network(selection.settings, options.trust_zone)
    read_only = selection.settings.read_only
    sharing = Sharing.parse(options.share, trust_zone=options.trust_zone, read_only=read_only)
    with ContentCache(_cache_file(options.store)) as cache:
        contents = measure(tree, _files(selection), cache)
    selection = without_unreadable(selection, contents)
    refuse_missing(selection)
    try:
        facts = probe(selection, options.store, zonepaths, into_root=sharing.link_into_root)
    except FileNotFoundError as error:
        where = str(error.filename)
        raise BusyError(
            "went away while it was looked at", path=where, hint="run the command again"
        ) from error
    return Planned(plan(selection, facts, contents, sharing), facts.lost_owners)


def _files(selection: Selection) -> Iterator[tuple[RootPath, Node]]:
    return ((entry.source, entry.node) for entry in selection.entries if entry.source and entry.node)


def _cache_file(store: Path) -> Path | None:
    """Return where contents are remembered: in the store, once there is one."""
    return store / "contents.sqlite" if store.is_dir() else None


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
        supplier=open_packages(tree).supplier,
    )


def _program_path(tree: Tree, word: str) -> RootPath:
    """Return the path a word means: a path, or a program on the standard path."""
    if "/" in word:
        return RootPath.parse(os.path.abspath(word) if tree.root == Path("/") else word)
    return find_program(tree, word) or RootPath.parse(f"/{word}")


def _has_stack(tree: Tree, service: str) -> bool:
    return tree.resolve(RootPath("/etc/pam.d") / service).node is not None
