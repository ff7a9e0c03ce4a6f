"""Name services of glibc: which modules an nsswitch.conf asks for (nsswitch.conf(5), nss/nss_database.c)."""

import re

_BUILT_IN, _BUILT_IN_SINCE = ("files", "dns"), (2, 34)
_DEFAULT = ("files",)
_DEFAULTS = {"hosts": ("files", "dns"), "netgroup": ("nis",), "publickey": ("nis",)}
_ACTION = r"\[[^]]*\]"


def services(nsswitch: str, database: str) -> tuple[str, ...]:
    """Return the services, in order, that look up a database (``passwd``, ``hosts``)."""
    for line in nsswitch.splitlines():
        name, colon, rest = line.partition("#")[0].partition(":")
        if colon and name.strip() == database:
            return tuple(dict.fromkeys(re.sub(_ACTION, " ", rest).split()))
    if database == "initgroups":
        return services(nsswitch, "group")
    return _DEFAULTS.get(database, _DEFAULT)


def module(service: str) -> str:
    """Return the name of the library that is a service."""
    return f"libnss_{service}.so.2"


def is_built_in(service: str, release: tuple[int, int]) -> bool:
    """Whether a service is part of libc itself in a release of glibc."""
    return service in _BUILT_IN and release >= _BUILT_IN_SINCE
