"""Notes that zones are as their plans say, so that the next refresh need not plan to find nothing to do."""

from collections.abc import Mapping
from typing import Any

from partialroot.host import local
from partialroot.model import Plan, Receipt
from partialroot.observed import Watch, attributes
from partialroot.paths import host_path
from partialroot.zone.settled import Notes, Zone
from partialroot.zone.site import Site
from partialroot.zone.store import Store, zone_key


class Settling:
    """What one command notes; ``watch`` has seen all that its plans are made from."""

    def __init__(self, store: Store, watch: Watch) -> None:
        self._notes = Notes(str(store.root))
        self._watch = watch
        self._documents: dict[object, Mapping[str, Any]] = {}

    def note(self, site: Site, plan: Plan, made: Receipt) -> None:
        """Note that the zone of a receipt is as a plan says."""
        if not self._watch.is_complete or local.is_illumos():  # where packages change behind loopback mounts
            return
        binds = site.binds(made)
        about = Zone(
            zonepath=made.zonepath,
            key=zone_key(site.zonepath),
            image=made.image,
            image_key=zone_key(plan.image_home / str(plan.digest)),
            digest=made.digest,
            tops=binds.tops if binds else (),
            places=tuple(record.path for record in made.entries),
        )
        self._notes.add(about, self._observations(plan), lambda: [one.entry.path for one in plan.shared])

    def _observations(self, plan: Plan) -> Mapping[str, Any]:
        """Return what was seen up to now: all that this plan follows from is in it."""
        watch = self._watch
        key = (id(plan.shared), len(watch.nodes), len(watch.lists), len(watch.files))
        if key not in self._documents:
            self._documents[key] = watch.document(_contents(plan))
        return self._documents[key]


def _contents(plan: Plan) -> dict[str, tuple[str, str]]:
    """Return checksum and attributes of the source's files that are in a plan, by their path on the host."""
    return {
        host_path(plan.source, plan.views, one.entry.source): (
            one.content.sha256,
            attributes(dict(one.content.xattrs)),
        )
        for one in (*plan.shared, *plan.private)
        if one.entry.source and one.content
    }
