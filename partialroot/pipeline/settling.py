"""Notes that zones are as their plans say, so that the next refresh need not plan to find nothing to do."""

from partialroot.model import Receipt
from partialroot.pipeline.planning import Planned
from partialroot.zone.settled import Notes, Zone
from partialroot.zone.site import Site
from partialroot.zone.store import Store, zone_key


class Settling:
    """What one command notes."""

    def __init__(self, store: Store) -> None:
        self._notes = Notes(str(store.root))

    def note(self, site: Site, planned: Planned, made: Receipt) -> None:
        """Note that the zone of a receipt is as a plan says, if it can be told later whether that changed."""
        plan, follows = planned.plan, planned.follows
        if follows is None:
            return
        follows.save()
        binds = site.binds(made)
        about = Zone(
            zonepath=made.zonepath,
            key=zone_key(site.zonepath),
            image=made.image,
            image_key=zone_key(plan.image_home / str(plan.digest)),
            digest=made.digest,
            tops=binds.tops if binds else (),
            places=tuple(record.path for record in made.entries),
            request=follows.key,
            observed=follows.name,
        )
        self._notes.add(about, lambda: [one.entry.path for one in plan.shared])
