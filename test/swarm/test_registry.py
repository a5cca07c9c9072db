"""Who is registered, and whom one can reach by address."""

from __future__ import annotations

import pytest

from xget_lib.swarm.registry import Node, Registry, can_reach


def test_a_node_is_replaced_and_removed_by_its_key() -> None:
    registry = Registry()
    first, second = Node(1, "10.0.0.1", 1, b"", 0, 0.0), Node(1, "10.0.0.1", 1, b"", 5, 0.0)
    assert registry.put(first) is None
    assert registry.put(second) is first
    assert list(registry) == [second]
    assert registry.remove(1) is second
    assert registry.remove(1) is None
    assert registry.get(1) is None
    assert len(registry) == 0


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
