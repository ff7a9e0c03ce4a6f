"""What makes a root an illumos zone's: where the platform mounts, and how init comes to start something.

init(8) needs an entry of /etc/inittab whose id is ``smf`` and runs its command, whatever that is, through
/sbin/sh; it runs it again when it ends, and gives up on one that ends too often. So the command never ends:
it becomes what the zone is for. All here is text in, text out.
"""

from collections.abc import Iterable, Mapping, Sequence

from partialroot.errors import ConflictError
from partialroot.model import Entry, Start
from partialroot.nodes import FileType
from partialroot.paths import RootPath

INITTAB = RootPath("/etc/inittab")
RC = RootPath("/etc/zone.rc")
STEPS = RootPath("/etc/zone.rc.d")
"""Where profiles put executable texts that run, in the order of their names, before the command."""

# sleep(1) of illumos takes Inf; zap starts zones that only wait in the same way.
_PAUSE = ("/usr/bin/sleep", "Inf")

_RC = """\
#!/sbin/sh
# Run by init, because of the smf line in /etc/inittab. It must not end: init would run it again.
exec </dev/console >/dev/console 2>&1
PATH=/usr/sbin:/usr/bin:/sbin
export PATH
"""

MOUNT_POINTS: Mapping[RootPath, FileType] = {
    RootPath("/dev"): FileType.DIR,
    RootPath("/proc"): FileType.DIR,
    RootPath("/system/contract"): FileType.DIR,
    RootPath("/system/object"): FileType.DIR,
    RootPath("/etc/svc/volatile"): FileType.DIR,
    RootPath("/etc/mnttab"): FileType.FILE,
    RootPath("/etc/dfs/sharetab"): FileType.FILE,
}
"""Where every brand's platform.xml mounts something. zoneadmd refuses a symlink anywhere in such a path."""


def mount_point_mode(kind: FileType) -> int:
    """Return the mode of a mount point: nobody writes the two files, they only hold the place."""
    return 0o755 if kind is FileType.DIR else 0o444


def refuse_odd_mount_points(entries: Iterable[Entry]) -> None:
    """Raise ConflictError for what zoneadmd could not mount on: a symlink, a file instead of a directory."""
    known = {entry.path: entry for entry in entries}
    for point, kind in MOUNT_POINTS.items():
        for path in (point, *point.ancestors):
            entry = known.get(path)
            wanted = (FileType.DIR, kind) if path == point else (FileType.DIR,)
            if entry is not None and entry.type not in wanted:
                raise ConflictError(
                    f"a {entry.type} cannot be here: the zone's platform mounts on {point}",
                    path=path,
                    hint=f"asked for by {entry.reasons[0].origin}",
                )


def start_command(start: Start) -> tuple[str, ...]:
    """Return the command line of the zone's main process."""
    return _PAUSE if start.pause else start.command


def start_script(command: Sequence[str], steps: Iterable[RootPath]) -> str:
    """Return /etc/zone.rc: the steps one after the other, then the command in the script's own place."""
    from shlex import quote

    lines = [*map(quote, sorted(steps)), "exec " + " ".join(map(quote, command))]
    return _RC + "".join(f"{line}\n" for line in lines)


def with_start(inittab: str, rc: str) -> str:
    """Return inittab(5) with ``rc`` as what init starts instead of SMF's svc.startd, or of what else does."""
    lines = filter(None, inittab.split("\n"))
    kept = [line for line in lines if "startd" not in line and not line.startswith("smf:")]
    return "".join(f"{line}\n" for line in (*kept, f"smf::sysinit:{rc}"))


def without_bash(passwd: str) -> str:
    """Return passwd(5) with the first ``/bash`` of each line made ``/sh``: for a zone that has no bash."""
    return "\n".join(line.replace("/bash", "/sh", 1) for line in passwd.split("\n"))
