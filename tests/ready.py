"""A zone that was populated for real, for the tests that look at it afterwards."""

import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from needs import lack, require
from spaces import mounts_below
from zones import REQUEST, site_at, whole_plan, with_actions

from partialroot.model import Method, Plan, Receipt
from partialroot.zone import apply


class Ready(NamedTuple):
    """A zone's path and receipt, with the store and the source it was made from."""

    path: Path
    receipt: Receipt
    store: Path
    source: Path

    @property
    def root(self) -> Path:
        """The zone's own root on the host."""
        return self.path / "root"

    @property
    def image(self) -> Path:
        """The image's directory on the host."""
        return Path(str(self.receipt.image))


Make = Callable[..., Ready]


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A directory (0700) in memory where mounting is possible, else on disk.

    Hundreds of small trees are made here and dropped; some file systems take seconds to delete one.
    """
    with tempfile.TemporaryDirectory(prefix="partialroot-test-") as name:
        place = Path(name)
        if not lack("mount"):
            subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0700", "none", place], check=True)
        yield place
        for mount in [*mounts_below(place), *([] if lack("mount") else [name])]:
            subprocess.run(["umount", "--lazy", mount], check=True)


@pytest.fixture
def make_zone(source: Path, store: Path, scratch: Path) -> Make:
    """A function ``make_zone(name="zone", mount=False)`` that populates a zone from all of ``source``."""
    require("root")  # its mount points are root's

    def make(name: str = "zone", *, mount: bool = False) -> Ready:
        site = site_at(store, scratch / name, mount=mount)
        plan = without_linked_rights(whole_plan(source, store))
        made = apply.create(plan, site, REQUEST._replace(source=str(source)), {"ociVersion": "1.0.2"})
        return Ready(site.zonepath, made, store, source)

    return make


@pytest.fixture
def zone(make_zone: Make) -> Ready:
    """A zone without its mounts, as after a reboot."""
    return make_zone()


def without_linked_rights(plan: Plan) -> Plan:
    """Return the plan with set-id files copied into the image, as the planner has it."""
    actions = [
        action._replace(method=Method.COPY)
        if action.method is Method.LINK and action.entry.mode & 0o6000
        else action
        for action in plan.actions
    ]
    return with_actions(plan, actions)
