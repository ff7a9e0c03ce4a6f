"""What a Linux host offers."""

from collections.abc import Sequence
from pathlib import Path

from partialroot.host import facts
from partialroot.host.linux.mountinfo import MountTable, read
from partialroot.host.linux.trials import LinuxScratch
from partialroot.model import Selection
from partialroot.plan.facts import HostFacts


def probe(
    selection: Selection,
    store: Path,
    zonepaths: Sequence[Path],
    mounts: MountTable | None = None,
    *,
    into_root: bool = False,
) -> HostFacts:
    """Try it (``host.facts.probe``); ``mounts`` spares reading them again."""
    return facts.probe(selection, store, zonepaths, mounts or read(), LinuxScratch, into_root=into_root)
