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
"""Measured on a btrfs, for each of a hundred zones that one process makes. A snapshot takes 3.5 ms of the
processor and 17 ms of time, whatever is in it: btrfs ends a transaction for each. Copies take 4 and 12 ms
with 32 paths, 6 and 17 with 48, 6.5 and 19 with 64, 8.5 and 28 with 96, 18 and 52 with 256. So snapshots
are the quicker ones from some 60 paths on (by the processor alone from 25); bytes are mostly shared by
reflinks anyway."""
COPIED_LEAST = Least(64, 4 << 20)
"""The same where some of the source's files cannot be reflinked to zonepaths: their bytes are copied for each
zone, and lie on the disk as often. Forty zones with 4 MiB each take 1.1 s by copies and 0.45 s by snapshots,
with 16 MiB 3.7 and 0.4 s; with 1 MiB it makes no difference."""
DATASET_LEAST = Least(64, 4 << 20)
"""Measured with zfs-fuse, whole installs: by a clone they take 0.6 s of the processor, and by copies 0.75
with 8 paths, 0.75 with 64 and 0.8 with 256; the first, which makes the layer, takes some 0.2 s more. Time
decides nothing here: a layer is two more datasets to be kept, which disk must be worth. A clone takes 140
KiB whatever is in it, a root of copies 288 with 8 paths, 520 with 64, and what is in its files; the layer
as much as one root."""


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
