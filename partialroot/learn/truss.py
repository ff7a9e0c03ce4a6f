"""The text of ``truss -f`` on illumos (truss(1)): a call a line, its result behind a tab or a blank."""

import re
from collections.abc import Iterable, Iterator

from partialroot.learn.calls import Call, split

CALLS = (
    "open,openat,open64,openat64,creat,creat64,stat,lstat,stat64,lstat64,fstatat,fstatat64,access,faccessat,"
    "readlink,readlinkat,resolvepath,execve,exec,chdir,fchdir,mkdir,mkdirat,mknod,mknodat,symlink,symlinkat,"
    "link,linkat,rename,renameat,unlink,unlinkat,rmdir,chmod,fchmodat,chown,lchown,fchownat,utimensat,"
    "fork,forkx,vfork,close,setuid,setgid,setreuid,setregid,bind,listen,connect"
)
"""What is to be traced: ``truss -t``."""

VERBOSE = "bind,connect"
"""Of which calls the addresses are to be shown: ``truss -v``."""

_LINE = re.compile(r"(?P<process>\d+)(?:/\d+)?:\t(?P<rest>.*)", re.DOTALL)
_NAME = re.compile(r"(\w+)\((.*)", re.DOTALL)
_ERROR = re.compile(r"\s*Err#\d+ (E[A-Z0-9]+)")
_VALUE = re.compile(r"\s*(?:\(returning as child \.\.\.\)\s*)?(?:argc )?= (\S.*)", re.DOTALL)
_SLEEPING = re.compile(r"\s*\(sleeping\.\.\.\)\s*$")
# What -v shows below a call: "AF_INET  name = 0.0.0.0  port = 8000", "AF_UNIX  name = /var/run/x".
_ADDRESS = re.compile(r"\s+(AF_INET6?|AF_UNIX)\s+name = (\S+)(?:\s+port = (\d+))?")


def calls(lines: Iterable[str]) -> Iterator[Call]:
    """Yield the calls, with the address of a socket as one more argument, as strace has it."""
    held: Call | None = None
    for line in lines:
        match = _LINE.match(line)
        rest = match["rest"] if match else ""
        address = _ADDRESS.match(rest)
        if held is not None and address:
            held = held._replace(arguments=(*held.arguments, _as_strace(*address.groups())))
            continue
        call = _call(int(match["process"]), _SLEEPING.sub("", rest)) if match else None
        if call is not None:
            if held is not None:
                yield held
            held = call
    if held is not None:
        yield held


def _as_strace(family: str, name: str, port: str | None) -> str:
    if family == "AF_UNIX":
        return f'{{sa_family=AF_UNIX, sun_path="{name}"}}'
    return f'{{sa_family={family}, sin_port=htons({port or 0}), sin_addr=inet_addr("{name}")}}'


def _call(process: int, text: str) -> Call | None:
    name = _NAME.match(text)
    parts = split(name[2]) if name else None
    if name is None or parts is None:
        return None
    arguments, rest = parts
    if error := _ERROR.match(rest):
        return Call(process, name[1], arguments, error[1], "")
    value = _VALUE.match(rest)
    return Call(process, name[1], arguments, "", value[1].strip()) if value else None
