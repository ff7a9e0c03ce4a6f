"""Who lives in a zone: what zoneadm(8) and ps(1) print."""

import re
from pathlib import Path

from partialroot.errors import ApplyError
from partialroot.host.illumos import commands, zonelist
from partialroot.host.illumos.commands import PS, ZONEADM, Run
from partialroot.host.process import Process

_LINE = re.compile(r" *([0-9]{1,10})(?: (.*))?")


def zone_processes(root: Path, run: Run | None = None) -> tuple[Process, ...]:
    """Return the processes of the zone whose zonepath holds ``root``; a zone that is ready has zsched."""
    run = run or commands.run
    name = _alive_at(root.parent, run)
    if name is None:
        return ()
    try:
        return parse(run(PS, "-z", name, "-o", "pid=", "-o", "args="))
    except ApplyError:
        if _alive_at(root.parent, run) is None:  # it ended meanwhile
            return ()
        raise


def session_of(leader: int, run: Run | None = None) -> tuple[int, ...]:
    """Return the numbers of the processes of a session, but for its leader's."""
    return parse_session((run or commands.run)(PS, "-e", "-o", "pid=", "-o", "sid="), leader)


def parse_session(text: str, leader: int) -> tuple[int, ...]:
    """Return who is of a session in what ``ps -o pid= -o sid=`` prints, but for its leader."""
    pairs = (line.split() for line in text.split("\n"))
    numbers = (tuple(map(int, pair)) for pair in pairs if len(pair) == 2 and "".join(pair).isdecimal())
    return tuple(process for process, session in numbers if session == leader != process)


def _alive_at(zonepath: Path, run: Run) -> str | None:
    """Return the name of the zone at a zonepath that is known to the kernel.

    Without ``-z`` zoneadm lists just those, and does not ask the brand (zones facts 1.2).
    """
    listed = map(zonelist.parse, run(ZONEADM, "list", "-p").splitlines())
    return next((zone.name for zone in listed if zone.zonepath == zonepath), None)


def parse(text: str) -> tuple[Process, ...]:
    """Return the processes in what ``ps -o pid= -o args=`` prints; what is no such line is passed over."""
    lines = (_LINE.fullmatch(line) for line in text.split("\n"))
    return tuple(Process(int(line[1]), (line[2] or "").strip()) for line in lines if line)
