"""Which trees are open to whom."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from xget_lib.serve.access import Access
from xget_lib.serve.attach import CLASSIC, FILES, SWARM


def test_nothing_is_open_by_default() -> None:
    assert not any(Access().is_open("127.0.0.1", tree) for tree in (CLASSIC, FILES, SWARM, ""))


def test_what_is_open_is_open_to_all_unless_networks_are_named() -> None:
    access = Access(open_trees=frozenset([FILES]))
    assert access.is_open("192.0.2.1", FILES) and not access.is_open("192.0.2.1", SWARM)


@pytest.mark.parametrize(
    ("address", "near"),
    [("192.0.2.7", True), ("192.0.3.7", False), ("2001:db8::1", True), ("2001:db9::1", False), ("", False)],
)
def test_networks_of_both_families_can_be_named(address: str, near: bool) -> None:
    networks = ip_network("192.0.2.0/24"), ip_network("2001:db8::/32")
    assert Access(open_trees=frozenset([FILES]), open_to=networks).is_open(address, FILES) == near
