"""What the source's package database says: who installed a file, and how it was then."""

from partialroot.source.packages.base import (
    DPKG_STATUS,
    IPS_CATALOG,
    SVR4_CONTENTS,
    About,
    NoPackages,
    Packages,
    Recorded,
    Version,
    pristine,
)
from partialroot.source.tree import Tree

__all__ = ["About", "NoPackages", "Packages", "Recorded", "Version", "open_packages", "pristine"]


def open_packages(tree: Tree) -> Packages:
    """Return the package database of a source; nothing is read until something is asked.

    Where there are several, it is the one that installs the system: on an IPS system, there is no more in the
    SVR4 database than what a vendor brought.
    """
    if tree.resolve(DPKG_STATUS).node is not None:
        from partialroot.source.packages.dpkg import Dpkg

        return Dpkg(tree)
    if tree.resolve(IPS_CATALOG).node is not None:
        from partialroot.source.packages.ips import Ips

        return Ips(tree)
    if tree.resolve(SVR4_CONTENTS).node is not None:
        from partialroot.source.packages.svr4 import Svr4

        return Svr4(tree)
    return NoPackages()
