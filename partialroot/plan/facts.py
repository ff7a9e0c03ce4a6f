"""What the planner has to know of the host; it is found out before."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

GOLDEN_LEAST = 64
"""So many private paths a layer has at least that is worth a golden one: btrfs ends a transaction for each
snapshot (7 ms, measured), which takes as long as making some fifty paths (0.06 to 0.25 ms each)."""


class HostFacts(NamedTuple):
    """What this host offers, found by trying. A reason in words stands where something is not offered.

    ``links`` and ``clones`` are keyed by the mount point (on the host) that holds the source files: ""
    means the trial worked into the image's home, else the value says why not. ``root_links`` and
    ``root_clones`` say the same of the zonepath. ``snapshots`` says whether a root can be a snapshot of a
    subvolume in the image. Free space is in bytes and inodes.
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
    snapshots: str = "not tried"
