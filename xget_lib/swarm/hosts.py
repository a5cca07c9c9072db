"""Which addresses belong to one host. What a server has is shared by hosts, so that one of them cannot take it all."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

_IPV6_PREFIX = 64
"""Bits of an IPv6 address that name a network. Whoever has one address of it can use all others (RFC 4291)."""


@lru_cache(maxsize=1 << 14)
def host_of(address: str) -> str:
    """The host that an address belongs to: an IPv4 address by itself, an IPv6 address with its whole /64.

    What is not an IP address is a host of its own.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    mapped = getattr(parsed, "ipv4_mapped", None)
    if mapped is not None:
        return str(mapped)
    if parsed.version == 4 or parsed.is_link_local:
        return str(parsed)  # all machines of a link have the same link-local /64
    network = int(parsed) >> (128 - _IPV6_PREFIX) << (128 - _IPV6_PREFIX)
    return f"{ipaddress.IPv6Address(network)}/{_IPV6_PREFIX}"
