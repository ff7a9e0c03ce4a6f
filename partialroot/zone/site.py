"""Where a zone is made, and what is the same whether it is made or changed."""

import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from partialroot import __version__
from partialroot.model import Method, Plan, Receipt, Record, Request
from partialroot.zone.binds import Mounter
from partialroot.zone.image import Image, Images, ensure_image
from partialroot.zone.journal import Binds
from partialroot.zone.originals import Originals
from partialroot.zone.store import Store

ROOT, IMAGE, CONFIG = "root", "image", "config.json"
ROOT_MODE = 0o755

_common: dict[int, tuple[object, str]] = {}


class Site:
    """Where a zone is made or taken away, and what is needed of the host for it.

    ``mounter`` is None where nothing is mounted by us: on illumos, or where mounting is not possible.
    ``lost_owners`` are those that cannot be given to a file here. ``images`` and ``originals`` are those of
    the sites of a batch.
    """

    def __init__(
        self,
        store: Store,
        zonepath: Path,
        mounter: Mounter | None,
        lost_owners: frozenset[tuple[int, int]] = frozenset(),
        images: Images | None = None,
        originals: Originals | None = None,
    ) -> None:
        self.store = store
        self.zonepath = zonepath
        self.mounter = mounter
        self.lost_owners = lost_owners
        self.originals = originals
        self._images = images

    def image(self, plan: Plan) -> Image | None:
        """Return the image of a plan, built unless it is there as it was built; None where it has none."""
        if plan.digest is None:
            return None
        ensure = self._images.ensure if self._images else ensure_image
        return ensure(plan, self.store, self.lost_owners)

    def binds(self, made: Receipt | None) -> Binds | None:
        """Return what is mounted for a receipt."""
        if made is None or made.image is None or self.mounter is None:
            return None
        return Binds(made.image, made.mounts)

    def binds_of(self, plan: Plan) -> Binds | None:
        """Return what will be mounted for a plan."""
        path = image_path(plan)
        return None if path is None or self.mounter is None else Binds(path, plan.tops)


def image_path(plan: Plan) -> str | None:
    """Return the directory of a plan's image on the host, None if it has none."""
    return str(plan.image_home / plan.digest) if plan.digest else None


def make_receipt(
    plan: Plan,
    zonepath: Path,
    request: Request,
    image: Image | None,
    records: Iterable[Record],
    lost: Iterable[str],
) -> Receipt:
    """Return the receipt of a zone made by ``plan``, with what was measured."""
    recorded = [record for record in records if record.method is not Method.MOUNT]  # hidden by the mounts
    return Receipt(
        zonepath=str(zonepath),
        request=request,
        profiles=plan.profiles,
        digest=plan.digest,
        image=str(image.path) if image else None,
        reasons=image.reasons if image else None,
        mounts=plan.tops,
        entries=tuple(sorted(recorded, key=lambda record: record.path)),
        settings=plan.settings,
        warnings=tuple(dict.fromkeys((*plan.warnings, *lost))),
        created=time.time(),
        version=__version__,
        definitions=plan.definitions,
    )


def dump_config(config: Mapping[str, Any]) -> bytes:
    """Return the OCI bundle's spec as a file's content, a line for each key (indenting takes long)."""
    lines = (f"{json.dumps(key)}: {_rendered(config[key])}" for key in sorted(config))
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def _rendered(value: object) -> str:
    """Return a value of a spec as JSON; what zones have in common, the very same object, is rendered once."""
    if isinstance(value, str):
        return json.dumps(value)
    known = _common.get(id(value))
    if known is None:  # what is kept there stays, and so does its id
        known = _common[id(value)] = (value, json.dumps(value, sort_keys=True))
    return known[1]
