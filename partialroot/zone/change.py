"""What makes a zone that is there what a new plan says, as one transaction."""

import os
import stat
from collections.abc import Iterable, Iterator
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from partialroot.model import Plan, Receipt, Record, Request
from partialroot.paths import RootPath
from partialroot.zone import difference, fs, journal, previous, receipt, transaction
from partialroot.zone.converge import Decision, decide, inside
from partialroot.zone.difference import Difference
from partialroot.zone.image import Image, is_intact, reasons_of
from partialroot.zone.journal import Intent, Step
from partialroot.zone.layer import LayerBuilder
from partialroot.zone.measured import LOST
from partialroot.zone.site import CONFIG, IMAGE, ROOT, Site, image_path, make_receipt
from partialroot.zone.transaction import touch_zonepath
from partialroot.zone.verify import open_root


class Brought(NamedTuple):
    """What bringing a zone to another state comes to, or would come to: paths as the zone sees them.

    ``digests`` are the images' before and after. What is ``changed`` may also be only as it should have been
    before. ``kept`` are files that the zone edited, each with the place of the new one if it was put beside.
    """

    digests: tuple[str | None, str | None]
    added: tuple[RootPath, ...]
    removed: tuple[RootPath, ...]
    changed: tuple[RootPath, ...]
    kept: tuple[tuple[RootPath, RootPath | None], ...]


class Change:
    """What makes an existing zone what a plan says: decided when made, built by :meth:`build`.

    ``config`` is what ``config.json`` shall hold; ``image`` is the directory of the image it will have.
    """

    verb = "populate"
    """What recovery tells that was interrupted."""

    def __init__(self, plan: Plan, site: Site, request: Request, config: bytes | None, old: Receipt) -> None:
        self._plan, self._site, self._request, self._old = plan, site, request, old
        self._config = config
        self.image = image_path(plan)
        self._private = difference.private(plan, old, site.lost_owners)
        self.binds = site.binds_of(plan)
        zone = fs.open_directory(site.zonepath)
        try:
            self._before = transaction.receipt_bytes(zone)
            self._steps = (*self._image_step(zone), *self._config_step(zone))
        finally:
            os.close(zone)
        with open_root(site.zonepath) as root:
            self._decision = self._decide(root)

    def _decide(self, root: int) -> Decision:
        return decide(self._plan, self._old, root, self._site.lost_owners)

    def _image_step(self, zone: int) -> Iterator[Step]:
        found = fs.status(zone, IMAGE)
        now = os.readlink(IMAGE, dir_fd=zone) if found and stat.S_ISLNK(found.st_mode) else None
        if now != self.image or (found and not self.image):
            yield Step(IMAGE, hold=found is not None, put=self.image is not None)

    def _config_step(self, zone: int) -> Iterator[Step]:
        found = fs.status(zone, CONFIG)
        now = self._config_before = fs.read(zone, CONFIG) if found else None
        if now != self._config:
            yield Step(CONFIG, hold=found is not None, put=self._config is not None)

    @property
    def is_nothing(self) -> bool:
        """Whether the zone is what the plan says already."""
        plan, old = self._plan, self._old
        return (
            self._decision.is_nothing
            and not self._steps
            and (self.image is None or is_intact(Path(self.image)))
            and (old.request, old.profiles, old.digest) == (self._request, plan.profiles, plan.digest)
            and (old.mounts, old.settings) == (plan.tops, plan.settings)
            and old.definitions == plan.definitions
            and old.reasons == (reasons_of(plan)[0] if plan.digest else None)
            and set(plan.warnings) <= set(old.warnings)
            and sorted(self._decision.kept, key=attrgetter("path")) == list(old.entries)
        )

    @property
    def is_new(self) -> bool:
        """Whether the zone becomes something else, and not only again what it was meant to be."""
        return bool(self._steps or any(self._private))

    def brought(self, shared: Difference) -> Brought:
        """Return what this comes to; ``shared`` is what differs between the images."""
        edited, found = self._decision.edited, shared + self._private
        touched = (one.path for one in self._decision.touched.values() if one.before != one.after)
        done = {inside(path) for path in (*(step.path for step in self._decision.steps), *touched)}
        known = {*found.added, *found.removed, *filter(None, edited.values())}
        return Brought(
            (self._old.digest, self._plan.digest),
            tuple(path for path in found.added if path not in edited),
            tuple(path for path in found.removed if path not in edited),
            tuple(sorted({*found.changed, *done} - known - edited.keys())),
            tuple(sorted(edited.items())),
        )

    @property
    def intent(self) -> Intent:
        """Return what is written to the journal."""
        store, zonepath = self._site.store, self._site.zonepath
        registered = store.registered(zonepath)
        return Intent(
            verb=self.verb,
            zonepath=str(zonepath),
            before=journal.digest(self._before),
            steps=(*self._decision.steps, *self._steps),
            touched=(*touch_zonepath(zonepath), *self._decision.touched.values()),
            made=tuple(map(str, registered.made)) if registered else (),
            binds_before=self._site.binds(self._old),
            binds_after=self.binds,
            image_before=self._old.image,
            image_after=self.image,
            images_dropped=(
                *(previous.image_of(store, zonepath) if self.is_new else ()),
                *(registered.waiting if registered else ()),
            ),
        )

    def _ensure_image(self) -> Image | None:
        return self._site.image(self._plan)

    def build(self, new: int, *, keeps: bool = True) -> bytes:
        """Build what the steps put, keep what they replace, so that it can come back; return the receipt."""
        image = self._ensure_image()
        if self.is_new and keeps:
            self._keep_previous()
        layer = self._build_staged(new) if self._decision.staged else None
        for step in self._steps:
            if step.put and step.path == IMAGE:
                fs.symlink(str(self.image), new, IMAGE)
            elif step.put:
                fs.create_file(new, CONFIG, self._config or b"")
        built = [one for one in layer.records if one.path not in self._decision.beside] if layer else []
        lost = [*(image.lost if image else ()), *(layer.lost if layer else ()), *self._decision.notes]
        return receipt.dump(
            make_receipt(
                self._plan,
                self._site.zonepath,
                self._request,
                image,
                self._records(built),
                [*lost, *self._lost_before()],
            )
        )

    def _records(self, built: Iterable[Record]) -> list[Record]:
        """Return what the new receipt shall have: what is kept, and what was built."""
        return [*self._decision.kept, *built]

    def _keep_previous(self) -> None:
        """Keep the receipt, and what the steps move out of the root or write over."""
        held = {inside(step.path) for step in self._decision.steps if step.hold}
        replaced = [one for one in self._old.entries if held & {one.path, *one.path.ancestors}]
        is_new_config = any(step.path == CONFIG for step in self._steps)
        zone = fs.open_directory(self._site.zonepath)
        try:
            root = os.open(ROOT, fs.DIRECTORY, dir_fd=zone)
            try:
                config = self._config_before if is_new_config else None
                previous.write(self._site.store, self._old, config, root, replaced)
            finally:
                os.close(root)
        finally:
            os.close(zone)

    def _lost_before(self) -> Iterator[str]:
        """Yield the warnings about xattrs of what is not written anew."""
        before = [warning for warning in self._old.warnings if LOST in warning]
        fresh = {action.entry.path for action in self._decision.staged}
        stays = {action.entry.path for action in self._plan.actions} - fresh if before else fresh
        for warning in before:
            if warning.partition(LOST)[0] in stays:
                yield warning

    def _build_staged(self, new: int) -> LayerBuilder:
        top = os.open(ROOT, fs.DIRECTORY, dir_fd=new)
        try:
            site = self._site
            layer = LayerBuilder(top, self._plan, site.zonepath / ROOT, site.lost_owners)
            layer.build(self._decision.staged)
        finally:
            os.close(top)
        return layer
