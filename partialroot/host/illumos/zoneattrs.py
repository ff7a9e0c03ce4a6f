"""Attributes that an administrator gave a zone by zonecfg(8): free for brands to use."""

import re

from partialroot.host.illumos.commands import ZONECFG, Run

_ATTRIBUTE = re.compile(r"^add attr\n(.*?)^end$", re.MULTILINE | re.DOTALL)
_PROPERTY = re.compile(r'^set (\w+)="?(.*?)"?$', re.MULTILINE)


def parse(text: str) -> dict[str, str]:
    """Return the attributes in what ``zonecfg -z ZONE export`` prints: commands that make the same zone."""
    found = (dict(_PROPERTY.findall(block)) for block in _ATTRIBUTE.findall(text))
    return {one["name"]: one.get("value", "") for one in found if "name" in one}


def read(run: Run, zone: str) -> dict[str, str]:
    """Return a zone's attributes; ApplyError when zonecfg fails. A hook may ask it (zones facts 5)."""
    return parse(run(ZONECFG, "-z", zone, "export"))
