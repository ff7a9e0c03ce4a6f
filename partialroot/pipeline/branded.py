"""What a zone brand's hooks do with a zone whose root is a dataset: build, refresh, adopt and forget it."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from partialroot.errors import ConflictError, NoReceiptError, ProfileError
from partialroot.host.illumos.datasets import Datasets, refuse_shared_dataset
from partialroot.model import Receipt, Request
from partialroot.pipeline.planning import Planned, make_plan
from partialroot.pipeline.sources import Options, reading
from partialroot.source.tree import Tree
from partialroot.zone import clones, fs, golden, inplace
from partialroot.zone import receipt as receipts
from partialroot.zone.carry import copy_image
from partialroot.zone.change import Change
from partialroot.zone.golden import Built
from partialroot.zone.image import release_image
from partialroot.zone.removal import remove
from partialroot.zone.site import IMAGE, Site
from partialroot.zone.state import Known, changed_profiles, changed_sources
from partialroot.zone.store import HOME_NAME, OWN_HOME, Registered, Store
from partialroot.zone.zonepath import WORK_NAMES

OURS = (IMAGE, f"{IMAGE}.new", receipts.NAME, receipts.PER_ROOT, HOME_NAME, *WORK_NAMES)
"""What is ours in a zonepath beside the root."""
OF_OTHER_ROOTS = (receipts.PER_ROOT, HOME_NAME)
"""What of it the roots of other boot environments need."""
OWN_IMAGES = f"{HOME_NAME}/{OWN_HOME}"
"""Where in its zonepath a zone has an image of its own: what came from a tarball goes wherever it goes."""
LIBC = frozenset(f"/lib/{name}libc.so.1" for name in ("", "amd64/", "sparcv9/"))
"""The C libraries: they must match the kernel."""
UNDO = "partialroot-"
"""How the snapshot is called that a change can be rolled back to; then comes the receipt's digest."""


class Branded:
    """The zones of the brand, with one store and one source. Every method takes the zone's lock.

    ``ZONEPATH/receipt.json`` is that of the root that is mounted; ``receipts/`` has one for each root, by
    the last part of its dataset's name, so that each boot environment finds its own again.
    """

    def __init__(self, options: Options) -> None:
        self._options = options

    # --- install ------------------------------------------------------------------------------------

    @contextmanager
    def reading(self, zonepath: Path) -> "Iterator[Branded]":
        """Yield the same, while the source's own files are seen: plan and build belong together.

        A tarball is unpacked where the zone's own image will be.
        """
        with reading(self._options, zonepath / OWN_IMAGES) as options:
            yield Branded(options)

    def plan(self, datasets: Datasets, profiles: Sequence[str]) -> Planned:
        """Return what would be built, with every refusal that needs no effect."""
        return make_plan(
            self._options,
            profiles,
            [datasets.zonepath],
            dataset=datasets.top,
        )

    def build(self, datasets: Datasets, planned: Planned, profiles: Sequence[str]) -> None:
        """Build the zone in a root of its own, and leave that mounted."""
        plan, zonepath = planned.plan, datasets.zonepath
        store = Store(self._options.store)
        with store.lock_zone(zonepath):
            layer = self._make_root(datasets, planned, store)
            refuse_shared_dataset(datasets.mount_point, [store.root, plan.source])
            site = Site(store, zonepath, None, planned.lost_owners)
            inplace.fill(plan, site, self._options.request(profiles, plan.platform), layer)
            _keep(datasets)

    def _make_root(self, datasets: Datasets, planned: Planned, store: Store) -> Built | None:
        """Make the root: empty, or a clone of a golden one; then return what is in it."""
        if planned.plan.golden is None:
            datasets.create()
            return None
        keeper = clones.Clones(datasets)
        with clones.lock(store):
            key = golden.ensure(planned.plan, keeper, planned.lost_owners)
            keeper.copy(key)
        return golden.read(planned.plan, keeper.notes(key))

    # --- at every start -----------------------------------------------------------------------------

    def adopt(self, datasets: Datasets, source: Path | None = None) -> Receipt:
        """Let the zonepath be about the root that is mounted, and return its receipt.

        It may be that of another boot environment, zone or place. ``source`` is the zonepath that the root
        was cloned from. NoReceiptError for a root that we know nothing of.
        """
        store = Store(self._options.store)
        with store.lock_zone(datasets.zonepath):
            self._recover(datasets, store)
            found = receipts.read(source) if source else _find_receipt(datasets)
            if found is None:
                raise NoReceiptError("no zone of ours", path=str(source or datasets.zonepath))
            made = _brought_along(found, source, datasets.zonepath, store)
            if made != receipts.read(datasets.zonepath) or _points_to(datasets.zonepath) != made.image:
                inplace.commit(Site(store, datasets.zonepath, None), made)
            _keep(datasets)
            registered = Registered.of(datasets.zonepath, made.image)
            if store.registered(datasets.zonepath) != registered:
                store.register(registered)
            _unregister_former(found, store)
            return made

    def refresh(self, datasets: Datasets) -> bool:
        """Bring an adopted zone up to date with the source; return whether anything was done.

        All or nothing: a failure is raised when the zone is as before. Nothing is newer than a tarball.
        """
        old = _receipt_of(datasets.zonepath)
        if old.request.is_from_tarball:
            return False
        with reading(Options.again(old.request, self._options.store)) as options:
            if self._is_current(old, options):
                return False
            planned = make_plan(options, old.request.profiles, [datasets.zonepath])
            return self._change(datasets, old, planned, old.request)

    def converge(self, datasets: Datasets, planned: Planned, request: Request) -> bool:
        """Bring a zone that is down to another plan; return whether anything was done. As :meth:`refresh`."""
        if planned.plan.digest is None:
            raise ConflictError(
                "every zone of the brand has an image, which its platform mounts",
                path=str(datasets.zonepath),
                hint="let --share have mount",
            )
        return self._change(datasets, self.adopt(datasets), planned, request)

    def _change(self, datasets: Datasets, old: Receipt, planned: Planned, request: Request) -> bool:
        store = Store(self._options.store)
        with store.lock_zone(datasets.zonepath):
            refuse_shared_dataset(datasets.mount_point, [store.root, planned.plan.source])
            site = Site(store, datasets.zonepath, None, planned.lost_owners)
            change = Change(planned.plan, site, request, None, old)
            if change.is_nothing:
                return False
            label = _undo_label(datasets.zonepath)
            datasets.snapshot(label)
            try:
                inplace.update(change, site)
            finally:
                self._recover(datasets, store)
            _keep(datasets)
            before = Path(old.image) if old.image and old.image != change.intent.image_after else None
            if before and not before.is_relative_to(datasets.zonepath):  # roots of before may need their own
                release_image(store, before)
        return True

    def _is_current(self, made: Receipt, options: Options) -> bool:
        """Whether its profiles and the files it came from are what they were: by lstat(2), if that tells.

        A profile that cannot be read keeps no zone from starting.
        """
        if made.image is None or not Path(made.image).is_dir():
            return False
        with suppress(ProfileError):
            if next(changed_profiles(made, Known()), None):
                return False
        tree = Tree(options.source, views=options.views)
        records = [*made.entries, *Known().images.records(made.image)]
        return next(changed_sources(records, tree), None) is None

    def is_from_tarball(self, zonepath: Path) -> bool:
        """Whether a zone is what a tarball was, whatever the source is now."""
        return _receipt_of(zonepath).request.is_from_tarball

    def strange_libc(self, zonepath: Path) -> str:
        """Say how the zone's C library differs from that of the running system; "" when it does not."""
        made = _receipt_of(zonepath)
        if made.image is None:
            return ""
        records = [one for one in Known().images.records(made.image) if one.path in LIBC]
        with reading(self._options) as options:
            tree = Tree(options.source, views=options.views)
            return "; ".join(changed_sources(records, tree))

    def _recover(self, datasets: Datasets, store: Store) -> None:
        """Roll back a change that did not get as far as its receipt; forget about one that did."""
        name = datasets.mounted()
        for snapshot in datasets.snapshots(UNDO) if name else ():
            if snapshot.rpartition("@")[2] == _undo_label(datasets.zonepath):
                datasets.roll_back(snapshot)
                before = receipts.read(datasets.zonepath)
                store.register(Registered.of(datasets.zonepath, before and before.image))
            datasets.forget(snapshot)

    # --- the end ------------------------------------------------------------------------------------

    def forget(self, zonepath: Path, *, all_roots: bool = True) -> None:
        """Remove all of ours in the zonepath but the root; images that no other zone uses go too.

        Without ``all_roots`` the receipts of other boot environments' roots stay. Copes with a zone of which
        only a part was made.
        """
        self._forget(zonepath, [name for name in OURS if all_roots or name not in OF_OTHER_ROOTS])

    def reclaim(self) -> None:
        """Destroy the golden layers that no zone has any more."""
        for _ in clones.prune(Store(self._options.store), dry_run=False):
            pass

    def let_go(self, zonepath: Path) -> None:
        """Let the zone no longer use this system's images; its receipts stay, for who attaches it."""
        self._forget(zonepath, (IMAGE,))

    def _forget(self, zonepath: Path, names: Sequence[str]) -> None:
        store = Store(self._options.store)
        with store.lock_zone(zonepath):
            images = {_points_to(zonepath)}
            registered = store.registered(zonepath)
            if registered and registered.image:
                images.add(str(registered.image))
            with suppress(NoReceiptError):
                if made := receipts.read(zonepath):
                    _unregister_former(made, store)
            if zonepath.is_dir():
                zone = fs.open_directory(zonepath)
                try:
                    for name in names:
                        remove(zone, name)
                finally:
                    os.close(zone)
            store.unregister(zonepath)
            for image in map(Path, sorted(filter(None, images))):
                if not image.is_relative_to(zonepath):
                    release_image(store, image)


def _receipt_of(zonepath: Path) -> Receipt:
    found = receipts.read(zonepath)
    if found is None:
        raise NoReceiptError("there is no receipt", path=str(zonepath))
    return found


def _brought_along(found: Receipt, source: Path | None, zonepath: Path, store: Store) -> Receipt:
    """Return a receipt as that of the zone at ``zonepath``, with the image that is a zone's own.

    That went with the zonepath, if the zone was moved; a clone of the zone at ``source`` gets a copy.
    """
    made = _moved(found, zonepath)
    if source and made.image and Path(made.image).is_relative_to(zonepath):
        copy_image(store, _moved(found, source), Path(made.image).parent)
    return made


def _moved(made: Receipt, zonepath: Path) -> Receipt:
    """Return a receipt as it is when its zone is at another place."""
    image = made.image
    if image is not None and Path(image).is_relative_to(made.zonepath):
        image = str(zonepath / Path(image).relative_to(made.zonepath))
    return made._replace(zonepath=str(zonepath), image=image)


def _unregister_former(made: Receipt, store: Store) -> None:
    """Take a place off the register that the zone of a receipt was moved away from."""
    if not os.path.lexists(made.zonepath):
        store.unregister(Path(made.zonepath))


def _undo_label(zonepath: Path) -> str:
    data = receipts.read_own(zonepath, receipts.NAME) or b""
    return f"{UNDO}{hashlib.sha256(data).hexdigest()[:16]}"


def _points_to(zonepath: Path) -> str | None:
    try:
        return os.readlink(zonepath / IMAGE)
    except OSError:
        return None


def _keep(datasets: Datasets) -> None:
    """Keep the receipt as that of the root that is mounted."""
    data = receipts.read_own(datasets.zonepath, receipts.NAME)
    name = datasets.mounted()
    if data is None or name is None:
        return
    zone = fs.open_directory(datasets.zonepath)
    try:
        if not fs.exists(zone, receipts.PER_ROOT):
            fs.make_own_directory(zone, receipts.PER_ROOT)
        place = os.open(receipts.PER_ROOT, fs.DIRECTORY, dir_fd=zone)
        try:
            if fs.read(place, _file_of(name)) != data:
                fs.save(place, _file_of(name), data)
        finally:
            os.close(place)
    finally:
        os.close(zone)


def _find_receipt(datasets: Datasets) -> Receipt | None:
    """Return the receipt of the root that is mounted: its own, else that of the root it is a clone of."""
    place = datasets.zonepath / receipts.PER_ROOT
    for name in datasets.lineage():
        data = receipts.read_own(place, _file_of(name))
        if data is not None:
            return receipts.load(data, str(place / _file_of(name)))
    return None


def _file_of(dataset: str) -> str:
    return f"{dataset.rpartition('/')[2]}.json"
