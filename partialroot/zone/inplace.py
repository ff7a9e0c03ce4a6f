"""Builds and changes a root that is a file system of its own, mounted at ``ZONEPATH/root``.

Nothing can be moved into it from beside it. What makes the change whole, or nothing of it, is a snapshot of
that file system, which the caller takes and rolls back; the change is committed when the receipt is renamed.
The caller holds the zone's lock, and no process of the zone lives.
"""

import os

from partialroot.model import Plan, Receipt, Request
from partialroot.zone import fs, golden, receipt
from partialroot.zone.change import Change
from partialroot.zone.dirs import Dirs
from partialroot.zone.golden import Built
from partialroot.zone.removal import remove
from partialroot.zone.site import IMAGE, ROOT, Site, image_path, make_receipt
from partialroot.zone.store import Registered
from partialroot.zone.transaction import make_parents
from partialroot.zone.zonepath import WORK_NAMES

NEW = WORK_NAMES[0]
_FRESH_LINK = f"{IMAGE}.new"


def fill(plan: Plan, site: Site, request: Request, copied: Built | None = None) -> Receipt:
    """Build image and private files in a root that is empty; ApplyError leaves it half filled.

    ``copied`` is what is there already where the root is a copy of a golden layer.
    """
    _register(site, image_path(plan))  # before it is there: nobody releases it from now on
    image = site.image(plan)
    layer = _build_root(plan, site, copied)
    lost = [*(image.lost if image else ()), *layer.lost]
    made = make_receipt(plan, site.zonepath, request, image, layer.records, lost)
    commit(site, made)
    return made


def _build_root(plan: Plan, site: Site, copied: Built | None) -> Built:
    where = site.zonepath / ROOT
    top = fs.open_directory(where)
    try:
        return golden.build_root(plan, top, where, site.lost_owners, copied)
    finally:
        os.close(top)


def update(change: Change, site: Site) -> None:
    """Bring the root to what ``change`` says, up to the commit; ApplyError leaves it half changed."""
    intent = change.intent
    _register(site, intent.image_after)
    root = fs.open_directory(site.zonepath / ROOT)
    try:
        remove(root, NEW)  # of a change that was interrupted, or of the zone, whose name it is not
        fs.make_own_directory(root, NEW)
        new = os.open(NEW, fs.DIRECTORY, dir_fd=root)
        try:
            steps = [step for step in intent.steps if step.path != IMAGE]
            for step in steps:
                if step.put:
                    make_parents(new, step.path)
            data = change.build(new, keeps=False)
            with Dirs(root) as dirs, Dirs(new) as fresh:
                for step in steps:
                    _carry_out(dirs, fresh, step.path, hold=step.hold, put=step.put)
        finally:
            os.close(new)
        remove(root, NEW)
        with Dirs(root) as dirs:
            for touched in intent.touched:
                if touched.path != ".":
                    fs.mend_meta(dirs.fd(_inside(touched.path)), *touched.after, touched.path)
    finally:
        os.close(root)
    commit(site, receipt.load(data, str(site.zonepath)))


def commit(site: Site, made: Receipt) -> None:
    """Write the receipt, and let the zone's image be the one it names."""
    zone = fs.open_directory(site.zonepath)
    try:
        fs.save(zone, receipt.NAME, receipt.dump(made))
        point_to(zone, made.image)
    finally:
        os.close(zone)


def point_to(zone: int, image: str | None) -> None:
    """Let ``image`` in the open zonepath lead to an image, in one step."""
    if image is None:
        fs.discard(zone, IMAGE)
        return
    fs.discard(zone, _FRESH_LINK)
    fs.symlink(image, zone, _FRESH_LINK)
    fs.rename(zone, _FRESH_LINK, zone, IMAGE)
    fs.sync(zone, "zonepath")


def _register(site: Site, image: str | None) -> None:
    site.store.register(Registered.of(site.zonepath, image))


def _carry_out(dirs: Dirs, fresh: Dirs, path: str, *, hold: bool, put: bool) -> None:
    parent, name = os.path.dirname(path), os.path.basename(path)
    at = dirs.fd(_inside(parent))
    if hold:
        remove(at, name)
    if put:
        fs.move(fresh.fd(f"/{parent}"), name, at, name)


def _inside(path: str) -> str:
    """Return a path below the zonepath as one inside the root."""
    return path.removeprefix(ROOT)
