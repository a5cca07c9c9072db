"""Which addresses count as one host."""

from __future__ import annotations

import pytest

from xget_lib.swarm.hosts import host_of


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("::1", "::/64"),
        ("", ""),
        ("nonsense", "nonsense"),
    ],
)
def test_an_ipv4_address_is_a_host_and_a_network_of_64_bits_too(address: str, host: str) -> None:
    assert host_of(address) == host


def test_addresses_of_different_networks_are_different_hosts() -> None:
    assert host_of("2001:db8:0:1::1") == host_of("2001:db8:0:1::2") != host_of("2001:db8:0:2::1")
