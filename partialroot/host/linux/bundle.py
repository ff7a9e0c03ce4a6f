"""A zonepath as the OCI bundle that it is, and the directory that holds what a running zone needs.

A zonepath at rest has nothing but what populate put there, so the log of the zone's processes is in a
directory below /run, which is gone after a reboot, as the zone's processes are.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from stat import S_ISDIR
from typing import Any, Self

from partialroot.errors import BootError
from partialroot.host.linux import syscalls

# A zone that prints without end fills its own log, never the host's /run.
LOG_LIMIT = "16m"


class Bundle:
    """A zone to start or stop. To stop it, or look at it, its ``config`` is not needed."""

    def __init__(self, zonepath: Path, config: Mapping[str, Any] | None = None) -> None:
        self.zonepath = zonepath
        self.config = dict(config or {})

    @classmethod
    def load(cls, zonepath: Path) -> Self:
        """Read the zone's ``config.json``, which is outside of what the zone can write.

        Raises BootError if it or the root is not there, or if it is no configuration, or names nothing to
        start.
        """
        file = zonepath / "config.json"
        try:
            config = json.loads(file.read_bytes())
            _, _ = config["process"]["args"], config["linux"]["namespaces"]
            (zonepath / "root").stat()
        except OSError as error:
            raise BootError(f"no bundle: {error.strerror}", path=error.filename) from error
        except (ValueError, TypeError, KeyError) as error:
            nothing = isinstance(error, KeyError) and error.args == ("process",)
            why = "the zone's profiles name nothing to start" if nothing else "no OCI configuration"
            raise BootError(why, path=str(file)) from error
        return cls(zonepath, config)

    @property
    def root(self) -> Path:
        """The zone's root on the host."""
        return self.zonepath / "root"

    @cached_property
    def identifier(self) -> str:
        """The name of the zone's container: ``partialroot-`` and 12 hex digits that stand for its path."""
        from hashlib import sha256

        return f"partialroot-{sha256(os.fsencode(self.zonepath)).hexdigest()[:12]}"

    @property
    def device(self) -> str:
        """The name of the host's end of the zone's network: 15 bytes, as long as Linux allows."""
        return f"pr-{self.identifier[-12:]}"

    @property
    def process(self) -> dict[str, Any]:
        """The configuration of the zone's first process."""
        process: dict[str, Any] = self.config["process"]
        return process

    @property
    def mounts(self) -> list[dict[str, Any]]:
        """The configuration's mounts."""
        mounts: list[dict[str, Any]] = self.config.get("mounts", [])
        return mounts

    @property
    def capabilities(self) -> list[str]:
        """The capabilities the zone's root may have."""
        capabilities: list[str] = self.process.get("capabilities", {}).get("bounding", [])
        return capabilities

    @property
    def shared(self) -> Iterator[tuple[Path, str]]:
        """The shared directories: where each is on the host and where in the zone."""
        for mount in self.mounts:
            if mount.get("type") == "bind":
                yield self.zonepath / mount["source"], mount["destination"]

    @property
    def namespaces(self) -> set[str]:
        """The kinds of namespace that are to be the zone's own."""
        return {namespace["type"] for namespace in self.config["linux"]["namespaces"]}

    def on_host_network(self) -> "Bundle":
        """Return the same zone without a network of its own."""
        linux = self.config["linux"]
        kept = [namespace for namespace in linux["namespaces"] if namespace["type"] != "network"]
        return Bundle(self.zonepath, self.config | {"linux": linux | {"namespaces": kept}})

    def check_mount_points(self) -> None:
        """Raise BootError if something in the root's top would lead a mount elsewhere.

        The zone could write there while it ran; what it has no directory for, the runtime makes.
        """
        for mount in self.mounts:
            top = self.root / mount["destination"].split("/")[1]
            with suppress(FileNotFoundError):
                if not S_ISDIR(top.lstat().st_mode):
                    raise BootError("a mount point of the zone is no directory any more", path=str(top))

    # --- what is there while it runs ----------------------------------------------------------------

    @cached_property
    def run(self) -> Path:
        """The directory of this zone's log; removed when the zone is halted."""
        return _run_home() / self.identifier

    @property
    def log(self) -> Path:
        """What the zone's processes print."""
        return self.run / "log"

    def make_run(self) -> None:
        """Make the directory, as a small file system of its own where we may mount one.

        Raises BootError if it cannot be made, or if others can write there.
        """
        try:
            while not _made(self.run):  # another zone was halted, and took the empty home away
                pass
        except OSError as error:
            raise BootError(f"cannot make it: {error.strerror}", path=str(self.run)) from error
        _limit(self.run)

    def remove_run(self) -> None:
        """Remove the directory with all that is in it; it need not be there."""
        from shutil import rmtree

        with suppress(OSError):  # no file system of its own
            syscalls.unmount(os.fsencode(self.run), syscalls.UMOUNT_NOFOLLOW | syscalls.MNT_DETACH)
        rmtree(self.run, ignore_errors=True)
        with suppress(OSError):  # others run
            self.run.parent.rmdir()

    def last_words(self) -> str:
        """Return the last lines that the zone's processes printed, joined by `` | ``, safe to be shown."""
        try:
            with self.log.open("rb") as log:
                log.seek(max(0, self.log.stat().st_size - 2000))
                lines = log.read().decode("utf-8", "replace").split("\n")
        except OSError:
            return ""
        shown = " | ".join([line.strip() for line in lines if line.strip()][-5:])
        return "".join(character if character.isprintable() else "?" for character in shown)


def _run_home() -> Path:
    """Return the directory for all running zones: the system's, the user's, or one in /tmp."""
    if os.access("/run", os.W_OK):
        return Path("/run/partialroot")
    if home := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(home, "partialroot")
    return Path(f"/tmp/partialroot-{os.geteuid()}")  # noqa: S108 (its owner is checked)


def _made(run: Path) -> bool:
    """Make a zone's directory in the home of all; return False if the home vanished meanwhile."""
    home = run.parent
    with suppress(FileExistsError):
        home.mkdir(mode=0o700)
    try:
        status = home.lstat()
        if not S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
            raise BootError("it is not a directory that only we can write", path=str(home))
        run.mkdir(mode=0o700)
    except FileNotFoundError:
        return False
    return True


def _limit(directory: Path) -> None:
    """Mount a small file system there; without the right to, the log is limited by what holds it."""
    from plumbum import CommandNotFound, local

    options = f"size={LOG_LIMIT},mode=0700,nosuid,nodev,noexec"
    with suppress(CommandNotFound):
        local["mount"]["-t", "tmpfs", "-o", options, "partialroot", str(directory)].run(retcode=None)
