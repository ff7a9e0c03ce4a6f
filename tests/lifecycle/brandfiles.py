"""A brand's files as libbrand reads them: order rules of the DTD, and the substitution of tokens."""

import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

BRANDS = Path("/usr/lib/brand")

# brand.dtd.1: the children of <brand> in this order.
ORDER = (
    "modname? initname? restartinit? restartinit0? restartinitreboot? login_cmd forcedlogin_cmd user_cmd "
    "install installopts? boot? sysboot? halt? shutdown? verify_cfg? verify_adm? postattach? postclone? "
    "postinstall? predetach? attach? detach? clone? presnap? postsnap? validatesnap? preuninstall? "
    "uninstall? prestatechange? poststatechange? query? security-flags? privilege+"
)

# Required attributes, then those that may be there. Of an enumeration the values are given.
ATTRIBUTES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "brand": ({"name": ".+"}, {}),
    "privilege": ({"set": "default|prohibited|required", "name": ".+"}, {"ip-type": "shared|exclusive"}),
    "platform": ({"name": ".+", "allow-exclusive-ip": "true|false"}, {}),
    "device": ({"match": ".+"}, {"name": ".*", "arch": "sparc|i386", "ip-type": "shared|exclusive"}),
    "symlink": ({"source": ".+", "target": ".+"}, {}),
    "global_mount": ({"special": ".+", "directory": "/.*", "type": ".+"}, {"opt": ".*"}),
    "mount": ({"special": ".+", "directory": "/.*", "type": ".+"}, {"opt": ".*"}),
}
UNSUBSTITUTED = {"verify_cfg", "installopts", "initname"}


class InvalidBrandError(Exception):
    """What every tool calls "missing or invalid brand", here with the reason that they keep to themselves."""


@dataclass(frozen=True)
class PlatformMount:
    """One <global_mount> or <mount>, tokens already substituted."""

    special: str
    directory: str
    type: str
    options: str


@dataclass(frozen=True)
class Brand:
    """A brand that is valid."""

    name: str
    elements: dict[str, str]
    platform: ET.Element

    def text(self, element: str, zone: str = "", zonepath: str = "", **more: str) -> str:
        """Return an element's text, substituted where libbrand does; "" when it is empty or not there."""
        text = self.elements.get(element, "")
        return text if element in UNSUBSTITUTED else substitute(text, z=zone, R=zonepath, **more)

    def mounts(self, kind: str, zone: str, zonepath: str) -> list[PlatformMount]:
        """Return the platform's ``global_mount`` or ``mount`` entries, in the order of the document."""
        tokens = {"z": zone, "R": zonepath} if kind == "global_mount" else {}
        return [
            PlatformMount(
                substitute(one.attrib["special"], **tokens),
                one.attrib["directory"],
                one.attrib["type"],
                substitute(one.get("opt", ""), **tokens),
            )
            for one in self.platform.findall(kind)
        ]


def substitute(text: str, **tokens: str) -> str:
    """Replace %% and the tokens given; any other %x is dropped. Nothing is quoted (i_substitute_tokens)."""
    return re.sub(r"%(.?)", lambda match: {"%": "%", **tokens}.get(match[1], ""), text, flags=re.DOTALL)


def load(name: str, brands: Path = BRANDS) -> Brand:
    """Return the brand; InvalidBrandError if libbrand would not open it."""
    config = _parse(brands / name / "config.xml", "brand", name)
    platform = _parse(brands / name / "platform.xml", "platform", name)
    _check_order(config)
    for element in [config, *config.findall("privilege"), platform, *platform]:
        _check_attributes(element)
    return Brand(name, {one.tag: one.text or "" for one in config if one.tag != "privilege"}, platform)


def _parse(path: Path, root: str, name: str) -> ET.Element:
    try:
        text = path.read_text()
        element = ET.fromstring(text)
    except (OSError, ValueError, ET.ParseError) as error:
        raise InvalidBrandError(f"{path}: {error}") from error
    if not re.search(rf'<!DOCTYPE {root} PUBLIC "[^"]+"\s+"file:///usr/share/lib/xml/dtd/[^"]+"', text):
        raise InvalidBrandError(f"{path}: no document type that it could be valid against")
    if element.tag != root or element.get("name") != name:
        raise InvalidBrandError(f"{path}: <{element.tag} name={element.get('name')!r}> in {name}")
    return element


def _check_order(config: ET.Element) -> None:
    model = "".join(
        rf"(?:{word.rstrip('?+')} ){word[-1] if word[-1] in '?+' else ''}" for word in ORDER.split()
    )
    found = "".join(f"{child.tag} " for child in config)
    if not re.fullmatch(model, found):
        raise InvalidBrandError(f"config.xml: not in the order of the DTD: {found}")
    nested = [child.tag for child in config if len(child)]
    if nested:
        raise InvalidBrandError(f"config.xml: elements in {nested}")


def _check_attributes(element: ET.Element) -> None:
    if element.tag not in ATTRIBUTES:
        raise InvalidBrandError(f"platform.xml: <{element.tag}>")
    required, optional = ATTRIBUTES[element.tag]
    known = required | optional
    if not required.keys() <= set(element.keys()) <= known.keys():
        raise InvalidBrandError(f"<{element.tag}>: attributes {sorted(element.keys())}")
    for name, value in element.items():
        if not re.fullmatch(known[name], value):
            raise InvalidBrandError(f"<{element.tag}>: {name}={value!r}")
