"""What is chosen for a request: as it was the last time, if nothing has changed that it follows from."""

from collections.abc import Sequence
from typing import NamedTuple

from partialroot import observed
from partialroot.host import local
from partialroot.pipeline.sources import Options, open_tree, platform_name
from partialroot.plan.chosen import Chosen
from partialroot.zone.observations import Observations


class Choice(NamedTuple):
    """What is chosen, and what that follows from; None where that cannot be told later."""

    chosen: Chosen
    follows: Observations | None


def choose(options: Options, profiles: Sequence[str], *, suppliers: bool = True) -> Choice:
    """Return what is chosen of the source for some profiles, as ``choosing.choose`` does.

    Nothing is written: who has done what follows from it saves what is to be remembered.
    """
    follows = observations_of(options, profiles)
    if follows is None:
        return Choice(_choose(options, profiles, suppliers), None)
    known = follows.recall()
    if known is not None:
        return Choice(known, follows)
    if not suppliers:  # it is only looked at
        return Choice(_choose(options, profiles, suppliers), None)
    with observed.watching() as watch:
        chosen = _choose(options, profiles, suppliers)
    if not watch.is_complete:
        return Choice(chosen, None)
    follows.note(watch, chosen)
    return Choice(chosen, follows)


def _choose(options: Options, profiles: Sequence[str], suppliers: bool) -> Chosen:
    from partialroot.pipeline.choosing import choose  # which takes as long to import as to recall

    return choose(options, profiles, suppliers=suppliers)


def observations_of(options: Options, profiles: Sequence[str]) -> Observations | None:
    """Return what may be known of a request; None for one that nothing is remembered of.

    Nothing is newer than a tarball, and on illumos packages change behind loopback mounts. A plan depends on
    neither how files are shared nor, but for a warning on illumos, on the zone's address and host name.
    """
    if options.unpacked or options.views or local.is_illumos():
        return None
    platform = platform_name(options, open_tree(options))
    request = options.request(profiles, platform)._replace(share=(), trust_zone=False)
    if platform != "illumos":
        request = request._replace(address=None, hostname=None)
    return Observations(str(options.store), observed.checksum(repr((request, str(options.store)))))
