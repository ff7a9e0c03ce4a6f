"""The TOML notation of a fleet: which zones there are to be, and what each of them has of its own."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from partialroot.profiles.document import Value, load
from partialroot.profiles.library import read_text
from partialroot.profiles.wording import quoted

_ZONE = {
    "profiles": 'profiles = ["node"]',
    "parameters": 'parameters = { port = "8001" }',
    "hostname": 'hostname = "web1"',
    "address": 'address = "10.1.0.11"',
}
_TOP = {
    "profiles": _ZONE["profiles"],
    "parameters": _ZONE["parameters"],
    "zones": '[zones."/zones/web1"]',
}
_HOSTNAME = "(?=.{1,64}$)[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?"


class Given(NamedTuple):
    """The value of a parameter or an address, and where it is written: ``fleet.toml:12``."""

    value: str
    where: str


class FleetZone(NamedTuple):
    """A zone of a fleet; ``where`` is its place in the file, ``profiles`` its own or those of the fleet."""

    zonepath: str
    where: str
    profiles: tuple[str, ...]
    parameters: Mapping[str, Given]
    hostname: str | None
    address: Given | None


class Fleet(NamedTuple):
    """The zones of a fleet, and the ``parameters`` of all whose profiles have them."""

    zones: tuple[FleetZone, ...]
    parameters: Mapping[str, Given]


def read_fleet(file: Path) -> Fleet:
    """Return the fleet that a file describes; profiles given as files are beside it.

    Raises ProfileError, with the line, for what cannot be read or trusted, and whatever :func:`parse_fleet`
    refuses.
    """
    return parse_fleet(read_text(file, trusted=False), file.name, file.parent)


def parse_fleet(text: str, where: str, directory: Path) -> Fleet:
    """Return the fleet that is written in ``text``; ``where`` is its file's name.

    Raises ProfileError for what is no TOML, unknown keys, wrong types, zones without profiles, and those that
    are there twice.
    """
    top = load(text, where)
    says = top.table(_TOP, _TOP["zones"])
    profiles = _profiles(says, directory)
    zones = says["zones"].entries(_TOP["zones"]) if "zones" in says else ()
    found: dict[Path, FleetZone] = {}
    for zonepath, value in zones:
        zone = _zone(zonepath, value, profiles, directory)
        other = found.setdefault(Path("/" + zonepath.strip("/")), zone)
        if other is not zone:
            value.fail(f"is the zone of {other.where}, too", "leave one of them out")
    if not found:
        top.fail("a fleet has zones", f"for example: {_TOP['zones']}")
    return Fleet(tuple(found.values()), _parameters(says))


def _zone(zonepath: str, value: Value, profiles: tuple[str, ...], directory: Path) -> FleetZone:
    if not zonepath.startswith("/"):
        value.fail(f"zonepaths are absolute: {quoted(zonepath)}", _TOP["zones"])
    says = value.table(_ZONE, _TOP["zones"])
    chosen = _profiles(says, directory) or profiles
    if not chosen:
        value.fail("the zone has no profiles, and the fleet has none for all", _ZONE["profiles"])
    address = None
    if "address" in says:
        address = Given(says["address"].string(_ZONE["address"]), says["address"].where)
    return FleetZone(zonepath, value.where, chosen, _parameters(says), _hostname(says), address)


def _profiles(says: Mapping[str, Value], directory: Path) -> tuple[str, ...]:
    """Return names of profiles; one in a file is where the fleet's own file is."""
    if "profiles" not in says:
        return ()
    items = says["profiles"].items(_ZONE["profiles"])
    named = (str(directory / one.text) if one.text.endswith(".toml") else one.text for one in items)
    return tuple(dict.fromkeys(named))


def _parameters(says: Mapping[str, Value]) -> Mapping[str, Given]:
    if "parameters" not in says:
        return {}
    values = says["parameters"].entries(_ZONE["parameters"])
    return {name: Given(value.string(f'{name} = "8001"'), value.where) for name, value in values}


def _hostname(says: Mapping[str, Value]) -> str | None:
    if "hostname" not in says:
        return None
    name = says["hostname"].string(_ZONE["hostname"])
    if not is_hostname(name):
        says["hostname"].fail(f"{quoted(name)} is no host name", _ZONE["hostname"])
    return name


def is_hostname(text: str) -> bool:
    """Whether the kernel and the usual resolvers take a text as a host name."""
    return bool(re.fullmatch(_HOSTNAME, text))
