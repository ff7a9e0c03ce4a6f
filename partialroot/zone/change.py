"""What makes a zone that is there what a new plan says, as one transaction."""

import os
import stat
from collections.abc import Iterator, Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any

from partialroot.model import Plan, Receipt, Request
from partialroot.zone import fs, journal, receipt, transaction
from partialroot.zone.converge import decide
from partialroot.zone.image import ensure_image, is_intact, reasons_of
from partialroot.zone.journal import Intent, Step
from partialroot.zone.layer import LOST, LayerBuilder
from partialroot.zone.site import CONFIG, IMAGE, ROOT, Site, dump_config, image_path, make_receipt
from partialroot.zone.transaction import touch_zonepath


class Change:
    """What makes an existing zone what a plan says: decided when made, built by :meth:`build`."""

    def __init__(
        self, plan: Plan, site: Site, request: Request, config: Mapping[str, Any] | None, old: Receipt
    ) -> None:
        self._plan, self._site, self._request, self._old = plan, site, request, old
        self._config = None if config is None else dump_config(config)
        self._image = image_path(plan)
        self.binds = site.binds_of(plan)
        zone = fs.open_directory(site.zonepath)
        try:
            self._before = transaction.receipt_bytes(zone)
            self._steps = (*self._image_step(zone), *self._config_step(zone))
            root = os.open(ROOT, fs.DIRECTORY, dir_fd=zone)
            try:
                self._decision = decide(plan, old, root, site.lost_owners)
            finally:
                os.close(root)
        finally:
            os.close(zone)

    def _image_step(self, zone: int) -> Iterator[Step]:
        found = fs.status(zone, IMAGE)
        now = os.readlink(IMAGE, dir_fd=zone) if found and stat.S_ISLNK(found.st_mode) else None
        if now != self._image or (found and not self._image):
            yield Step(IMAGE, hold=found is not None, put=self._image is not None)

    def _config_step(self, zone: int) -> Iterator[Step]:
        found = fs.status(zone, CONFIG)
        now = fs.read(zone, CONFIG) if found else None
        if now != self._config:
            yield Step(CONFIG, hold=found is not None, put=self._config is not None)

    @property
    def is_nothing(self) -> bool:
        """Whether the zone is what the plan says already."""
        plan, old = self._plan, self._old
        return (
            self._decision.is_nothing
            and not self._steps
            and (self._image is None or is_intact(Path(self._image)))
            and (old.request, old.profiles, old.digest) == (self._request, plan.profiles, plan.digest)
            and (old.mounts, old.settings) == (plan.tops, plan.settings)
            and old.reasons == (reasons_of(plan)[0] if plan.digest else None)
            and set(plan.warnings) <= set(old.warnings)
            and sorted(self._decision.kept, key=attrgetter("path")) == list(old.entries)
        )

    @property
    def intent(self) -> Intent:
        """Return what is written to the journal."""
        registered = self._site.store.registered(self._site.zonepath)
        return Intent(
            verb="populate",
            zonepath=str(self._site.zonepath),
            before=journal.digest(self._before),
            steps=(*self._decision.steps, *self._steps),
            touched=(*touch_zonepath(self._site.zonepath), *self._decision.touched.values()),
            made=tuple(map(str, registered.made)) if registered else (),
            binds_before=self._site.binds(self._old),
            binds_after=self.binds,
            image_before=self._old.image,
            image_after=self._image,
        )

    def build(self, new: int) -> bytes:
        """Build what the steps put; return the receipt."""
        plan = self._plan
        image = ensure_image(plan, self._site.store, self._site.lost_owners) if plan.digest else None
        layer = self._build_staged(new) if self._decision.staged else None
        for step in self._steps:
            if step.put and step.path == IMAGE:
                fs.symlink(str(self._image), new, IMAGE)
            elif step.put:
                fs.create_file(new, CONFIG, self._config or b"")
        built = [one for one in layer.records if one.path not in self._decision.beside] if layer else []
        lost = [*(image.lost if image else ()), *(layer.lost if layer else ()), *self._decision.notes]
        records = [*self._decision.kept, *built]
        return receipt.dump(
            make_receipt(
                plan, self._site.zonepath, self._request, image, records, [*lost, *self._lost_before()]
            )
        )

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
