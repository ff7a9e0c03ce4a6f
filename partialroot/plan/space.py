"""Whether what a plan will write fits: refused early, before anything is written."""

from collections.abc import Iterator
from typing import NamedTuple

from partialroot.errors import SpaceError
from partialroot.model import Action, Layer, Method, Plan
from partialroot.plan.facts import HostFacts

_SLACK = 4096
"""One file takes at most this much beyond its bytes: a block's rounding and its inode."""


class There(NamedTuple):
    """What of a plan is there already: the image, and the layer that roots are copies of."""

    image: bool = False
    golden: bool = False


def check_space(plan: Plan, facts: HostFacts, there: There) -> None:
    """Raise SpaceError where what will be written does not fit: for the image, or for each zonepath.

    Links take names only, reflinks inodes only. A root that is a copy, on write, of a golden layer takes
    what profiles write, and the layer is written once, if it is not there.
    """
    need = {Layer.SHARED: [0, 0], Layer.PRIVATE: [0, 0]}
    for home, action in _written(plan, facts, there):
        if action.method in (Method.COPY, Method.WRITE) and action.twin is None:
            need[home][0] += action.entry.size + _SLACK
        if action.method is not Method.LINK:
            need[home][1] += 1
    for layer, free, where in (
        (Layer.SHARED, facts.free_image, "the image's file system"),
        (Layer.PRIVATE, facts.free_root, "the zonepath's file system"),
    ):
        for wanted, left, unit in zip(need[layer], free, ("bytes", "inodes"), strict=True):
            if wanted > left:
                raise SpaceError(
                    f"{where} has {left} {unit} free, {wanted} are needed",
                    hint="free some, or choose another place",
                )


def _written(plan: Plan, facts: HostFacts, there: There) -> Iterator[tuple[Layer, Action]]:
    """Yield what will be done, each with the layer on whose file system that takes space."""
    if not there.image:
        yield from ((Layer.SHARED, action) for action in plan.shared)
    for action in plan.private:
        if plan.golden is None or action.method is Method.WRITE:
            yield Layer.PRIVATE, action
        elif not there.golden:
            yield facts.golden.home, action
