"""doctor: what this host offers to zones, found by trying, and what to do about what it lacks."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from partialroot.errors import PartialRootError
from partialroot.host import local
from partialroot.pipeline.choosing import BRAND_CONFIG, make_selection
from partialroot.pipeline.sources import Options, platform_name
from partialroot.plan.facts import HostFacts
from partialroot.source.packages import open_packages
from partialroot.source.tree import Tree
from partialroot.zone.store import check_store

_SAMPLE = "base"  # the profile whose files are linked and cloned for a try
_GIB = 1 << 30
_LINKABLE = "run as root, with the store on that file system: else bytes are copied"


class Check(NamedTuple):
    """Something a host may offer: whether it does, what was found, and what to do where it does not."""

    name: str
    offered: bool
    about: str
    remedy: str = ""


def examine(options: Options, zonepaths: Sequence[str]) -> tuple[Check, ...]:
    """Try what populate, boot and learn need; ``zonepaths`` tell where zones will be (none: in the store).

    Nothing is left of any trial. Raises StoreError for a store that cannot be trusted.
    """
    check_store(options.store)
    selection, tree = make_selection(options, (_SAMPLE,))
    facts = local.probe(selection, options.store, [Path(one) for one in zonepaths])
    return (*_rights(facts), *_places(facts), _packages(options, tree), *_running(tree), *_learning())


def _rights(facts: HostFacts) -> Iterator[Check]:
    lost = sorted(facts.lost_owners)
    about = (
        "of every file" if not lost else f"lost for {len(lost)}, such as uid {lost[0][0]}, gid {lost[0][1]}"
    )
    yield Check("owners", not lost, about, "run as root" if lost else "")
    why = facts.no_mount
    about = why or "the shared layer is mounted read-only, by system call"
    yield Check(
        "mounts", not why, about, "run as root, or with CAP_SYS_ADMIN: else all is copied" if why else ""
    )


def _places(facts: HostFacts) -> Iterator[Check]:
    for point in facts.mount_points:
        why = facts.links.get(point, "")
        about = f"from {point} into {facts.image_home}"
        yield Check("links", not why, f"{about}: {why}" if why else about, _LINKABLE if why else "")
    for what, clones in (("reflinks", facts.clones), ("private reflinks", facts.root_clones)):
        yield _reflinks(what, clones)
    for what, (size, _) in (("space for images", facts.free_image), ("space for zones", facts.free_root)):
        yield Check(
            what, size > _GIB, f"{size / _GIB:.1f} GiB", "" if size > _GIB else "an image may take more"
        )


def _reflinks(what: str, clones: Mapping[str, str]) -> Check:
    """Say whether copies share blocks; where they do not, that is what most file systems are like."""
    works = [point for point, why in clones.items() if not why]
    about = f"from {', '.join(works)}" if works else next(iter(clones.values()), "no file to try")
    return Check(
        what, bool(works), about, "" if works else "btrfs and XFS have them; without, bytes are copied"
    )


def _packages(options: Options, tree: Tree) -> Check:
    packages = open_packages(tree)
    count = len(packages.installed())
    about = (
        f"{type(packages).__name__.lower()}, {count} installed, a source of {platform_name(options, tree)}"
    )
    remedy = "profiles cannot name packages, and edited files are not told from pristine ones"
    return Check("packages", count > 0, about if count else "no database is known", "" if count else remedy)


def _running(tree: Tree) -> Iterator[Check]:
    if local.is_illumos():
        is_there = tree.resolve(BRAND_CONFIG).node is not None
        yield Check("brand", is_there, str(BRAND_CONFIG), "" if is_there else "scripts/install-brand")
        return
    from partialroot.host.linux import network
    from partialroot.host.linux.boot import why_not
    from partialroot.host.linux.runtimes import RUNTIMES

    for runtime in RUNTIMES:
        error = why_not(runtime)
        yield Check(f"runtime {runtime.name}", error is None, _said(error), _remedy(error))
    why = network.why_no_pair()
    remedy = "zones have no address of their own: run as root, with CAP_NET_ADMIN"
    yield Check("zone network", not why, why or "a veth pair for each zone", remedy if why else "")


def _said(error: PartialRootError | None) -> str:
    return "starts a zone" if error is None else error.message


def _remedy(error: PartialRootError | None) -> str:
    return (error.hint or "") if error else ""


def _learning() -> Iterator[Check]:
    from partialroot.host.tracing import tracer

    used = tracer()
    found = shutil.which(used.name)
    yield Check("tracer", found is not None, found or f"no {used.name}", "" if found else used.remedy)
    ksh = shutil.which("ksh93") or shutil.which("ksh")
    yield Check("ksh", ksh is not None, ksh or "mvi's fix scripts need it", "" if ksh else "install ksh93")
