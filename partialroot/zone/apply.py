"""Makes a zone at a zonepath, and takes it away: each one transaction."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from partialroot.errors import BusyError, NoReceiptError
from partialroot.model import Plan, Receipt, Request
from partialroot.zone import batch, fs, golden, journal, previous, receipt, transaction
from partialroot.zone.batch import Job, Task
from partialroot.zone.dirs import opened
from partialroot.zone.golden import Built
from partialroot.zone.image import is_intact
from partialroot.zone.journal import Binds, Intent, Step
from partialroot.zone.site import CONFIG, IMAGE, ROOT, ROOT_MODE, Site, dump_config, image_path, make_receipt
from partialroot.zone.store import Registered
from partialroot.zone.transaction import touch_zonepath

if TYPE_CHECKING:
    from partialroot.zone.change import Change

__all__ = [
    "Site",
    "create",
    "creating",
    "recover",
    "refuse_foreign_mounts",
    "remove",
    "removing",
    "roll_back",
    "rolling_back",
    "update",
    "updating",
]


def create(plan: Plan, site: Site, request: Request, config: Mapping[str, Any] | None) -> Receipt:
    """Do :func:`creating` alone."""
    return batch.run(site.store, creating(plan, site, request, config))


def creating(plan: Plan, site: Site, request: Request, config: Mapping[str, Any] | None) -> Job[Receipt]:
    """Make the zone that ``plan`` describes where there is none, and return its receipt.

    ``config`` is what ``config.json`` shall hold. The caller holds the zone's lock, has recovered earlier
    work and seen that the place is vacant. Raises ApplyError; nothing is left of it then.
    """
    image = image_path(plan)
    paths = [ROOT, *([IMAGE] if image else []), *([CONFIG] if config is not None else [])]
    intent = Intent(
        verb="populate",
        zonepath=str(site.zonepath),
        before=None,
        steps=tuple(Step(path, hold=False, put=True) for path in paths),
        touched=touch_zonepath(site.zonepath),
        made=transaction.missing_directories(site.zonepath),
        binds_after=site.binds_of(plan),
        image_after=image,
    )
    builder = ZoneBuilder(plan, site, request, config)
    yield Task(intent, site.mounter, builder.build, builder.make)
    return builder.receipt


def update(
    plan: Plan,
    site: Site,
    request: Request,
    config: Mapping[str, Any] | None,
    old: Receipt,
    tell: "Callable[[Change], object]" = lambda change: None,
) -> bool:
    """Do :func:`updating` alone."""
    return batch.run(site.store, updating(plan, site, request, config, old, tell))


def updating(
    plan: Plan,
    site: Site,
    request: Request,
    config: Mapping[str, Any] | None,
    old: Receipt,
    tell: "Callable[[Change], object]" = lambda change: None,
) -> Job[bool]:
    """Make the zone that ``old`` describes what ``plan`` says; return whether anything had to be done.

    ``tell`` is given what will be done, before it is; it may name another verb.

    Private files that the tenant edited are kept and the new ones put beside as ``NAME.new``; the new
    receipt's warnings name them. Where nothing differs there is no effect but that missing mounts come
    back. The caller holds the zone's lock, has recovered earlier work and seen that no process lives in
    the zone. Raises ConflictError or BusyError before anything is touched, ApplyError when all is undone.
    """
    from partialroot.zone.change import Change

    refuse_foreign_mounts(site, old)
    _have_registered(site, old)
    with _hidden_shown(plan, site, old):
        change = Change(plan, site, request, None if config is None else dump_config(config), old)
        is_needed = not change.is_nothing
        if is_needed:
            tell(change)
            yield Task(change.intent, site.mounter, change.build)
    return _mount(site, change.binds) or is_needed


def _have_registered(site: Site, made: Receipt) -> None:
    """Let the store know of a zone that it does not know, as it was lost: else prune would take its image."""
    if site.store.registered(site.zonepath) is None:
        site.store.register(Registered.of(site.zonepath, made.image))


def roll_back(site: Site, old: Receipt, tell: "Callable[[Change], object]" = lambda change: None) -> None:
    """Do :func:`rolling_back` alone."""
    batch.run(site.store, rolling_back(site, old, tell))


def rolling_back(
    site: Site, old: Receipt, tell: "Callable[[Change], object]" = lambda change: None
) -> Job[None]:
    """Make the zone that ``old`` describes what it was before its last change; that can be undone likewise.

    Files that the tenant edited since are kept as :func:`update` keeps them. The caller holds the zone's
    lock, has recovered earlier work and seen that no process lives in the zone. Raises ConflictError or
    BusyError before anything is touched, ApplyError when all is undone.
    """
    from partialroot.zone.rollback import Rollback, kept

    refuse_foreign_mounts(site, old)
    before = kept(site)
    with _hidden_shown(before.receipt, site, old):
        change = Rollback(before, site, old)
        tell(change)
        yield Task(change.intent, site.mounter, change.build)
    _mount(site, change.binds)


@contextmanager
def _hidden_shown(plan: Plan | Receipt, site: Site, old: Receipt) -> Iterator[None]:
    """Take the mounts away first where they hide what the plan is about, or show a damaged image."""
    binds = site.binds(old)
    tops = plan.mounts if isinstance(plan, Receipt) else plan.tops
    is_needed = set(old.mounts) != set(tops) or (old.image and not is_intact(Path(old.image)))
    if not (binds and site.mounter and is_needed):
        yield
        return
    site.mounter.down(site.zonepath, binds)
    try:
        yield
    except BaseException:
        site.mounter.up(site.zonepath, binds)
        raise


def _mount(site: Site, binds: Binds | None) -> bool:
    """Bring back mounts that a reboot took away; return whether there were any."""
    return bool(binds and site.mounter and site.mounter.up(site.zonepath, binds))


def remove(site: Site, made: Receipt) -> None:
    """Do :func:`removing` alone."""
    batch.run(site.store, removing(site, made))


def removing(site: Site, made: Receipt) -> Job[None]:
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
        touched=touch_zonepath(site.zonepath),
        made=tuple(map(str, registered.made)) if registered else (),
        binds_before=site.binds(made),
        image_before=made.image,
        images_dropped=(
            *previous.image_of(site.store, site.zonepath),
            *(registered.waiting if registered else ()),
        ),
    )
    yield Task(intent, site.mounter, lambda _: None)


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


class ZoneBuilder:
    """Builds everything of a new zone below an open directory; afterwards ``receipt`` says what it is."""

    def __init__(self, plan: Plan, site: Site, request: Request, config: Mapping[str, Any] | None) -> None:
        self._plan = plan
        self._site = site
        self._request = request
        self._config = config
        self._copied: Built | None = None
        self.receipt: Receipt

    def build(self, new: int) -> bytes:
        """Build the image if there is none, then root, image link and spec; return the receipt."""
        plan = self._plan
        image = self._site.image(plan)
        layer = self._build_root(new)
        if image:
            fs.symlink(str(image.path), new, IMAGE)
        if self._config is not None:
            fs.create_file(new, CONFIG, dump_config(self._config))
        lost = [*(image.lost if image else ()), *layer.lost]
        self.receipt = make_receipt(plan, self._site.zonepath, self._request, image, layer.records, lost)
        return receipt.dump(self.receipt)

    def make(self, at: int, name: str) -> None:
        """Make the zonepath: a snapshot that has the root already, or an empty directory."""
        site = self._site
        image = site.image(self._plan) if self._plan.golden else None
        if image:
            from partialroot.zone import subvolumes

            self._copied = subvolumes.snapshot(self._plan, image.path, site.store, site.lost_owners, at, name)
        else:
            transaction.make_zonepath(at, name)

    def _build_root(self, new: int) -> Built:
        site = self._site
        if self._copied is None:
            fs.make_own_directory(new, ROOT, ROOT_MODE)
        with opened(ROOT, new) as top:
            where = site.zonepath / ROOT
            return golden.build_root(self._plan, top, where, site.lost_owners, self._copied, site.originals)
