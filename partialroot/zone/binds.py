"""The read-only mounts of a zone's shared layer, all of one zone at once."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from partialroot.errors import BusyError
from partialroot.paths import RootPath
from partialroot.zone import fs
from partialroot.zone.image import gone_prefix
from partialroot.zone.journal import Binds

if TYPE_CHECKING:
    from partialroot.host.linux.mountinfo import MountTable


class Mounter(Protocol):
    """How the shared layer gets into a root on this platform."""

    def up(self, zonepath: Path, binds: Binds, *, is_new: bool = False) -> tuple[RootPath, ...]:
        """Mount what is not mounted yet; return the tops that were missing: all, where the root is new."""

    def down(self, zonepath: Path, binds: Binds) -> tuple[RootPath, ...]:
        """Unmount what is mounted; return the tops that were there."""

    def missing(self, zonepath: Path, binds: Binds) -> tuple[RootPath, ...]:
        """Return the tops that :meth:`up` would mount."""

    def foreign(self, zonepath: Path, binds: Binds | None) -> tuple[str, ...]:
        """Return where something is mounted in the zonepath that is not the shared layer."""


class LinuxBinds:
    """Read-only binds, by system call.

    One made ``for_many`` zones, all of them locked, reads once what is mounted, and again for a zone where it
    mounted something itself; it is to be closed.
    """

    def __init__(self, *, for_many: bool = False) -> None:
        from partialroot.host.linux import mounts

        self._clones = mounts.Clones() if for_many else None
        self._table: MountTable | None = None
        self._changed: set[Path] = set()

    def close(self) -> None:
        """Let go of what was kept for many zones."""
        if self._clones:
            self._clones.close()

    def up(self, zonepath: Path, binds: Binds, *, is_new: bool = False) -> tuple[RootPath, ...]:
        """Mount the tops that are absent, or show an image that was replaced since.

        Raises BusyError where something else is mounted; at a new root ApplyError, if ever.
        """
        from partialroot.host.linux import mounts

        root, image = zonepath / "root", Path(binds.image)
        states = dict.fromkeys(binds.tops, "absent") if is_new else self._states(zonepath, binds)
        for top, state in states.items():
            if state == "foreign":
                raise BusyError("something else is mounted there", path=f"{root}{top}", hint="unmount it")
        self._unbind(zonepath, [top for top, state in states.items() if state == "replaced"])
        missing = tuple(top for top, state in states.items() if state != "present")
        for top in missing:
            self._changed.add(zonepath)
            fs.announce("bind", top)
            mounts.bind_readonly(Path(f"{image}{top}"), root, top, self._clones)
        return missing

    def down(self, zonepath: Path, binds: Binds) -> tuple[RootPath, ...]:
        """Unmount the tops where anything is mounted."""
        from partialroot.host.linux import mounts

        there = mounts.mounted(zonepath / "root", binds.tops)
        self._unbind(zonepath, reversed(there))
        return there

    def _unbind(self, zonepath: Path, tops: Iterable[RootPath]) -> None:
        from partialroot.host.linux import mounts

        for top in tops:
            self._changed.add(zonepath)
            fs.announce("unbind", top)
            mounts.unbind(zonepath / "root", top)

    def missing(self, zonepath: Path, binds: Binds) -> tuple[RootPath, ...]:
        """Return the tops that :meth:`up` would mount."""
        states = self._states(zonepath, binds)
        return tuple(top for top, state in states.items() if state != "present")

    def foreign(self, zonepath: Path, binds: Binds | None) -> tuple[str, ...]:
        """Return the mount points below the zonepath that are none of ours, the deepest first."""
        ours = {f"{zonepath}/root{top}" for top in (binds.tops if binds else ())}
        below = set(self._read(zonepath).points_below(zonepath))
        return tuple(sorted(below - ours, reverse=True))

    def _states(self, zonepath: Path, binds: Binds) -> dict[RootPath, str]:
        """Return each top's state: those of ``mounts.state``, or ``replaced``."""
        from partialroot.host.linux import mounts

        root, image = zonepath / "root", Path(binds.image)
        states: dict[RootPath, str] = dict.fromkeys(binds.tops, "absent")
        there = mounts.mounted(root, binds.tops)
        if not there:  # so it is at every new zone, and nothing has to be read for it
            return states
        table = self._read(zonepath)
        replaced = table.inside(gone_prefix(image))
        for top in there:
            states[top] = mounts.state(root, top, image, table)
            mount = table.at(f"{root}{top}")
            if (
                states[top] == "foreign"
                and mount
                and mount.dev == replaced[0]
                and mount.root.startswith(replaced[1])
            ):
                states[top] = "replaced"
        return states

    def _read(self, zonepath: Path) -> "MountTable":
        """Return what is mounted, as far as it is about one zone."""
        from partialroot.host.linux import mountinfo

        if self._clones is None or zonepath in self._changed:
            return mountinfo.read()
        if self._table is None:
            self._table = mountinfo.read()
        return self._table
