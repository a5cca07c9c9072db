"""Who serves what: the master's list of the nodes that said where they can be reached.

A node is registered for as long as the connection lives on which it said so; its key is that connection's number.
Addresses are what the master sees of the connection, so a node can't register anybody but itself.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache


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
    scope = _scope(address)
    return _scope(asker) is _Scope.MACHINE if scope is _Scope.MACHINE else scope is _Scope.NETWORK


class _Scope(Enum):
    NOWHERE = auto()
    MACHINE = auto()
    LINK = auto()
    NETWORK = auto()


@lru_cache(maxsize=1 << 14)
def _scope(address: str) -> _Scope:
    """Where an address means something. Asked for each pair of nodes, while thousands come at once."""
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
