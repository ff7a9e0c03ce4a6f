"""Makes a copy of an image in another home: a zone that has an image of its own was cloned."""

from pathlib import Path

from partialroot.errors import NoReceiptError
from partialroot.model import Action, Entry, Layer, Method, Plan, Receipt, Record
from partialroot.nodes import Content
from partialroot.zone.image import ensure_image
from partialroot.zone.receipt import Origins, read_manifest, read_origins
from partialroot.zone.store import Store

_KEPT = (Method.MKDIR, Method.MOUNT, Method.SYMLINK)


def copy_image(store: Store, made: Receipt, home: Path) -> None:
    """Copy the image of a zone into ``home``, where it has the same name.

    Raises NoReceiptError when it is gone, ApplyError when it cannot be copied.
    """
    if made.image is None or made.digest is None:
        raise NoReceiptError("the zone has no image", path=made.zonepath)
    image = Path(made.image)
    origins = read_origins(made)
    plan = Plan(
        profiles=made.profiles,
        source=image,
        platform=made.request.platform,
        shared=tuple(_copying(one, origins) for one in read_manifest(image)),
        private=(),
        digest=made.digest,
        image_home=home,
        tops=made.mounts,
        missing=(),
        warnings=(),
        settings=made.settings,
    )
    ensure_image(plan, store)


def _copying(record: Record, origins: Origins) -> Action:
    entry = Entry(
        path=record.path,
        type=record.type,
        mode=record.mode,
        uid=record.uid,
        gid=record.gid,
        layer=Layer.SHARED,
        reasons=origins.reasons.get(record.path, ()),
        size=record.size,
        mtime_ns=record.mtime_ns,
        target=record.target,
        source=None if record.method in _KEPT else record.path,
    )
    method = record.method if record.method in _KEPT else Method.COPY
    content = None if record.sha256 is None else Content(record.sha256, record.xattrs)
    supplier = origins.suppliers.get(record.path)
    return Action(entry, method, "a copy of another zone's own image", content, supplier=supplier)
