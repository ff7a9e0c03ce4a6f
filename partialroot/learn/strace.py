"""The text of ``strace -f -y``: one call a line, some of them in two parts (strace(1))."""

import re
from collections.abc import Iterable, Iterator

from partialroot.learn.calls import Call, split

CALLS = (
    "%file,fchdir,bind,listen,connect,?fork,?vfork,?clone,?clone3,?setuid,?setgid,?setreuid,?setregid,"
    "?setresuid,?setresgid,fchown"
)
"""What is to be traced; what a machine does not have (``?``) is passed over."""

_LINE = re.compile(r"(?:\[pid +)?(?P<process>\d+)?\]? *(?P<rest>\S.*)", re.DOTALL)
_UNFINISHED = re.compile(r"(.*?),? *<unfinished \.\.\.>\)?\s*$", re.DOTALL)
_RESUMED = re.compile(r"<\.\.\. (\w+) resumed>,? ?(.*)", re.DOTALL)
_NAME = re.compile(r"(\w+)\((.*)", re.DOTALL)
_RESULT = re.compile(r"\s*= (?:-1 (?P<error>E[A-Z0-9]+)\b|(?P<value>\S.*))", re.DOTALL)
_SUPERSEDED = re.compile(r"\+\+\+ superseded by execve in pid (\d+)")


def calls(lines: Iterable[str]) -> Iterator[Call]:
    """Yield the calls that ended; what is no call (signals, ends, damage) is passed over."""
    begun: dict[int, str] = {}
    for line in lines:
        match = _LINE.match(line)
        if match is None:
            continue
        process, rest = int(match["process"] or 0), match["rest"]
        if superseded := _SUPERSEDED.match(rest):
            # A thread executed a program: it goes on under the number of its process.
            begun[process] = begun.pop(int(superseded[1]), "")
            continue
        if resumed := _RESUMED.match(rest):
            rest = begun.pop(process, "") + resumed[2]
        elif unfinished := _UNFINISHED.match(rest):
            begun[process] = unfinished[1] + (", " if not unfinished[1].endswith("(") else "")
            continue
        call = _call(process, rest)
        if call is not None:
            yield call


def _call(process: int, text: str) -> Call | None:
    name = _NAME.match(text)
    parts = split(name[2]) if name else None
    result = _RESULT.match(parts[1]) if parts else None
    if name is None or parts is None or result is None:
        return None
    return Call(process, name[1], parts[0], result["error"] or "", (result["value"] or "").strip())
