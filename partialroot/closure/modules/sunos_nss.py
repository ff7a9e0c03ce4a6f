"""Name services of illumos: which modules an nsswitch.conf asks for (libc, gen/nsparse.c; nss_dbdefs.h)."""

import re

_ACTION = r"\[[^]]*\]"
_DEFAULT = ("files", "nis")
_NIS_FIRST = ("hosts", "ipnodes", "networks", "protocols", "rpc", "ethers", "netmasks", "bootparams")
_DEFAULTS = {
    **dict.fromkeys(_NIS_FIRST, ("nis", "files")),
    "netgroup": ("nis",),
    "printers": ("user", "files", "nis"),
}
_COMPAT_DEFAULT = ("nis",)

OF_THE_NETWORK = frozenset(("hosts", "ipnodes", "services"))
"""Databases of which nothing is found without /etc/netconfig (libnsl, __rpc_getconfip)."""


def services(nsswitch: str, database: str) -> tuple[str, ...]:
    """Return the services, in order, that look up a database; without a line for it the built-in ones."""
    name = "passwd" if database == "shadow" else database
    found = _line(nsswitch, name) or _DEFAULTS.get(name, _DEFAULT)
    if "compat" in found:
        found += _line(nsswitch, f"{name}_compat") or _COMPAT_DEFAULT
    return tuple(dict.fromkeys(found))


def module(service: str) -> str:
    """Return the name of the library that is a service."""
    return f"nss_{service}.so.1"


def _line(nsswitch: str, database: str) -> tuple[str, ...]:
    for line in nsswitch.splitlines():
        name, colon, rest = line.partition("#")[0].partition(":")
        if colon and name.strip() == database:
            return tuple(re.sub(_ACTION, " ", rest).split())
    return ()
