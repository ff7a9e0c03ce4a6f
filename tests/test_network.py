"""The zone's network: addresses in words, and pairs of devices between real namespaces."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from ipaddress import IPv4Address, IPv4Network
from itertools import islice

import pytest
from bootable import until
from children import in_child, in_user_namespace
from hypothesis import given
from hypothesis import strategies as st
from needs import needs
from pyroute2 import IPRoute, NetNS
from spaces import network_devices

from partialroot.errors import BootError, ConflictError, PartialRootError, UsageError
from partialroot.host.linux import network

LINK_LOCAL = IPv4Network("169.254.0.0/16")
TAKEN = [IPv4Network(f"169.254.{third}.0/24") for third in (0, 1, 20, 169, 170, 255)]


@pytest.mark.parametrize("text", ["10.1.2.3", "10.1.2.3/24", "10.1.2.3/255.255.255.0"])
def test_an_address_with_or_without_a_net(text: str) -> None:
    assert network.parse_address(text) == "10.1.2.3"


@pytest.mark.parametrize(
    "text",
    ["", "10.1.2", "10.1.2.3/33", "10.1.2.3/x", "fd00::2", "host", "127.0.0.1", "224.0.0.1", "0.0.0.0",
     "255.255.255.255", network.GATEWAY],
)  # fmt: skip
def test_what_is_no_address_for_a_zone(text: str) -> None:
    with pytest.raises(UsageError):
        network.parse_address(text)


@given(st.text(max_size=30))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        IPv4Address(network.parse_address(text))
    except PartialRootError as error:
        assert error.code == 2


@given(st.text().map(lambda name: f"/zones/{name}"))
def test_link_local_addresses_avoid_those_of_others(zonepath: str) -> None:
    addresses = [IPv4Address(text) for text in islice(network._link_local(zonepath), 600)]
    assert len(set(addresses)) == len(addresses)
    assert all(one in LINK_LOCAL and not any(one in net for net in TAKEN) for one in addresses)


def test_all_link_local_addresses_are_tried() -> None:
    assert len(set(network._link_local("/zones/web"))) == (256 - len(TAKEN)) * 254


@pytest.fixture
def make_namespace() -> Iterator[Callable[[], int]]:
    """A function that starts a process in a network namespace of its own and returns its number."""
    with ExitStack() as running:

        def make() -> int:
            process = running.enter_context(subprocess.Popen(["unshare", "-n", "sleep", "1000"]))
            running.callback(process.kill)
            while os.readlink(f"/proc/{process.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
                time.sleep(0.005)
            return process.pid

        yield make


@pytest.fixture
def device() -> Iterator[str]:
    """A name for the host's end that is gone at the end."""
    name = f"pr-t{os.getpid()}"
    yield name
    network.detach(name)


def routes(address: str) -> list[int]:
    """Return the devices of the host's routes to an address alone."""
    with IPRoute() as host:
        found = host.get_routes(family=2, dst_len=32)
    return [route.get_attr("RTA_OIF") for route in found if route.get_attr("RTA_DST") == address]


@needs("root", "veth", "busybox")
class TestPair:
    """A pair of devices between this namespace and another."""

    def test_it_connects(self, make_namespace: Callable[[], int], device: str) -> None:
        pid = make_namespace()
        address = network.attach(pid, device, "/zones/web", None)
        assert IPv4Address(address) in LINK_LOCAL
        ping = [
            "nsenter",
            f"--net=/proc/{pid}/ns/net",
            "busybox",
            "ping",
            "-c",
            "1",
            "-W",
            "2",
            network.GATEWAY,
        ]
        until(lambda: subprocess.run(ping, capture_output=True).returncode == 0, "an answer")
        assert len(routes(address)) == 1

    def test_the_zone_sees_only_its_end(self, make_namespace: Callable[[], int], device: str) -> None:
        pid = make_namespace()
        address = network.attach(pid, device, "/zones/web", "10.213.7.9")
        with NetNS(f"/proc/{pid}/ns/net", flags=0) as zone:
            names = {link.get_attr("IFLA_IFNAME") for link in zone.get_links()}
            ways = [route.get_attr("RTA_GATEWAY") for route in zone.get_default_routes(family=2)]
            (mine,) = [one.get_attr("IFA_LOCAL") for one in zone.get_addr(family=2, label="eth0")]
        assert {"lo", "eth0"} <= names
        assert device not in names
        assert (mine, address, ways) == ("10.213.7.9", "10.213.7.9", [network.GATEWAY])

    def test_it_goes_with_its_namespace(self, make_namespace: Callable[[], int], device: str) -> None:
        pid = make_namespace()
        address = network.attach(pid, device, "/zones/web", None)
        os.kill(pid, 9)
        network.detach(device)
        assert device not in network_devices()
        assert not routes(address)

    def test_detach_takes_it_away_where_the_namespace_lives_on(
        self, make_namespace: Callable[[], int], device: str
    ) -> None:
        network.attach(make_namespace(), device, "/zones/web", None)
        network.detach(device)
        assert device not in network_devices()

    def test_a_zone_has_the_same_address_each_time_but_not_another_zone_s(
        self, make_namespace: Callable[[], int], device: str
    ) -> None:
        first = network.attach(make_namespace(), device, "/zones/web", None)
        second = network.attach(make_namespace(), f"{device}b", "/zones/web", None)
        network.detach(device)
        again = network.attach(make_namespace(), device, "/zones/web", None)
        network.detach(f"{device}b")
        assert (first == again, first == second) == (True, False)

    @pytest.mark.parametrize("whose", ["another zone's", "the host's"])
    def test_an_address_that_is_taken(
        self, make_namespace: Callable[[], int], device: str, whose: str
    ) -> None:
        taken = "10.213.7.10"
        if whose == "the host's":
            with IPRoute() as host:
                host.addr("add", index=1, address=taken, prefixlen=32)
        else:
            network.attach(make_namespace(), f"{device}b", "/zones/other", taken)
        try:
            with pytest.raises(ConflictError, match=r"10\.213\.7\.10 is in use"):
                network.attach(make_namespace(), device, "/zones/web", taken)
            assert device not in network_devices()
        finally:
            network.detach(f"{device}b")
            if whose == "the host's":
                with IPRoute() as host:
                    host.addr("del", index=1, address=taken, prefixlen=32)

    def test_it_can_be_made_here(self) -> None:
        before = network_devices()
        assert network.why_no_pair() == ""
        assert network_devices() == before


@needs("userns")
def test_who_may_not_make_devices_is_told_why() -> None:
    assert "CAP_NET_ADMIN" in in_child(in_user_namespace, network.why_no_pair)


@needs("root")
def test_a_zone_that_ended_meanwhile(device: str) -> None:
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    with pytest.raises(BootError, match="cannot connect the zone to the network"):
        network.attach(ended.pid, device, "/zones/web", None)
    assert device not in network_devices()
