"""Whether a node can, and may, connect to an address: a first check, which looks at the addresses alone."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from enum import Enum, auto
from functools import lru_cache

from xget_lib.config import Network

_Peer = tuple[str, int]
_LONGEST = len("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255")
_BROADCAST = ipaddress.IPv4Address("255.255.255.255")


def can_reach(asker: str, address: str) -> bool:
    """Whether a node whose address is `asker` can connect to `address`.

    If a node runs on the machine of the master, the master sees a loopback address. Nodes on other machines cannot use
    that address. A link-local address means nothing without its interface.
    """
    scope = _scope(address)
    return _scope(asker) is _Scope.MACHINE if scope is _Scope.MACHINE else scope is _Scope.NETWORK


def is_numeric(address: str) -> bool:
    """Whether it is an IPv4 or IPv6 address of a host. A name, which would be looked up, is not, nor is an address with
    an interface in it."""
    if len(address) > _LONGEST:
        return False
    return _scope(address) is not _Scope.NOWHERE


def usable(peers: Iterable[_Peer], own: _Peer, master: str, allow: tuple[Network, ...] = ()) -> tuple[_Peer, ...]:
    """Of the peers that a master names, each an address and a port, those that a node may connect to.

    `own` is the address of the node itself, as it is seen by others. `master` is the address of the master: if that is
    on another machine, it has no reason to name addresses of this machine. `allow`: as in `is_allowed`.
    """
    return tuple(peer for peer in peers if peer != own and can_reach(master, peer[0]) and is_allowed(peer[0], allow))


@lru_cache(maxsize=1 << 14)
def is_allowed(address: str, allow: tuple[Network, ...]) -> bool:
    """Whether an address is in one of these networks; if there are none, each is. What is no address is in none.

    An IPv4 address is the same with and without the `::ffff:` that an IPv6 socket puts before it. The interface of a
    link-local address does not count.
    """
    if not allow:
        return True
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return any((mapped or parsed) in network for network in allow)


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
    if parsed.is_multicast or parsed.is_unspecified or parsed == _BROADCAST or "%" in address:
        return _Scope.NOWHERE
    if parsed.is_loopback:
        return _Scope.MACHINE
    return _Scope.LINK if parsed.is_link_local else _Scope.NETWORK
