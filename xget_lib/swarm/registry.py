"""Who serves what: the master's list of the nodes that said where they can be reached.

A node is registered for as long as the connection lives on which it said so; its key is that connection's number.
Addresses are what the master sees of the connection, so a node can't register anybody but itself.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Node:
    """A server of (a part of) one generation."""

    key: int
    address: str
    port: int
    generation: bytes
    held: int
    """Chunks held and verified, as the node says."""
    since: float
    """When it came, in the master's monotonic seconds."""
    follows: bool = False
    """Whether it wants each new generation as soon as there is one."""


class Registry:
    """The nodes by key."""

    def __init__(self) -> None:
        self._nodes: dict[int, Node] = {}

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> Iterator[Node]:
        return iter(self._nodes.values())

    def put(self, node: Node) -> Node | None:
        """Add or replace what is known of a node; the former entry, if there was one."""
        former = self._nodes.get(node.key)
        self._nodes[node.key] = node
        return former

    def get(self, key: int) -> Node | None:
        return self._nodes.get(key)

    def remove(self, key: int) -> Node | None:
        return self._nodes.pop(key, None)


def can_reach(asker: str, address: str) -> bool:
    """Whether a node whose address is `asker` can connect to `address`, as far as addresses tell.

    A node on the master's own machine is seen under a loopback address, which means something else elsewhere; and a
    link-local address means nothing without the interface.
    """
    there = _parse(address)
    if there is None:
        return False
    here = _parse(asker)
    if there.is_loopback:
        return here is not None and here.is_loopback
    return not there.is_link_local


def _parse(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    mapped = getattr(parsed, "ipv4_mapped", None)
    return mapped if isinstance(mapped, ipaddress.IPv4Address) else parsed
