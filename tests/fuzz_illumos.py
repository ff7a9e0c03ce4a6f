"""What of illumos scripts/fuzz damages: objects, files of their linker, what the system's commands print."""

from collections.abc import Iterator

import sunelf
import sunroot
from fuzzing import Target

from partialroot.closure import elf
from partialroot.closure.elf import Abi
from partialroot.closure.linker import crle
from partialroot.closure.linker.sunos_bound import bound_at_start
from partialroot.closure.modules import brand, sunos_conf, sunos_nss, sunos_pam
from partialroot.host.illumos import bootenvs, mnttab, processes, zonelist
from partialroot.source import accounts

MNTTAB = """\
rpool/ROOT/be1\t/\tzfs\trw,dev=4410002\t1700000000
/usr/lib/libc/libc_hwcap1.so.1\t/lib/libc.so.1\tlofs\tdev=4410002\t1762000003
/z/web/image/usr\t/z/web/root/usr\tlofs\tro,nodevices,dev=2\t1700000002
"""
PAM_CONF = """\
login auth requisite pam_authtok_get.so.1
login auth include other.conf debug
other account required $ISA/pam_unix_account.so.1
"""
CONFIG = (
    "<brand name='x'><initname>/sbin/init</initname><user_cmd>/usr/bin/getent passwd %u</user_cmd></brand>"
)
ABIS = (Abi(32, True, 3), Abi(64, True, 62))


def targets() -> Iterator[Target]:
    """Yield all of them."""
    objects = [_object(abi.bits) for abi in ABIS]
    yield Target("illumos object", objects, elf.read_elf)
    yield Target("illumos bindings", objects, lambda data: [bound_at_start(data, abi) for abi in ABIS])
    configs = [sunroot.config("/opt/lib:/lib", {"LD_BIND_NOW": "1"}, bits=abi.bits) for abi in ABIS]
    yield Target("ld.config", configs, lambda data: [crle.parse(data, abi) for abi in ABIS])
    yield Target("mnttab", [MNTTAB.encode()], _mounts, (b"\tlofs\t", b"\t/\t", b"\n"))
    yield Target(
        "zoneadm list", [b"3:web:running:/z/w\\:b:u:x:excl"], lambda data: zonelist.parse(_text(data))
    )
    yield Target("ps", [b"  12 zsched\n 345 /sbin/init\n"], lambda data: processes.parse(_text(data)))
    yield Target("beadm", [b"be1;u1;NR;/;1;static;1\n"], lambda data: bootenvs.parse(_text(data)))
    yield Target("pam.conf", [PAM_CONF.encode()], _pam, (b"login", b" include ", b"other.conf"))
    yield Target(
        "crypt.conf", [b"6 crypt_sha512.so.1\n"], lambda data: sunos_conf.crypt_modules(_text(data), 64)
    )
    yield Target(
        "netconfig",
        [b"a b c d e f straddr.so,x\n"],
        lambda data: sunos_conf.transport_modules(_text(data), 32),
    )
    yield Target(
        "illumos nsswitch",
        [b"hosts: files [NOTFOUND=return] dns\n"],
        lambda data: sunos_nss.services(_text(data), "hosts"),
    )
    yield Target(
        "config.xml", [CONFIG.encode()], lambda data: brand.programs(_text(data)), (b"<!ENTITY a 'b'>",)
    )
    yield Target(
        "shadow",
        [b"root:x:0:0::/root:/sbin/sh\n"],
        lambda data: accounts.shadow_of(_text(data), accounts.ILLUMOS),
    )


def _object(bits: int) -> bytes:
    return sunelf.make(
        sunelf.Object(
            bits=bits,
            interpreter="/usr/lib/ld.so.1",
            needs=[sunelf.Need("libc.so.1"), sunelf.Need("liba.so.1", sunelf.LAZY)],
            filters=[("DT_SUNW_FILTER", "libf.so.1")],
            runpath="$ORIGIN/../lib",
            imports=["symbol", "getaddrinfo"],
            entries=[(sunelf.AUDITS["DT_AUDIT"], "libw.so.1")],
            capabilities=[(1, 0x1800), (2, 4)],
            bound=[("symbol", "liba.so.1", True)],
        )
    )


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _mounts(data: bytes) -> object:
    table = mnttab.parse(_text(data))
    hidden = mnttab.hidden_files(table, "/", lambda path: path.endswith(".so.1"))
    return table.at("/lib"), table.below("/z"), mnttab.covered(table, "/", ["/lib/libc.so.1", "/etc"]), hidden


def _pam(data: bytes) -> object:
    texts = {"/etc/pam.conf": _text(data), "/usr/lib/security/other.conf": _text(data[::-1])}
    return sunos_pam.stack("login", "profile", texts.get)
