"""Which nodes fetch from the master at once, and which ask their peers first.

Every node that asks the master for the manifest and for chunks costs it processor time and link time. If ten thousand
nodes did so at once, the master could not send what no node has yet. The first few dozen are enough to spread
everything. The master tells the other nodes to ask their peers, which soon have both. They ask the master only when
nothing arrives, or when what arrives is too slow (`master_comparison`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable
from random import Random
from typing import Generic, TypeVar

PAUSE = 0.02
"""Seconds before a node asks the next peer for the manifest."""
_PATIENCE = 2.0
_MANIFEST_RATE = 2e6
"""Bytes per second: the lowest rate at which the master sends a manifest, to some dozen nodes at once."""

K = TypeVar("K")


def patience(rng: Random) -> float:
    """Seconds without an arriving chunk after which a node that asks its peers first asks the master. Each node draws
    its own, so that they do not all ask at once."""
    return _PATIENCE * rng.uniform(1, 2)


class FirstTier:
    """The nodes that fetch from the master at once, by the caller's keys. Owned by the master's Tracker.

    Hosts share the places: if none is free, the host with most of them loses one to a host that has at least two fewer.
    """

    def __init__(self, size: int) -> None:
        """At most `size` nodes."""
        self._size = size
        self._members: dict[int, Hashable] = {}
        """By node: its host."""

    def admit(self, node: int, host: Hashable) -> bool:
        """Make a node a member if there is room. Returns whether it is one."""
        if node not in self._members and len(self._members) >= self._size:
            counts = Counter(self._members.values())
            biggest, count = counts.most_common(1)[0]
            if count > counts[host] + 1:
                self.leave(next(each for each, of in self._members.items() if of == biggest))
        if len(self._members) < self._size:
            self._members[node] = host
        return node in self._members

    def leave(self, node: int) -> None:
        """A node has ended, or holds everything: another may take its place."""
        self._members.pop(node, None)


class ManifestSources(Generic[K]):
    """The servers that a node asks for the manifest, one after the other. The node compares the manifest with the
    generation, so it can use any peer. Keys name peers; times are monotonic seconds."""

    def __init__(self, peers: Collection[K], size: int, rng: Random, now: float) -> None:
        """`peers` is empty for a node that asks the master first; `size` is that of the manifest in bytes."""
        self._peers = list(peers)
        self._random = rng
        self._until = now + patience(rng) + size / _MANIFEST_RATE
        self._round: list[K] = []

    def next(self, now: float) -> K | None:
        """The next peer to ask, or None: ask the master."""
        if not self._peers or now >= self._until:
            return None
        if not self._round:
            self._round = self._random.sample(self._peers, len(self._peers))
        return self._round.pop()
