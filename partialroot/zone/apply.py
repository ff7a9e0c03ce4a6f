"""Makes a zone at a zonepath, and takes it away: each one transaction."""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from partialroot import __version__
from partialroot.errors import BusyError, NoReceiptError
from partialroot.model import Layer, Plan, Receipt, Record, Request
from partialroot.zone import fs, journal, receipt, transaction
from partialroot.zone.binds import Mounter
from partialroot.zone.image import Image, ensure_image
from partialroot.zone.journal import Binds, Intent, Step, Touched
from partialroot.zone.layer import LayerBuilder
from partialroot.zone.store import Store

ROOT, IMAGE, CONFIG = "root", "image", "config.json"
ROOT_MODE = 0o755


class Site:
    """Where a zone is made or taken away, and what is needed of the host for it.

    ``mounter`` is None where nothing is mounted by us: on illumos, or where mounting is not possible.
    ``lost_owners`` are those that cannot be given to a file here.
    """

    def __init__(
        self,
        store: Store,
        zonepath: Path,
        mounter: Mounter | None,
        lost_owners: frozenset[tuple[int, int]] = frozenset(),
    ) -> None:
        self.store = store
        self.zonepath = zonepath
        self.mounter = mounter
        self.lost_owners = lost_owners

    def binds(self, made: Receipt | None) -> Binds | None:
        """Return what is mounted for a receipt."""
        if made is None or made.image is None or self.mounter is None:
            return None
        return Binds(made.image, made.mounts)


def create(plan: Plan, site: Site, request: Request, config: Mapping[str, Any] | None) -> Receipt:
    """Make the zone that ``plan`` describes where there is none, and return its receipt.

    ``config`` is what ``config.json`` shall hold. The caller holds the zone's lock, has recovered earlier
    work and seen that the place is vacant. Raises ApplyError; nothing is left of it then.
    """
    image = str(plan.image_home / plan.digest) if plan.digest else None
    binds = Binds(image, plan.tops) if image and site.mounter else None
    paths = [ROOT, *([IMAGE] if image else []), *([CONFIG] if config is not None else [])]
    intent = Intent(
        verb="populate",
        zonepath=str(site.zonepath),
        before=None,
        steps=tuple(Step(path, hold=False, put=True) for path in paths),
        touched=_touch_zonepath(site.zonepath),
        made=transaction.missing_directories(site.zonepath),
        binds_after=binds,
        image_after=image,
    )
    builder = ZoneBuilder(plan, site, request, config)
    transaction.run(site.store, intent, site.mounter, builder.build)
    return builder.receipt


def remove(site: Site, made: Receipt) -> None:
    """Take the zone away that ``made`` describes; the image goes with the last zone that uses it.

    The zonepath goes too if we made it and nothing else is in it. The caller holds the zone's lock, has
    recovered earlier work and seen that no process lives in the zone. Raises BusyError when something is
    mounted inside that is not ours, ApplyError when it fails; the zone is as before then.
    """
    refuse_foreign_mounts(site, made)
    registered = site.store.registered(site.zonepath)
    zone = fs.open_directory(site.zonepath)
    try:
        before = transaction.receipt_bytes(zone)
        paths = [path for path in (ROOT, IMAGE, CONFIG) if fs.exists(zone, path)]
    finally:
        os.close(zone)
    if before is None:
        raise NoReceiptError("there is no receipt", path=str(site.zonepath))
    intent = Intent(
        verb="remove",
        zonepath=str(site.zonepath),
        before=journal.digest(before),
        steps=tuple(Step(path, hold=True, put=False) for path in paths),
        touched=_touch_zonepath(site.zonepath),
        made=tuple(map(str, registered.made)) if registered else (),
        binds_before=site.binds(made),
        image_before=made.image,
    )
    transaction.run(site.store, intent, site.mounter, lambda _: None)


def recover(site: Site) -> str | None:
    """Undo or finish earlier work that was interrupted; return a sentence that says so, None if none was.

    The caller holds the zone's lock. Raises BusyError when it cannot be done.
    """
    return transaction.recover(site.store, site.zonepath, site.mounter)


def refuse_foreign_mounts(site: Site, made: Receipt) -> None:
    """Raise BusyError when something is mounted in the zonepath that is not the zone's shared layer."""
    if site.mounter is None:
        return
    for place in site.mounter.foreign(site.zonepath, site.binds(made)):
        raise BusyError("something is mounted there that is not ours", path=place, hint=f"umount {place}")


def _touch_zonepath(zonepath: Path) -> tuple[Touched, ...]:
    """Return the zonepath, if it is there, as a directory that changes and becomes private."""
    try:
        before = transaction.stamp_of(os.lstat(zonepath))
    except FileNotFoundError:
        return ()
    return (Touched(".", before, before._replace(mode=transaction.PRIVATE_MODE)),)


class ZoneBuilder:
    """Builds everything of a new zone below an open directory; afterwards ``receipt`` says what it is."""

    def __init__(self, plan: Plan, site: Site, request: Request, config: Mapping[str, Any] | None) -> None:
        self._plan = plan
        self._site = site
        self._request = request
        self._config = config
        self.receipt: Receipt

    def build(self, new: int) -> bytes:
        """Build the image if there is none, then root, image link and spec; return the receipt."""
        plan = self._plan
        image = ensure_image(plan, self._site.store, self._site.lost_owners) if plan.digest else None
        layer = self._build_root(new)
        if image:
            fs.symlink(str(image.path), new, IMAGE)
        if self._config is not None:
            fs.create_file(new, CONFIG, dump_config(self._config))
        lost = [*(image.lost if image else ()), *layer.lost]
        self.receipt = make_receipt(plan, self._site.zonepath, self._request, image, layer.records, lost)
        return receipt.dump(self.receipt)

    def _build_root(self, new: int) -> LayerBuilder:
        plan = self._plan
        fs.make_directory(new, ROOT)
        top = os.open(ROOT, fs.DIRECTORY, dir_fd=new)
        try:
            where = self._site.zonepath / ROOT
            layer = LayerBuilder(top, plan.source, where, self._site.lost_owners)
            fs.set_mode(top, ROOT_MODE, ROOT)
            for point in plan.tops:
                fs.make_directory(top, point.name)
            layer.build(action for action in plan.actions if action.entry.layer is Layer.PRIVATE)
        finally:
            os.close(top)
        return layer


def make_receipt(
    plan: Plan,
    zonepath: Path,
    request: Request,
    image: Image | None,
    records: list[Record],
    lost: list[str],
) -> Receipt:
    """Return the receipt of a zone made by ``plan``, with what was measured."""
    return Receipt(
        zonepath=str(zonepath),
        request=request,
        profiles=plan.profiles,
        digest=plan.digest,
        image=str(image.path) if image else None,
        reasons=image.reasons if image else None,
        mounts=plan.tops,
        entries=tuple(sorted(records, key=lambda record: record.path)),
        settings=plan.settings,
        warnings=(*plan.warnings, *lost),
        created=time.time(),
        version=__version__,
    )


def dump_config(config: Mapping[str, Any]) -> bytes:
    """Return the OCI bundle's spec as a file's content."""
    return json.dumps(config, sort_keys=True, indent=1).encode() + b"\n"
