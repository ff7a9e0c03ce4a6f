"""From a fleet's file, or the words of one command, to what is asked for at each zonepath."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from partialroot.errors import ProfileError, UsageError
from partialroot.pipeline.grouping import Asked
from partialroot.pipeline.sources import Options
from partialroot.profiles.wording import quoted, suggestion

if TYPE_CHECKING:  # most zones are asked for in the words of a command
    from partialroot.profiles.fleet import Fleet, FleetZone, Given


class Wanted(NamedTuple):
    """A zone that is to be: where, and what."""

    zonepath: str
    asked: Asked


def alike(options: Options, zonepaths: Iterable[str], profiles: Sequence[str]) -> list[Wanted]:
    """Return zones that are all to be the same: what the command line asks for."""
    own = _Declared(options).own(tuple(profiles), options.hostname, options.address)
    parameters = {**own, **options.parameters}
    asked = Asked(tuple(profiles), parameters, options.address, options.hostname)
    return [Wanted(zonepath, asked) for zonepath in zonepaths]


def of_fleet(options: Options, file: Path, only: Sequence[str] = ()) -> list[Wanted]:
    """Return the zones that a fleet's file describes, or ``only`` some of them.

    ``--set`` has the last word on parameters. Raises ProfileError for what is wrong with the file, with its
    line, and UsageError for a zone that is not in it.
    """
    from partialroot.profiles.fleet import read_fleet

    fleet = read_fleet(file)
    return list(_Reading(options, fleet, file.name).wanted(_chosen(fleet, only)))


def _chosen(fleet: "Fleet", only: Sequence[str]) -> "list[FleetZone]":
    known = {zone.zonepath: zone for zone in fleet.zones}
    for zonepath in only:
        if zonepath not in known:
            hint = suggestion(zonepath, known, "its zones")
            raise UsageError("the fleet has no such zone", path=zonepath, hint=hint)
    return [known[zonepath] for zonepath in only or known]


class _Declared:
    """The parameters that sets of profiles have."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._known: dict[tuple[str, ...], frozenset[str]] = {}

    def of(self, profiles: tuple[str, ...]) -> frozenset[str]:
        if profiles not in self._known:
            from partialroot.pipeline.choosing import library

            self._known[profiles] = library(self._options).parameters(profiles)
        return self._known[profiles]

    def own(self, profiles: tuple[str, ...], hostname: str | None, address: str | None) -> dict[str, str]:
        """Return what a zone's name and address are to its profiles, as far as they ask for it."""
        if hostname is None and address is None:
            return {}
        said = {"hostname": hostname, "address": address}
        return {name: value for name, value in said.items() if value and name in self.of(profiles)}


class _Reading:
    """A fleet, being made into what is asked for."""

    def __init__(self, options: Options, fleet: "Fleet", file: str) -> None:
        self._options, self._fleet, self._file = options, fleet, file
        self._declared = _Declared(options)

    def wanted(self, zones: "Sequence[FleetZone]") -> Iterator[Wanted]:
        self._refuse_unknown(self._fleet.parameters, {zone.profiles for zone in self._fleet.zones})
        addresses: dict[str, str] = {}
        for zone in zones:
            self._refuse_unknown(zone.parameters, {zone.profiles})
            asked = self._asked(zone)
            other = addresses.setdefault(asked.address or zone.zonepath, zone.zonepath)
            if other != zone.zonepath:
                raise ProfileError(f"has the address of {other}", path=zone.where, hint="give it another")
            yield Wanted(zone.zonepath, asked)

    def _refuse_unknown(self, given: "Mapping[str, Given]", sets: Iterable[tuple[str, ...]]) -> None:
        known = frozenset[str]().union(*(self._declared.of(profiles) for profiles in sets)) if given else ()
        for name, (_, where) in given.items():
            if name not in known:
                hint = suggestion(name, known, "parameters")
                raise ProfileError(f"no profile here has the parameter {quoted(name)}", path=where, hint=hint)

    def _asked(self, zone: "FleetZone") -> Asked:
        address = None if zone.address is None else _address(*zone.address)
        declared = self._declared.of(zone.profiles) if self._fleet.parameters else frozenset()
        common = {name: one.value for name, one in self._fleet.parameters.items() if name in declared}
        own = self._declared.own(zone.profiles, zone.hostname, address)
        said = {name: one.value for name, one in zone.parameters.items()}
        parameters = {**common, **own, **said, **self._options.parameters}
        return Asked(zone.profiles, parameters, address, zone.hostname)


def _address(text: str, where: str) -> str:
    from partialroot.host.linux.network import parse_address  # zones of illumos are given none by us

    try:
        return parse_address(text)
    except UsageError as error:
        raise ProfileError(error.message, path=where, hint=error.hint) from error
