"""Which node can reach which, by their addresses."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from xget_lib.swarm.addresses import can_reach, is_allowed, is_numeric, usable


@pytest.mark.parametrize(
    ("asker", "address", "reachable"),
    [
        ("10.0.0.1", "10.0.0.2", True),
        ("10.0.0.1", "fd00::2", True),
        ("10.0.0.1", "127.0.0.1", False),
        ("127.0.0.1", "127.0.0.1", True),
        ("::1", "127.0.0.1", True),
        ("10.0.0.1", "::ffff:127.0.0.1", False),
        ("10.0.0.1", "fe80::1", False),
        ("10.0.0.1", "169.254.3.4", False),
        ("nonsense", "10.0.0.1", True),
        ("10.0.0.1", "nonsense", False),
    ],
)
def test_loopback_and_link_local_addresses_mean_nothing_elsewhere(asker: str, address: str, reachable: bool) -> None:
    assert can_reach(asker, address) is reachable


@pytest.mark.parametrize("address", ["10.0.0.1", "127.0.0.1", "::1", "fd00::2", "::ffff:10.0.0.1", "fe80::1"])
def test_an_address_of_a_host_is_numeric(address: str) -> None:
    assert is_numeric(address)


@pytest.mark.parametrize(
    "address",
    [
        *("", "head", "head.example.org", "10.1", "224.0.0.1", "ff02::1", "0.0.0.0", "::", "255.255.255.255"),
        *("fe80::1%eth0", "::ffff:224.0.0.1", "1" * 1000),
    ],
)
def test_what_is_no_address_of_a_host_is_not(address: str) -> None:
    assert not is_numeric(address)


def test_of_the_peers_that_a_master_names_a_node_uses_those_that_others_could_be() -> None:
    named = [("10.0.0.1", 7), ("127.0.0.1", 7), ("::1", 7), ("fe80::1", 7), ("10.0.0.9", 7), ("10.0.0.9", 8)]
    assert usable(named, ("10.0.0.9", 7), "10.0.0.2") == (("10.0.0.1", 7), ("10.0.0.9", 8))
    on_this_machine = usable(named, ("127.0.0.1", 7), "127.0.0.5")
    assert on_this_machine == (("10.0.0.1", 7), ("::1", 7), ("10.0.0.9", 7), ("10.0.0.9", 8))


ALLOW = ip_network("10.1.0.0/16"), ip_network("fe80::/10"), ip_network("::1")


@pytest.mark.parametrize("address", ["10.1.2.3", "::ffff:10.1.2.3", "fe80::1%eth0", "fe80::1", "::1"])
def test_an_address_in_one_of_the_networks_is_allowed(address: str) -> None:
    assert is_allowed(address, ALLOW)


@pytest.mark.parametrize("address", ["10.2.0.1", "::ffff:10.2.0.1", "127.0.0.1", "fd00::1", "", "head"])
def test_any_other_is_not_unless_there_are_no_networks(address: str) -> None:
    assert not is_allowed(address, ALLOW)
    assert is_allowed(address, ())


def test_a_node_connects_only_to_peers_that_may_connect_to_it() -> None:
    named = [("10.1.0.1", 2007), ("10.2.0.1", 2007)]
    assert usable(named, ("10.1.0.9", 2007), "10.1.0.2", ALLOW) == (("10.1.0.1", 2007),)
