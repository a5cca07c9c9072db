"""The nodes that have left a master: who has got what remains known when a node has ended to serve it.

A node that comes back (`Registration.identity`) is not a former one any more. A host may say what it likes of itself,
so it has a limited number of places.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from xget_lib.dataclass import dataclass
from xget_lib.swarm.messages import Registration

_HOSTS = 16_384
"""Hosts that are remembered, at most,"""
_OF_ONE_HOST = 256
"""and nodes of each."""


@dataclass(frozen=True, slots=True)
class FormerNode:
    """A node that has left."""

    address: str
    registration: Registration
    """Its last one."""
    whole: bool
    """Whether it held all of the generation that was published then."""
    left: float
    """When it left, in monotonic seconds."""


class FormerNodes:
    """Owned by the Tracker. Those that left first are forgotten first."""

    def __init__(self) -> None:
        self._hosts: OrderedDict[str, OrderedDict[str, FormerNode]] = OrderedDict()
        """By host and identity. The host of which a node left last is at the end, and so is that node."""

    def __iter__(self) -> Iterator[FormerNode]:
        return (node for nodes in self._hosts.values() for node in nodes.values())

    def left(self, host: str, address: str, last: Registration, now: float, *, whole: bool) -> None:
        """A node of a host has left."""
        nodes = self._hosts.setdefault(host, OrderedDict())
        nodes.pop(_key(last), None)
        nodes[_key(last)] = FormerNode(address, last, whole, now)
        self._hosts.move_to_end(host)
        if len(nodes) > _OF_ONE_HOST:
            nodes.popitem(last=False)
        if len(self._hosts) > _HOSTS:
            self._hosts.popitem(last=False)

    def came(self, host: str, registration: Registration) -> FormerNode | None:
        """A node of a host has registered. Returns what it was before, if it was here."""
        nodes = self._hosts.get(host)
        if nodes is None:
            return None
        former = nodes.pop(_key(registration), None)
        if not nodes:
            del self._hosts[host]
        return former


def _key(registration: Registration) -> str:
    """Which node of a host it is. Nodes of older versions do not say so; each of them has another port."""
    return registration.identity or f"port {registration.port}"
