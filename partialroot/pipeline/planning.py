"""From what the user asked for to a plan: what is chosen (anew, or as it is remembered), host facts, plan."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from partialroot.errors import BusyError, ConflictError
from partialroot.host import local
from partialroot.host.facts import golden
from partialroot.model import Layer, Plan, ZoneSettings
from partialroot.pipeline.remembering import choose
from partialroot.pipeline.sources import Options, reading
from partialroot.plan.facts import DATASET_LEAST
from partialroot.plan.planner import Sharing, plan
from partialroot.plan.space import There, check_space
from partialroot.plan.supplied import with_suppliers
from partialroot.zone.observations import Observations


class Planned(NamedTuple):
    """A plan, and the owners that cannot be given to a file on this host.

    ``follows`` is what it was made from, None where that cannot be told later.
    """

    plan: Plan
    lost_owners: frozenset[tuple[int, int]]
    follows: Observations | None = None


def make_plan(
    options: Options,
    profiles: Sequence[str],
    zonepaths: Sequence[Path],
    *,
    suppliers: bool = True,
    dataset: Callable[[], str] | None = None,
) -> Planned:
    """Return the plan of one command, the same for all its zones.

    A plan that is only looked at needs no ``suppliers``, who may take 0.1 s to find. For a root that is to
    be a dataset, ``dataset`` returns the zonepath's: it may be a clone of one beside that. Raises
    MissingError before a byte is read for measuring, and every other refusal of the stages.
    """
    (selection, contents, supplied), follows = choose(options, profiles, suppliers=suppliers)
    refuse_host_network(selection.settings, options.trust_zone)
    read_only = selection.settings.read_only
    sharing = Sharing.parse(options.share, trust_zone=options.trust_zone, read_only=read_only)
    try:
        facts = local.probe(selection, options.store, zonepaths, into_root=sharing.link_into_root)
    except FileNotFoundError as error:
        where = str(error.filename)
        raise BusyError(
            "went away while it was looked at", path=where, hint="run the command again"
        ) from error
    if dataset:
        from partialroot.host.illumos import goldens

        roots = golden(selection, DATASET_LEAST, lambda: goldens.why_not(dataset()))
        facts = facts._replace(golden=roots._replace(home=Layer.PRIVATE))
    if options.unpacked:
        facts = facts._replace(image_home=options.unpacked.home)
    if local.is_illumos():
        refuse_shared_datasets(zonepaths, facts.image_home)
    if selection.platform == "illumos":  # platform.xml mounts the image in every zone of the brand
        facts = facts._replace(no_mount="")
    planned = plan(selection, facts, contents, sharing)
    check_space(planned, facts, _there(planned, dataset))
    return Planned(with_suppliers(planned, supplied), facts.lost_owners, follows)


def _there(planned: Plan, dataset: Callable[[], str] | None) -> There:
    """Return what of a plan is there, and need not be written."""
    from partialroot.zone import subvolumes  # not for who only follows closures
    from partialroot.zone.site import image_path

    image, key = image_path(planned), planned.golden
    if key and dataset:
        from partialroot.host.illumos import goldens

        has_golden = goldens.Goldens.beside(dataset()).has(key)
    else:
        has_golden = bool(key and image and subvolumes.has(Path(image), key))
    return There(bool(image and os.path.isdir(image)), has_golden)


def only_plan(options: Options, profiles: Sequence[str]) -> Plan:
    """Return the plan of some profiles, for no zone."""
    from partialroot.zone.store import check_store

    check_store(options.store)
    with reading(options) as seen:
        return make_plan(seen, profiles, (), suppliers=False).plan


def refuse_shared_datasets(zonepaths: Sequence[Path], image_home: Path) -> None:
    """Raise ConflictError for a zonepath in the dataset of the images (P2).

    Only a zone of the brand has images of its own: its root will be a dataset, which is then looked at.
    """
    from partialroot.host.facts import existing
    from partialroot.host.illumos.datasets import refuse_shared_dataset

    for zonepath in zonepaths:
        if not image_home.is_relative_to(zonepath):
            refuse_shared_dataset(existing(zonepath), [existing(image_home)])


def refuse_host_network(settings: ZoneSettings, trust_zone: bool) -> None:
    """Raise ConflictError for a zone on the host's network that root does not trust in words.

    It would reach the abstract sockets of the host's services, which no file permission protects.
    """
    if settings.network == "host" and os.geteuid() == 0 and not trust_zone:
        raise ConflictError(
            'network = "host" shows a zone the abstract sockets of the host',
            hint='say --trust-zone, or leave network at "private"',
        )
