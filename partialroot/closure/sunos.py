"""What illumos' libraries open by configuration: name services, PAM, hashes, transports, plug-ins."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from partialroot.closure import openers
from partialroot.closure.files import Found
from partialroot.closure.following import Following, grown
from partialroot.closure.linker.common import Library
from partialroot.closure.linker.sunos import Sunos
from partialroot.closure.modules import sunos_conf, sunos_nss, sunos_pam
from partialroot.nodes import Item, Reason

_LIBC, _LIBPAM = "libc.so.1", "libpam.so.1"
_NETCONFIG = "/etc/netconfig"
_CRYPT_CONF = "/etc/security/crypt.conf"
_PKCS11_CONF = "/etc/crypto/pkcs11.conf"
_GSS_MECHANISMS = "/etc/gss/mech"


class _Use(NamedTuple):
    """What is opened for who calls one of the functions, or by a ``library`` for all who have it.

    That are ``files``, and the modules that ``table`` names. ``now``: with RTLD_NOW (libc, gen/crypt.c;
    libpkcs11, pkcs11Conf.c; libgss, g_initialize.c), so that nothing these need can be lazy.
    """

    files: tuple[str, ...]
    functions: frozenset[bytes] = frozenset()
    library: str = ""
    table: str = ""
    modules: Callable[[str, int], tuple[str, ...]] = lambda text, bits: ()
    now: bool = False

    def is_of(self, library: Library) -> bool:
        """Whether an object is one for which these are opened."""
        return bool(self.functions & library.elf.opens) or library.found.real.name == self.library


_USES = (
    _Use(
        (_CRYPT_CONF, "/etc/security/policy.conf"),
        openers.HASHING,
        table=_CRYPT_CONF,
        modules=sunos_conf.crypt_modules,
        now=True,
    ),
    _Use((_NETCONFIG,), openers.TRANSPORTING, table=_NETCONFIG, modules=sunos_conf.transport_modules),
    _Use((_NETCONFIG,), openers.RESOLVING),
    _Use(
        (_PKCS11_CONF,),
        library="libpkcs11.so.1",
        table=_PKCS11_CONF,
        modules=sunos_conf.pkcs11_providers,
        now=True,
    ),
    _Use(
        (_GSS_MECHANISMS,),
        library="libgss.so.1",
        table=_GSS_MECHANISMS,
        modules=sunos_conf.gss_mechanisms,
        now=True,
    ),
)
_LIBSASL = "libsasl.so.1"
_SASL_PLUGINS = {32: "/usr/lib/sasl", 64: "/usr/lib/sasl/amd64"}  # libsasl, config.h


def name_services(walk: Following, databases: Iterable[Item], nsswitch: str) -> None:
    """Add the modules that look up the databases, once for each class of programs (libc, nss_deffinder.c)."""
    linkers = walk.linkers_with(Sunos, _LIBC)
    for item in databases if linkers else ():
        reason = Reason("nss", item.where)
        for linker in linkers:
            for service in sunos_nss.services(nsswitch, item.text):
                walk.open(linker, sunos_nss.module(service), reason, "warning")
        if item.text in sunos_nss.OF_THE_NETWORK:
            walk.add(_NETCONFIG, reason)


def pluggable_modules(walk: Following, services: Iterable[Item]) -> None:
    """Add pam.conf and the modules of the services' stacks; none may be missing (libpam, load_modules)."""
    linkers = walk.linkers_with(Sunos, _LIBPAM) or walk.linkers_with(Sunos, _LIBC)
    for item in services if linkers else ():
        stack = sunos_pam.stack(item.text, item.where, walk.files.text)
        for path, origin in stack.files:
            walk.add(path, Reason("pam", walk.real(origin)))
            _distrust(walk, walk.files.file(path))
        for path, origin in stack.absent:
            walk.result.miss(path, origin, "error")
        for linker in linkers:
            for step in stack.steps:
                module = sunos_pam.module_path(step.module, linker.bits)
                library = walk.open(linker, module, Reason("pam", walk.real(step.origin)), step.severity)
                _distrust(walk, library and library.found)


def openings(walk: Following) -> None:
    """Add what libraries open for the objects in the zone, by what these use of them."""
    done: set[tuple[_Use, int]] = set()
    for linker, library in grown(walk.libraries):
        if not isinstance(linker, Sunos):
            continue
        for use in _USES:
            if (use, linker.bits) not in done and use.is_of(library):
                done.add((use, linker.bits))
                _open(walk, linker, use, Reason("dlopen", library.found.real))
        if library.found.real.name == _LIBSASL:
            _plug_ins(walk, linker, Reason("dlopen", library.found.real))


def _open(walk: Following, linker: Sunos, use: _Use, reason: Reason) -> None:
    for path in use.files:
        walk.add(path, reason)
    if use.table == _CRYPT_CONF:
        _distrust(walk, walk.files.file(_CRYPT_CONF))
    for module in use.modules(walk.files.text(use.table) or "", linker.bits) if use.table else ():
        walk.open(linker, module, Reason("dlopen", walk.real(use.table)), "warning", now=use.now)


def _plug_ins(walk: Following, linker: Sunos, reason: Reason) -> None:
    """Add all that libsasl finds in its directory, whatever its name (libsasl, dlopen.c)."""
    place = _SASL_PLUGINS[linker.bits]
    directory = walk.files.find(place)
    for name in () if directory is None else walk.files.tree.names(directory.real):
        plug_in = f"{place}/{name}"
        if linker.open(plug_in).library is not None:
            walk.open(linker, plug_in, reason, "warning", now=True)


def _distrust(walk: Following, found: Found | None) -> None:
    """Warn of what libpam (pam_framework.c, open_module) or crypt(3C) does not trust: a file of others."""
    if found is not None and (found.node.uid != 0 or found.node.mode & 0o022):
        walk.files.troubles[found.real] = (
            "is refused at every login: it must be root's, and nobody else's to write"
        )
