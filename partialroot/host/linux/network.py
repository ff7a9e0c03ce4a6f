"""The zone's network: a pair of virtual Ethernet devices, configured from outside, by netlink alone.

The zone gets one address, and the host as the only neighbour and gateway (169.254.0.1: an address that no
host gives itself, RFC 3927). The host gets a route to that one address. Nothing else of the host is
changed: whether packets are forwarded to the world beyond is the administrator's decision. All of it
ends with the zone's network namespace.
"""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from partialroot.errors import BootError, ConflictError, UsageError

if TYPE_CHECKING:
    from ipaddress import IPv4Address

    from pyroute2 import IPRoute

GATEWAY = "169.254.0.1"
ZONE_DEVICE = "eth0"
# Third octets of 169.254.0.0/16 that others use: RFC 3927 reserves the first and last; clouds serve their
# metadata in 169 and 170; Kubernetes and Calico have addresses in 20 and 1.
AVOIDED = frozenset({0, 1, 20, 169, 170, 255})

_WHY = {
    errno.EOPNOTSUPP: "this kernel has no virtual Ethernet devices (CONFIG_VETH; modprobe veth)",
    errno.EPERM: "that takes CAP_NET_ADMIN and CAP_SYS_ADMIN",
    errno.EACCES: "that takes CAP_NET_ADMIN and CAP_SYS_ADMIN",
}


def parse_address(text: str) -> str:
    """Return the IPv4 address in ``10.1.2.3`` or ``10.1.2.3/24``; the link has one neighbour, so no net.

    Raises UsageError for anything else, or an address that no host can have.
    """
    from ipaddress import AddressValueError, IPv4Interface, NetmaskValueError

    try:
        address = IPv4Interface(text).ip
    except (AddressValueError, NetmaskValueError, ValueError) as error:
        raise UsageError(f"{text!r} is no IPv4 address: {error}", hint="write it as 10.1.2.3") from error
    if not _is_usable(address):
        raise UsageError(f"a zone cannot have the address {address}")
    return str(address)


def _is_usable(address: "IPv4Address") -> bool:
    odd = address.is_multicast or address.is_loopback or address.is_reserved or address.is_unspecified
    return not odd and str(address) != GATEWAY


def why_no_pair() -> str:
    """Try to make a pair of devices and to enter a namespace: return "" if that works, else why not."""
    from pyroute2 import IPRoute, NetlinkError, NetNS

    name, peer = f"prtry{os.getpid()}", f"prtri{os.getpid()}"
    try:
        with _interrupts_held(), IPRoute() as host, NetNS("/proc/self/ns/net", flags=0):
            host.link("add", ifname=name, kind="veth", peer={"ifname": peer})
            host.link("del", ifname=name)
    except (NetlinkError, OSError) as error:
        return _why(error)
    return ""


def attach(pid: int, device: str, zonepath: str, address: str | None) -> str:
    """Connect the network namespace of process ``pid`` to this one; return the zone's address.

    ``device`` names the host's end. Without an address, the zone gets a link-local one that is free here,
    usually the same at each boot. Raises ConflictError when the address is in use on this host, and
    BootError when the kernel refuses. Whatever was made is taken away then.
    """
    from pyroute2 import IPRoute, NetlinkError, NetNS

    try:
        with _interrupts_held(), IPRoute() as host:
            index = _add_pair(host, device, pid)
            try:
                chosen = _claim(host, index, zonepath, address)
                with NetNS(f"/proc/{pid}/ns/net", flags=0) as zone:
                    _configure(zone, chosen)
            except BaseException:
                host.link("del", index=index)
                raise
    except (NetlinkError, OSError) as error:
        raise BootError(f"cannot connect the zone to the network: {_why(error)}") from error
    return chosen


def detach(device: str) -> None:
    """Make sure that the host's end is gone: it goes with the zone's namespace, but only soon after it."""
    if _gone_soon(device):
        return
    from pyroute2 import IPRoute, NetlinkError

    with IPRoute() as host, suppress(NetlinkError):  # on its way meanwhile
        host.link("del", ifname=device)
    _gone_soon(device)


def inside(pid: int, work: Callable[[], None]) -> None:
    """Do something in the network namespace of process ``pid``, in a thread: no other is moved there.

    Raises what ``work`` raises, and BootError when the namespace may not be entered.
    """
    from threading import Thread

    failed: list[BaseException] = []

    def enter_and_work() -> None:
        try:
            _enter(pid)
            work()
        except BaseException as error:
            failed.append(error)

    thread = Thread(target=enter_and_work, daemon=True)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Let an interrupt wait: pyroute2 forks to enter a namespace, and its child must not undo what we do."""
    from signal import SIG_BLOCK, SIG_SETMASK, SIGINT, pthread_sigmask

    before = pthread_sigmask(SIG_BLOCK, {SIGINT})
    try:
        yield
    finally:
        pthread_sigmask(SIG_SETMASK, before)


def _enter(pid: int) -> None:
    from partialroot.host.linux.syscalls import enter_network

    theirs = f"/proc/{pid}/ns/net"
    try:
        if os.stat(theirs).st_ino == os.stat("/proc/thread-self/ns/net").st_ino:
            return
        namespace = os.open(theirs, os.O_RDONLY | os.O_CLOEXEC)
        try:
            enter_network(namespace)
        finally:
            os.close(namespace)
    except OSError as error:
        raise BootError(
            f"cannot enter the zone's network: {error.strerror}", hint="run it as root"
        ) from error


def _gone_soon(device: str) -> bool:
    """Wait at most half a second until the device is gone, and tell whether it is."""
    from time import sleep

    for _ in range(50):
        if not _exists(device):
            return True
        sleep(0.01)
    return False


def _exists(device: str) -> bool:
    from socket import if_nametoindex

    try:
        if_nametoindex(device)
    except OSError:
        return False
    return True


def _add_pair(host: "IPRoute", device: str, pid: int) -> int:
    """Make the pair, one end directly in the zone, so that its name cannot collide with one of ours."""
    host.link("add", ifname=device, kind="veth", peer={"ifname": ZONE_DEVICE, "net_ns_pid": pid})
    index: int = host.link_lookup(ifname=device)[0]
    host.link("set", index=index, state="up")
    host.addr("add", index=index, address=GATEWAY, prefixlen=32)
    return index


def _claim(host: "IPRoute", index: int, zonepath: str, address: str | None) -> str:
    """Route the wanted address, or the first that is free, to the zone; the route is also the claim."""
    ours = {dict(found["attrs"]).get("IFA_LOCAL") for found in host.get_addr(family=2)}
    for candidate in [address] if address else _link_local(zonepath):
        if candidate not in ours and _route(host, index, candidate):
            return candidate
    if address:
        raise ConflictError(f"the address {address} is in use on this host", hint="give another --address")
    raise BootError("no link-local address is free on this host", hint="give one with --address")


def _route(host: "IPRoute", index: int, address: str) -> bool:
    """Add the route to a zone; return False if there is one to that very address already."""
    from pyroute2 import NetlinkError

    try:
        host.route("add", dst=f"{address}/32", oif=index, scope="link", prefsrc=GATEWAY)
    except NetlinkError as error:
        if error.code != errno.EEXIST:
            raise
        return False
    return True


def _link_local(zonepath: str) -> Iterator[str]:
    """Yield all link-local addresses we may use, beginning at a place that depends on the zonepath."""
    from hashlib import sha256

    start = int.from_bytes(sha256(os.fsencode(zonepath)).digest()[:2])
    for number in range(start, start + 0x10000):
        third, fourth = divmod(number % 0x10000, 0x100)
        if third not in AVOIDED and fourth not in (0, 255):
            yield f"169.254.{third}.{fourth}"


def _configure(zone: "IPRoute", address: str) -> None:
    """Give the zone's end its address, with the host as the neighbour and the way to everything else."""
    index = zone.link_lookup(ifname=ZONE_DEVICE)[0]
    zone.addr("add", index=index, local=address, address=GATEWAY, prefixlen=32)
    zone.link("set", index=index, state="up")
    zone.route("add", dst="default", gateway=GATEWAY)


def _why(error: Exception) -> str:
    """Return the reason in words; netlink's errors have a ``code``, others an ``errno``."""
    number = getattr(error, "code", None) or getattr(error, "errno", None) or 0
    return _WHY.get(number) or (os.strerror(number) if number else str(error))
