"""Which node can reach which, by their addresses."""

from __future__ import annotations

import pytest

from xget_lib.swarm.addresses import can_reach


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
