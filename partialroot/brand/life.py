"""What the hooks do with one zone, from its first file to its last."""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from partialroot.brand.arguments import BRAND, Call, Wish
from partialroot.errors import ConflictError, PartialRootError, ZonepathError
from partialroot.host.illumos import commands, mnttab, zoneattrs, zonelist
from partialroot.host.illumos.datasets import Datasets
from partialroot.pipeline.branded import OURS, Branded
from partialroot.pipeline.sources import Options
from partialroot.zone import fs
from partialroot.zone.removal import remove

ZONES = Path("/etc/zones")
DETACHED = "SUNWdetached.xml"
MUST_MATCH = "libc-must-match"
"""An attribute that zonecfg(8) gives a zone: if true, no C library of another system will do for it."""
OF_ZONEADM = ("root", "dev", "lu")
"""The directories of a zonepath that are zoneadm's, or zoneadmd's, or mount points."""


class Life:
    """One zone. ``say`` tells the administrator a sentence."""

    def __init__(self, call: Call, options: Options, say: Callable[[object], None]) -> None:
        self._zone = call.zone
        self._zonepath = call.zonepath
        self._datasets = Datasets(call.zonepath)
        self._options = options
        self._branded = Branded(options)
        self._say = say

    # --- install ------------------------------------------------------------------------------------

    def install(self, wish: Wish) -> None:
        """Build the zone; after a failure nothing of it is left, if that is possible."""
        self._refuse_occupied()
        options = self._options._replace(overlays=wish.overlays, source=wish.tarball or self._options.source)
        try:
            with Branded(options).reading(self._zonepath) as branded:
                planned = branded.plan(self._datasets, wish.profiles)
                for one in planned.plan.missing:
                    self._say(f"missing ({one.severity}): {one.name}, needed by {one.needed_by}")
                for warning in planned.plan.warnings:
                    self._say(f"warning: {warning}")
                if planned.plan.golden:
                    self._say(f"the root will be a clone of a golden dataset: {planned.plan.why_golden}")
                branded.build(self._datasets, planned, wish.profiles)
        except BaseException:
            self.take_back()
            raise

    def _refuse_occupied(self) -> None:
        """Raise ZonepathError for a zonepath that is no dataset, or where there is something to lose."""
        self._datasets.top()
        if self._datasets.active() or not self.is_vacant():
            raise ZonepathError("has something in it already", path=str(self._zonepath))

    def take_back(self) -> None:
        """Remove all that an installation made, as far as it can be; the zonepath's own dataset stays."""
        with suppress(PartialRootError, OSError):
            self._datasets.destroy_roots()
            os.rmdir(self._datasets.mount_point)
        with suppress(PartialRootError, OSError):
            if self._options.store.is_dir():
                self._branded.forget(self._zonepath)
                self._branded.reclaim()

    def is_vacant(self) -> bool:
        """Whether nothing is in the zonepath, nor mounted there: only then may zoneadm delete it (1.5)."""
        with suppress(FileNotFoundError):
            if os.listdir(self._zonepath):
                return False
        return not mnttab.read().below(self._zonepath)

    # --- at every start -----------------------------------------------------------------------------

    def mount(self) -> None:
        """Have the root of this boot environment mounted, and the zonepath be about that."""
        self._datasets.mount()
        self._branded.adopt(self._datasets)

    def prepare(self) -> None:
        """Have the root mounted with nothing mounted in it (3.1), and as new as this boot environment.

        When it cannot be brought up to date the zone starts as it is, if it can: unless it was told that its
        C library must match, and that does not.
        """
        self._datasets.unmount_below()
        self.mount()
        if not self._bring_up_to_date():
            self._look_at_libc()

    def _bring_up_to_date(self) -> bool:
        """Refresh the zone; return whether it is then known to be what this boot environment is."""
        try:
            if self._branded.refresh(self._datasets):
                self._say(f"{self._zone} was brought up to date with the global zone")
        except (PartialRootError, OSError) as error:
            if not (self._zonepath / "image").is_dir():
                raise
            self._say(f"warning: {self._zone} starts without having been brought up to date: {error}")
            return False
        return not self._branded.is_from_tarball(self._zonepath)

    def _look_at_libc(self) -> None:
        """Raise ConflictError for a C library that must match and does not; else it is worth a warning."""
        try:
            why = self._branded.strange_libc(self._zonepath)
        except (PartialRootError, OSError) as error:
            why = f"its C library cannot be compared with the global zone's: {error}"
        if not why:
            return
        if zoneattrs.read(commands.run, self._zone).get(MUST_MATCH) == "true":
            hint = f"zonecfg -z {self._zone} remove attr name={MUST_MATCH}"
            raise ConflictError(f"does not start: {MUST_MATCH}, but {why}", path=self._zone, hint=hint)
        self._say(f"warning: {self._zone}: {why}")

    def settle_after_halt(self) -> None:
        """Mount the root again, if that is possible: it may still be, with all that is mounted in it."""
        try:
            if not mnttab.read().below(self._datasets.mount_point):
                self._datasets.mount()
        except PartialRootError as error:
            self._say(f"warning: {error}")

    # --- moving -------------------------------------------------------------------------------------

    def attach(self) -> None:
        """Take the root that is there; image and private files come from this system, if they differ."""
        self._datasets.attach()
        self._branded.adopt(self._datasets)
        self._branded.refresh(self._datasets)

    def detach(self) -> None:
        """Leave what another system needs to attach the zone: root, receipts and configuration."""
        configuration = (ZONES / f"{self._zone}.xml").read_bytes()
        self._datasets.detach()
        self._branded.let_go(self._zonepath)
        zone = fs.open_directory(self._zonepath)
        try:
            fs.save(zone, DETACHED, configuration)
        finally:
            os.close(zone)

    def clone(self, source: str) -> None:
        """Make the root by a snapshot of another zone's, with an image and a receipt of its own."""
        listed = zonelist.parse(commands.run(commands.ZONEADM, "-z", source, "list", "-p"))
        if listed.brand != BRAND:
            raise ConflictError(f"is of brand {listed.brand}", path=source)
        self._refuse_occupied()
        try:
            self._datasets.clone_from(Datasets(listed.zonepath), f"{self._zone}_snap")
            self._branded.adopt(self._datasets, listed.zonepath)
        except BaseException:
            self.take_back()
            raise

    # --- the end ------------------------------------------------------------------------------------

    def unmount_leftovers(self) -> None:
        """Unmount what is below the root, so that zoneadm goes on; a zone that was never made has nothing."""
        for point in self._datasets.unmount_below():
            self._say(f"{point} was still mounted")

    def would_uninstall(self) -> Iterator[str]:
        """Yield what uninstall would remove."""
        if self._datasets.is_dataset():
            yield from (root.name for root in self._datasets.roots_here())
        yield from (f"{self._zonepath}/{name}" for name in OURS if os.path.lexists(self._zonepath / name))

    def uninstall(self, *, verbose: bool) -> None:
        """Remove what is ours, then the datasets: of any half-made zone too, and again after a failure."""
        if verbose:
            for line in self.would_uninstall():
                self._say(f"removing {line}")
        self._datasets.unmount()
        if self._datasets.is_dataset():
            self._branded.forget(self._zonepath, all_roots=not self._datasets.roots_elsewhere())
            self._datasets.destroy()
        self._branded.reclaim()  # after a failure, too, when the zonepath is no dataset any more
        if self._zonepath.is_dir():  # it never was a dataset, or holds another boot environment's root
            self._remove_directories()

    def _remove_directories(self) -> None:
        zone = fs.open_directory(self._zonepath)
        try:
            for name in OF_ZONEADM:
                remove(zone, name)
        finally:
            os.close(zone)
