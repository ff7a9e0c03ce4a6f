"""Plans for many zones: one closure and one measuring for all that ask for the same profiles."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from partialroot.errors import PartialRootError
from partialroot.model import NOTHING
from partialroot.pipeline.planning import Planned, make_plan
from partialroot.pipeline.sources import Options


class Asked(NamedTuple):
    """What one zone is to be, beside the options that are common to all."""

    profiles: tuple[str, ...]
    parameters: Mapping[str, str] = NOTHING
    address: str | None = None

    def options(self, common: Options) -> Options:
        """Return the options of this zone."""
        return common._replace(parameters=self.parameters, address=self.address)

    @property
    def key(self) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
        """What tells the plan for this from another's; the address is in none."""
        return self.profiles, tuple(sorted(self.parameters.items()))


class Planner:
    """Plans zones whose ``options`` are the same but for parameters; what they share is found out once.

    The source is being read (``sources.reading``) for as long as plans are made. Plans that are only looked
    at need no ``suppliers``.
    """

    def __init__(
        self, options: Options, zones: Iterable[tuple[Path, Asked]], *, suppliers: bool = True
    ) -> None:
        self._options = options
        self._suppliers = suppliers
        self._zonepaths: dict[tuple[str, ...], list[Path]] = {}
        for zonepath, asked in zones:
            self._zonepaths.setdefault(asked.profiles, []).append(zonepath)
        self._known: dict[object, Planned | PartialRootError] = {}

    def plan(self, asked: Asked) -> Planned:
        """Return the plan for all zones of which this is asked; what was refused once is refused again."""
        known = self._known.get(asked.key)
        if known is None:
            known = self._known[asked.key] = self._try(asked)
        if isinstance(known, PartialRootError):
            raise known
        return known

    def _try(self, asked: Asked) -> Planned | PartialRootError:
        try:
            options, zonepaths = asked.options(self._options), self._zonepaths.get(asked.profiles, [])
            return make_plan(options, asked.profiles, zonepaths, suppliers=self._suppliers)
        except PartialRootError as error:
            return error
