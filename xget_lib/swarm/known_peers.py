"""Which peers a node connects to: those that the master names, and those that register with this node."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from xget_lib.swarm.backoff import Backoff
from xget_lib.swarm.messages import Address

REGISTERED = 64
"""Registered peers that a node remembers, at most. Peers that the master names are never too many."""
_TRIES = 5
"""Connections after which a registered peer is forgotten."""
_PAUSE = 1.0
"""Seconds before a peer is connected to again, at least."""


class KnownPeers:
    """The peers of one node. Owned by a `Downloader`. There is at most one connection to each peer at a time."""

    def __init__(self, rng: Random) -> None:
        self._random = rng
        self._generation = b""
        self._named: frozenset[Address] = frozenset()
        self._registered: dict[Address, bytes] = {}
        """The generation that each of them serves; the longest known first."""
        self._bad: set[Address] = set()
        """Peers that sent wrong content of this generation."""
        self._connections: dict[Address, Backoff] = {}
        self._tries: dict[Address, int] = {}

    def begin(self, generation: bytes) -> None:
        """Another generation is downloaded from now on. There are no connections."""
        self._generation = generation
        self._bad.clear()
        self._connections.clear()
        self._tries.clear()

    def name(self, peers: Iterable[Address]) -> None:
        """The master names the peers of this node. Replaces those that it named before."""
        self._named = frozenset(peers)

    def register(self, peer: Address, generation: bytes) -> None:
        """A peer says that it serves a generation. If too many do, the oldest of another generation is forgotten."""
        self._registered.pop(peer, None)
        if len(self._registered) >= REGISTERED:
            useless = (other for other, served in self._registered.items() if served != self._generation)
            oldest = next(useless, None)
            if oldest is None:
                return
            del self._registered[oldest]
        self._registered[peer] = generation

    def distrust(self, peer: Address) -> None:
        """A peer sent wrong content: it is not connected to again for this generation."""
        self._bad.add(peer)
        self._connections.pop(peer, None)

    def to_connect(self) -> list[Address]:
        """The peers to connect to now. They count as connected from now on."""
        registered = (peer for peer, served in self._registered.items() if served == self._generation)
        candidates = dict.fromkeys([*sorted(self._named), *registered])
        new = [peer for peer in candidates if peer not in self._connections and peer not in self._bad]
        for peer in new:
            self._connections[peer] = Backoff(self._random)
            self._tries[peer] = 0
        return new

    def lost(self, peer: Address) -> float | None:
        """A connection failed or ended. Returns the seconds after which to connect again; None: never."""
        backoff = self._connections.get(peer)
        if backoff is None:
            return None
        self._tries[peer] += 1
        if self._tries[peer] >= _TRIES:
            self._registered.pop(peer, None)
        if peer in self._named or self._registered.get(peer) == self._generation:
            return _PAUSE + backoff.next()
        del self._connections[peer]
        return None
