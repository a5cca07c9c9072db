"""Which peers the master names to a node: a random graph that connects each node with some others.

A node that joins is connected with `degree` others (twice as many in a large swarm), picked at random among those that
have room. So a chunk reaches every node in few steps, and no node has to serve many others. An edge counts for both
nodes, and a node that loses many edges gets new ones. A random graph of that degree stays connected even when a third
of its nodes vanish.

Hosts share the edges of a node, and in a large swarm a host is picked first, then one of its nodes. So one host that
registers thousands of nodes does not surround the others.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import TYPE_CHECKING

from xget_lib.swarm.random_set import RandomSet

if TYPE_CHECKING:
    from random import Random

_PER_HOST = 2
"""Neighbours of a node that are on the same host, at least. More are allowed where there are few hosts."""
_LARGE = 64
"""In a swarm of more nodes, each is connected with twice as many, so that no more steps are needed."""


class PeerGraph:
    """The graph of one generation, owned by the master's Tracker. Nodes are the caller's keys.

    `reachable(asker, peer)` says whether `asker` can connect to `peer`, and `host_of(node)` on which host a node is.
    """

    def __init__(
        self,
        degree: int,
        rng: Random,
        reachable: Callable[[int, int], bool],
        host_of: Callable[[int], Hashable],
    ) -> None:
        self._small_swarm_degree = degree
        self._random = rng
        self._reachable = reachable
        self._nodes: RandomSet[int] = RandomSet()
        self._host_of = host_of
        self._host: dict[int, Hashable] = {}
        """By node."""
        self._hosts: RandomSet[Hashable] = RandomSet()
        self._on_host: dict[Hashable, RandomSet[int]] = {}
        """By host: its nodes."""
        self._neighbours: dict[int, set[int]] = {}
        self._chosen: dict[int, set[int]] = {}
        """By node: the neighbours that were picked for it; the others joined later and picked it."""

    @property
    def _degree(self) -> int:
        return self._small_swarm_degree if len(self._nodes) <= _LARGE else self._small_swarm_degree * 2

    def __contains__(self, node: int) -> bool:
        return node in self._nodes

    def neighbours(self, node: int) -> frozenset[int]:
        """The neighbours that a node can connect to."""
        return frozenset(peer for peer in self._neighbours.get(node, ()) if self._reachable(node, peer))

    def chosen(self, node: int) -> frozenset[int]:
        """The neighbours that were picked for this node. The others know of it and connect to it."""
        return frozenset(peer for peer in self._chosen.get(node, ()) if self._reachable(node, peer))

    def join(self, node: int) -> set[int]:
        """Add a node. Returns the nodes whose neighbours changed, itself included; none if it is in the graph."""
        if node in self._nodes:
            return set()
        self._nodes.add(node)
        host = self._host[node] = self._host_of(node)
        if host not in self._on_host:
            self._hosts.add(host)
            self._on_host[host] = RandomSet()
        self._on_host[host].add(node)
        self._neighbours[node], self._chosen[node] = set(), set()
        return self._connect(node) | {node}

    def leave(self, node: int) -> set[int]:
        """Remove a node. Returns the nodes whose neighbours changed; none if it is not in the graph."""
        if node not in self._nodes:
            return set()
        self._nodes.remove(node)
        host = self._host.pop(node)
        self._on_host[host].remove(node)
        if not self._on_host[host]:
            del self._on_host[host]
            self._hosts.remove(host)
        del self._chosen[node]
        former = self._neighbours.pop(node)
        changed = set(former)
        for peer in former:
            self._neighbours[peer].discard(node)
            self._chosen[peer].discard(node)
        for peer in former:
            if len(self._neighbours[peer]) < self._degree // 2:
                changed |= self._connect(peer)
        return changed

    def _connect(self, node: int) -> set[int]:
        """Add edges until a node has `degree` neighbours or no candidate is left. Returns the nodes at these edges.

        If too few nodes have room, others get more edges: else the last nodes that join might know only each other.
        """
        neighbours = self._neighbours[node]
        changed: set[int] = set()
        for most in (2 * self._degree, 3 * self._degree):
            for peer in self._candidates():
                if len(neighbours) >= self._degree:
                    return changed
                if peer == node or peer in neighbours or len(self._neighbours[peer]) >= most:
                    continue
                if self._has_enough(node, peer) or self._has_enough(peer, node):
                    continue
                if self._reachable(node, peer) or self._reachable(peer, node):
                    neighbours.add(peer)
                    self._chosen[node].add(peer)
                    self._neighbours[peer].add(node)
                    changed |= {peer, node}
        return changed

    def _has_enough(self, node: int, peer: int) -> bool:
        """Whether a node has as many neighbours as it may on the host of another. It may have any number on its only
        host, and only a part of its edges on each of several: nodes of other hosts may come later."""
        if len(self._hosts) == 1:
            return False
        share = max(_PER_HOST, -(-self._degree // len(self._hosts)))
        host = self._host[peer]
        return sum(self._host[each] == host for each in self._neighbours[node]) >= share

    def _candidates(self) -> Iterator[int]:
        """Nodes in random order: all of a small swarm; of a large one as many as suffice, some of them twice."""
        if len(self._nodes) <= _LARGE:
            yield from self._nodes.sample(_LARGE, self._random)
        else:
            for _ in range(8 * self._degree):
                yield self._on_host[self._hosts.choose(self._random)].choose(self._random)
