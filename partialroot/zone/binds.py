"""The read-only mounts of a zone's shared layer, all of one zone at once."""

from pathlib import Path
from typing import Protocol

from partialroot.errors import BusyError
from partialroot.paths import RootPath
from partialroot.zone import fs
from partialroot.zone.image import gone_prefix
from partialroot.zone.journal import Binds


class Mounter(Protocol):
    """How the shared layer gets into a root on this platform."""

    def up(self, zonepath: Path, binds: Binds) -> tuple[RootPath, ...]:
        """Mount what is not mounted yet; return the tops that were missing."""

    def down(self, zonepath: Path, binds: Binds) -> tuple[RootPath, ...]:
        """Unmount what is mounted; return the tops that were there."""

    def foreign(self, zonepath: Path, binds: Binds | None) -> tuple[str, ...]:
        """Return where something is mounted in the zonepath that is not the shared layer."""


class LinuxBinds:
    """Read-only binds, by system call."""

    def up(self, zonepath: Path, binds: Binds) -> tuple[RootPath, ...]:
        """Mount the tops that are absent, or show an image that was replaced since.

        Raises BusyError where something else is mounted.
        """
        from partialroot.host.linux import mounts

        root, image = zonepath / "root", Path(binds.image)
        states = self._states(root, binds)
        for top, state in states.items():
            if state == "foreign":
                raise BusyError("something else is mounted there", path=f"{root}{top}", hint="unmount it")
        for top in (top for top, state in states.items() if state == "replaced"):
            fs.announce("unbind", top)
            mounts.unbind(root, top)
        missing = tuple(top for top, state in states.items() if state != "present")
        for top in missing:
            fs.announce("bind", top)
            mounts.bind_readonly(Path(f"{image}{top}"), root, top)
        return missing

    def down(self, zonepath: Path, binds: Binds) -> tuple[RootPath, ...]:
        """Unmount the tops where anything is mounted."""
        from partialroot.host.linux import mounts

        root = zonepath / "root"
        there = [top for top, state in self._states(root, binds).items() if state != "absent"]
        for top in reversed(there):
            fs.announce("unbind", top)
            mounts.unbind(root, top)
        return tuple(there)

    def foreign(self, zonepath: Path, binds: Binds | None) -> tuple[str, ...]:
        """Return the mount points below the zonepath that are none of ours, the deepest first."""
        from partialroot.host.linux import mountinfo

        ours = {f"{zonepath}/root{top}" for top in (binds.tops if binds else ())}
        below = {mount.point for mount in mountinfo.read().below(zonepath)} - ours - {str(zonepath)}
        return tuple(sorted(below, reverse=True))

    def _states(self, root: Path, binds: Binds) -> dict[RootPath, str]:
        """Return each top's state: those of ``mounts.state``, or ``replaced``."""
        from partialroot.host.linux import mountinfo, mounts

        table, image = mountinfo.read(), Path(binds.image)
        states: dict[RootPath, str] = {top: mounts.state(root, top, image, table) for top in binds.tops}
        replaced = table.inside(gone_prefix(image))
        for top, state in states.items():
            mount = table.at(f"{root}{top}")
            if (
                state == "foreign"
                and mount
                and mount.dev == replaced[0]
                and mount.root.startswith(replaced[1])
            ):
                states[top] = "replaced"
        return states
