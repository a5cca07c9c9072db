"""Which addresses count as one host, where hosts get equal shares."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

_IPV6_HOST_BITS = 64
"""Whoever has one IPv6 address usually has all addresses with the same first bits (RFC 6177)."""


@lru_cache(maxsize=1 << 12)
def host(address: str) -> str:
    """The host of an address: an IPv4 address itself, an IPv6 address its /64. Anything else is a host of its own."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    if parsed.is_link_local:
        return str(parsed)
    return str(ipaddress.ip_network((int(parsed) >> _IPV6_HOST_BITS << _IPV6_HOST_BITS, _IPV6_HOST_BITS)))
