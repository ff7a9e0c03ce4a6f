"""From what is wanted to all that must be there with it, over linkers, scripts and modules."""

from collections.abc import Callable, Iterable, Mapping

from partialroot.closure.files import Files
from partialroot.closure.following import Following, Job, Wanted
from partialroot.closure.result import Closure, Collector
from partialroot.nodes import Item
from partialroot.paths import RootPath
from partialroot.source.tree import Tree

_NSSWITCH = "/etc/nsswitch.conf"

__all__ = ["Wanted", "closure"]


def closure(
    tree: Tree,
    wanted: Iterable[Wanted],
    *,
    nss: Iterable[Item] = (),
    pam: Iterable[Item] = (),
    nsswitch: str | None = None,
    texts: Mapping[RootPath, bytes] | None = None,
    taken_from: Callable[[RootPath], RootPath] = lambda path: path,
    excluded: Callable[[RootPath], bool] = lambda path: False,
    notes: bool = True,
    lean: bool = False,
    supplier: Callable[[str], str | None] = lambda name: None,
) -> Closure:
    """Return what is wanted with all that it needs at run time.

    ``nss`` names databases (``passwd``), ``pam`` services (``login``). ``texts`` are what the zone has
    instead of the source's files, or besides them; ``taken_from`` says where the content of a configuration
    file comes from; ``nsswitch`` is what counts instead of nsswitch.conf. What is ``excluded`` is not there
    for any search. ``notes`` says whether what is opened at run time is
    followed, ``lean`` that what illumos loads lazily is not, ``supplier`` which package has a missing thing.
    What is damaged or cannot be read is in the warnings.
    """
    files = Files(tree, excluded, texts or {}, taken_from)
    walk = Following(files, notes, lean, Collector(supplier))
    walk.follow(Job(one.path, one.reason, "wanted", one.severity) for one in wanted)
    if nss or pam or notes:
        _follow_configuration(walk, nss, pam, files.text(_NSSWITCH) if nsswitch is None and nss else nsswitch)
    return walk.closure()


def _follow_configuration(
    walk: Following, nss: Iterable[Item], pam: Iterable[Item], nsswitch: str | None
) -> None:
    """Add what libraries open by configuration."""
    if walk.is_sunos:
        from partialroot.closure import sunos

        sunos.name_services(walk, nss, nsswitch or "")
        sunos.pluggable_modules(walk, pam)
        if walk.notes:
            sunos.openings(walk)
    else:
        from partialroot.closure import linux

        linux.name_services(walk, nss, nsswitch or "")
        linux.pluggable_modules(walk, pam)
