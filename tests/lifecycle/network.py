"""What zoneadmd does for a zone's network: addresses in a shared IP stack, links for an exclusive one."""

import json
import os
from pathlib import Path

from lifecycle import mounts
from lifecycle.hooks import Failed
from lifecycle.zones import RUN, Zone


def configured(zone: str) -> list[dict[str, str]]:
    """Return what a zone has been given: with a shared IP stack addresses on links, else links."""
    place = RUN / f"{zone}.net"
    found: list[dict[str, str]] = json.loads(place.read_text()) if place.exists() else []
    return found


def plumb(zone: Zone) -> None:
    """Give a zone its addresses, or its links; nobody else may have them (vplat_bringup)."""
    shared = zone.ip_type == "shared"
    wanted = [{"physical": one.physical, "address": one.address} for one in zone.nets]
    key = "address" if shared else "physical"
    for place in RUN.glob("*.net"):
        for theirs in configured(place.stem):
            for ours in wanted:
                if theirs[key] == ours[key]:
                    raise Failed(f"{ours[key]} is in use by zone {place.stem}")
    if shared:
        wanted.insert(0, {"physical": "lo0", "address": "127.0.0.1"})
    (RUN / f"{zone.name}.net").write_text(json.dumps(wanted))


def boot(zone: Zone) -> None:
    """Tell the zone of its links (dladm_zone_boot): dlmgmtd puts files where the zone will look for them."""
    if zone.ip_type != "exclusive":
        return
    volatile = f"{zone.root}/etc/svc/volatile"
    mounted = mounts.mounted_at(volatile)
    if mounted is None or mounted.type != "tmpfs":
        raise Failed(f"dladm_zone_boot: {volatile} is no tmpfs")
    place = Path(volatile, "dladm")
    place.mkdir()
    os.chmod(place, 0o755)
    (place / "datalink.conf").write_text("".join(f"{one['physical']}\n" for one in configured(zone.name)))


def unplumb(zone: Zone) -> None:
    """Take all of it back."""
    (RUN / f"{zone.name}.net").unlink(missing_ok=True)
