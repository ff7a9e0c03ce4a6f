"""The read-only mounts of a zone's shared layer, all of one zone at once."""

from pathlib import Path
from typing import Protocol

from partialroot.errors import BusyError
from partialroot.paths import RootPath
from partialroot.zone import fs
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
        """Mount the tops that are absent; BusyError where something else is mounted."""
        from partialroot.host.linux import mounts

        root, image = zonepath / "root", Path(binds.image)
        states = self._states(root, binds)
        for top, state in states.items():
            if state == "foreign":
                raise BusyError("something else is mounted there", path=f"{root}{top}", hint="unmount it")
        absent = tuple(top for top, state in states.items() if state == "absent")
        for top in absent:
            fs.announce("bind", top)
            mounts.bind_readonly(Path(f"{image}{top}"), root, top)
        return absent

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
        from partialroot.host.linux import mountinfo, mounts

        table = mountinfo.read()
        return {top: mounts.state(root, top, Path(binds.image), table) for top in binds.tops}
