"""What is in a zone's /dev: the devices and symlinks that its platform names, for its kind of network."""

import os
import stat

from lifecycle.brandfiles import Brand, substitute
from lifecycle.zones import Zone

NULL = os.makedev(1, 3)


def names(brand: Brand, zone: Zone) -> list[str]:
    """Return the devices by their names in the zone; for those of a pattern none is made here."""
    found = []
    for one in brand.platform.findall("device"):
        match = substitute(one.attrib["match"], z=zone.name)
        of_this_kind = one.get("ip-type", zone.ip_type) == zone.ip_type and one.get("arch", "i386") == "i386"
        if of_this_kind and "*" not in match:
            found.append(one.get("name") or match)
    return found


def populate(zone: Zone, brand: Brand, place: str) -> None:
    """Make them in a new /dev: each behaves as /dev/null does, but for those that are there already."""
    for name in names(brand, zone):
        device = f"{place}/{name}"
        os.makedirs(os.path.dirname(device), exist_ok=True)
        if not os.path.lexists(device):
            os.mknod(device, stat.S_IFCHR | 0o666, NULL)
    for one in brand.platform.findall("symlink"):
        os.symlink(one.attrib["target"], f"{place}/{one.attrib['source']}")
