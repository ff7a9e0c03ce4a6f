"""Plans for many zones: one closure and one measuring for all that ask for the same profiles."""

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from partialroot.errors import PartialRootError
from partialroot.model import Profile
from partialroot.nodes import NOTHING
from partialroot.pipeline.planning import Planned, make_plan
from partialroot.pipeline.sources import Options, open_tree
from partialroot.source.tree import Tree
from partialroot.zone.settled import make_room

if TYPE_CHECKING:  # what is remembered needs no profiles
    from partialroot.profiles.library import Library


class Asked(NamedTuple):
    """What one zone is to be, beside the options that are common to all."""

    profiles: tuple[str, ...]
    parameters: Mapping[str, str] = NOTHING
    address: str | None = None
    hostname: str | None = None

    def options(self, common: Options) -> Options:
        """Return the options of this zone."""
        return common._replace(parameters=self.parameters, address=self.address, hostname=self.hostname)

    @property
    def key(self) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
        """What tells the plan for this from another's; address and host name are in none."""
        return self.profiles, tuple(sorted(self.parameters.items()))


class Planner:
    """Plans zones whose ``options`` are the same but for parameters; what they share is found out once.

    The source is being read (``sources.reading``) for as long as plans are made.
    """

    def __init__(self, options: Options, zones: Iterable[tuple[Path, Asked]]) -> None:
        self._options = options
        self._zonepaths: dict[tuple[str, ...], list[Path]] = {}
        self._keys: dict[tuple[str, ...], set[object]] = {}
        for zonepath, asked in zones:
            self._zonepaths.setdefault(asked.profiles, []).append(zonepath)
            self._keys.setdefault(asked.profiles, set()).add(asked.key)
        self._known: dict[object, Planned | PartialRootError] = {}
        self._first: dict[tuple[str, ...], tuple[Profile, Planned]] = {}

    def plan(self, asked: Asked) -> Planned:
        """Return the plan for all zones of which this is asked; what was refused once is refused again."""
        known = self._known.get(asked.key)
        if known is None:
            known = self._known[asked.key] = self._try(asked)
        if isinstance(known, PartialRootError):
            raise known
        return known

    def remember(self) -> None:
        """Have what was planned remembered, for who asks for the same."""
        plans = [one for one in self._known.values() if isinstance(one, Planned)]
        saved = [one.follows.save() for one in plans if one.follows]
        if any(saved):
            make_room(str(self._options.store))

    def _try(self, asked: Asked) -> Planned | PartialRootError:
        try:
            return self._varied(asked) or self._plan(asked)
        except PartialRootError as error:
            return error

    def _varied(self, asked: Asked) -> Planned | None:
        """Return the plan from the first that was made of these profiles; None where it cannot be had so."""
        if asked.profiles not in self._first:
            return None
        from partialroot.plan.vary import vary

        made, planned = self._first[asked.profiles]
        plan = vary(planned.plan, made, self._compose(asked), self._tree)
        return plan and planned._replace(plan=plan)

    def _plan(self, asked: Asked) -> Planned:
        options, zonepaths = asked.options(self._options), self._zonepaths.get(asked.profiles, [])
        planned = make_plan(options, asked.profiles, zonepaths)
        is_varied = len(self._keys.get(asked.profiles, ())) > 1  # else nobody asks what it was made of
        if is_varied and asked.profiles and not options.overlays:
            self._first.setdefault(asked.profiles, (self._compose(asked), planned))
        return planned

    def _compose(self, asked: Asked) -> Profile:
        return self._library.compose(asked.profiles, asked.parameters)

    @cached_property
    def _library(self) -> "Library":
        from partialroot.pipeline.choosing import library

        return library(self._options)

    @cached_property
    def _tree(self) -> Tree:
        return open_tree(self._options)
