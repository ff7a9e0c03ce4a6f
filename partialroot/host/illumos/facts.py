"""What an illumos host offers."""

import errno
from collections.abc import Iterable, Sequence
from pathlib import Path

from partialroot.host import facts
from partialroot.host.illumos import mnttab
from partialroot.host.scratch import Scratch
from partialroot.model import Selection
from partialroot.plan.facts import HostFacts


class IllumosScratch(Scratch):
    """Trials on illumos."""

    no_link = {  # noqa: RUF012 - it is a ClassVar there
        errno.EXDEV: "in another dataset",
        errno.EPERM: "only its owner may link it (the privilege file_link_any)",
    }

    def why_no_clones(self, files: Iterable[str]) -> str:
        """There are none: neither ZFS nor any system call of illumos knows them (zones facts 4.7)."""
        return self.failed or "no reflinks on illumos"

    def why_no_snapshots(self, place: Path) -> str:
        """Only a zone of the brand has a root that is a dataset (zones facts 2.3)."""
        return "only a root that zoneadm installs is a dataset"

    def why_no_mount(self) -> str:
        """Nothing is mounted by us: zoneadmd mounts the image in every zone of the brand."""
        return self.failed


def probe(
    selection: Selection, store: Path, zonepaths: Sequence[Path], *, into_root: bool = False
) -> HostFacts:
    """Try it (``host.facts.probe``)."""
    return facts.probe(selection, store, zonepaths, mnttab.read(), IllumosScratch, into_root=into_root)
