"""Which addresses share what one host gets."""

from __future__ import annotations

import pytest

from xget_lib.swarm.hosts import host


@pytest.mark.parametrize(
    ("address", "other"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8::1", "2001:db8::ffff:2"),
        ("fe80::1%eth0", "fe80::1%eth0"),
    ],
)
def test_addresses_of_one_host(address: str, other: str) -> None:
    assert host(address) == host(other)


@pytest.mark.parametrize(
    ("address", "other"),
    [
        ("10.0.0.1", "10.0.0.2"),
        ("2001:db8::1", "2001:db8:0:1::1"),
        ("fe80::1", "fe80::2"),
        ("node1", "node2"),
    ],
)
def test_addresses_of_different_hosts(address: str, other: str) -> None:
    assert host(address) != host(other)
