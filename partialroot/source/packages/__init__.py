"""What the source's package database says: who installed a file, and how it was then."""

from partialroot.source.packages.base import About, NoPackages, Packages, Recorded, Version, pristine
from partialroot.source.tree import Tree

__all__ = ["About", "NoPackages", "Packages", "Recorded", "Version", "open_packages", "pristine"]


def open_packages(tree: Tree) -> Packages:
    """Return the package database of a source; nothing is read until something is asked.

    Where there are several, it is the one that installs the system: on an IPS system, there is no more in the
    SVR4 database than what a vendor brought.
    """
    from partialroot.source.packages import dpkg

    if tree.resolve(dpkg.STATUS).node is not None:
        return dpkg.Dpkg(tree)
    from partialroot.source.packages import ips, svr4  # only a source of illumos is worth their import

    if tree.resolve(ips.INSTALLED).node is not None:
        return ips.Ips(tree)
    if tree.resolve(svr4.CONTENTS).node is not None:
        return svr4.Svr4(tree)
    return NoPackages()
