"""What the planner has to know of the host; it is found out before."""

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from partialroot.model import Entry, Layer


class Least(NamedTuple):
    """What a private layer has that is worth a golden one: so many paths, or so many bytes in its files.

    What profiles write does not count: zones may differ in that, and each gets its own.
    """

    paths: int
    size: int

    def why_not(self, entries: Iterable[Entry]) -> str:
        """Say that the private layer among these entries is not worth it; "" if it is."""
        sizes = [one.size for one in entries if one.layer is Layer.PRIVATE and one.text is None]
        if len(sizes) >= self.paths or sum(sizes) >= self.size:
            return ""
        return f"{len(sizes)} private paths are copied as quickly"


SNAPSHOT_LEAST = Least(64, sys.maxsize)
"""btrfs ends a transaction for each snapshot (7 ms, measured), which takes as long as making some fifty paths
(0.06 to 0.25 ms each); their bytes are mostly shared by reflinks without it."""
DATASET_LEAST = Least(64, 4 << 20)
"""Measured with zfs-fuse, whole hooks: with 64 paths an install takes 0.5 s by a clone, 0.7 by copies, 1.0
for the first; with 1,000 paths 0.65, 1.9 and 2.9 s. Four megabytes take 30 ms to write, and disk."""


class Golden(NamedTuple):
    """Whether a zone's root can be a copy, on write, of a golden one.

    ``why_not`` says in words why it cannot. ``least`` is what a layer must have to be worth it. It lies on
    the file system of the layer ``home``: subvolumes with the image, datasets beside the zonepath's.
    """

    why_not: str = "not tried"
    least: Least = SNAPSHOT_LEAST
    home: Layer = Layer.SHARED


class HostFacts(NamedTuple):
    """What this host offers, found by trying. A reason in words stands where something is not offered.

    ``links`` and ``clones`` are keyed by the mount point (on the host) that holds the source files: ""
    means the trial worked into the image's home, else the value says why not. ``root_links`` and
    ``root_clones`` say the same of the zonepath. Free space is in bytes and inodes.
    """

    image_home: Path
    mount_points: tuple[str, ...]
    links: Mapping[str, str]
    clones: Mapping[str, str]
    root_links: Mapping[str, str]
    root_clones: Mapping[str, str]
    no_mount: str
    lost_owners: frozenset[tuple[int, int]]
    link_max: int
    free_image: tuple[int, int]
    free_root: tuple[int, int]
    golden: Golden = Golden()
