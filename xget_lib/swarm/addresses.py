"""Whether a node can connect to an address: a first check, which looks at the addresses alone."""

from __future__ import annotations

import ipaddress
from enum import Enum, auto
from functools import lru_cache


def can_reach(asker: str, address: str) -> bool:
    """Whether a node whose address is `asker` can connect to `address`.

    If a node runs on the machine of the master, the master sees a loopback address. Nodes on other machines cannot use
    that address. A link-local address means nothing without its interface.
    """
    scope = _scope(address)
    return _scope(asker) is _Scope.MACHINE if scope is _Scope.MACHINE else scope is _Scope.NETWORK


class _Scope(Enum):
    NOWHERE = auto()
    MACHINE = auto()
    LINK = auto()
    NETWORK = auto()


@lru_cache(maxsize=1 << 14)
def _scope(address: str) -> _Scope:
    """Where an address is valid. Cached: it is asked for each pair of nodes, while thousands join at once."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return _Scope.NOWHERE
    mapped = getattr(parsed, "ipv4_mapped", None)
    if isinstance(mapped, ipaddress.IPv4Address):
        parsed = mapped
    if parsed.is_loopback:
        return _Scope.MACHINE
    return _Scope.LINK if parsed.is_link_local else _Scope.NETWORK
