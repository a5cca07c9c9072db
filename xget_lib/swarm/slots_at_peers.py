"""The upload slots of a node at its peers: which are requested, and which chunks are being read in them.

A peer grants a slot when it is its turn, so a request has no reply in a fixed time. A request that takes much longer
than usual does not count against the number of requests any more. A grant that comes late is still used.

A node has one slot at each peer at a time, or several where chunks come from far away and the peers are few.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from itertools import chain, zip_longest
from random import Random

from xget_lib.swarm.hosts import host_of
from xget_lib.swarm.messages import Address
from xget_lib.swarm.moving_average import MovingAverage

_OVERDUE = 4.0
"""A request is overdue after this many times the usual wait,"""
_LEAST = 2.0
"""this many seconds,"""
_CHUNKS = 2.0
"""and the usual duration of so many chunks."""
_SAMPLE = 8.0
"""A wait counts as this many times the usual one at most."""


class SlotsAtPeers:
    """The connected peers of one node, and its slots there. Owned by a `Downloader`. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._reading: dict[Address, dict[int, float]] = {}
        """By peer: the chunks that are being read, and since when."""
        self._of_host: Counter[str] = Counter()
        """How many of them each host has."""
        self._requested: dict[Address, deque[float]] = {}
        """By peer that was asked: when each slot that is not granted yet was requested."""
        self._waiting = 0
        """The number of these requests, without those of overdue peers."""
        self._overdue: set[Address] = set()
        """Those of these peers that have taken too long."""
        self._usual = MovingAverage(0.25)
        """Seconds from a request to its grant."""

    def __len__(self) -> int:
        return len(self._reading)

    def __contains__(self, peer: Address) -> bool:
        return peer in self._reading

    @property
    def waiting(self) -> int:
        """The number of requests that are neither granted nor overdue."""
        return self._waiting

    def connected(self, peer: Address) -> None:
        self._reading[peer] = {}
        self._of_host[host_of(peer[0])] += 1

    def gone(self, peer: Address) -> int:
        """The connection to a peer has ended. Returns how many chunks were being read."""
        self._forget_requests(peer)
        self._of_host -= Counter([host_of(peer[0])])  # without those that have none
        return len(self._reading.pop(peer))

    def clear(self) -> None:
        """All connections have ended."""
        self._reading.clear()
        self._of_host.clear()
        self._requested.clear()
        self._overdue.clear()
        self._waiting = 0

    def is_free(self, peer: Address, slots: int = 1) -> bool:
        """Whether a slot may be requested of a peer at which a node may have so many."""
        requested = self._requested.get(peer, ())
        return peer not in self._overdue and len(self._reading[peer]) + len(requested) < slots

    def is_overdue(self, peer: Address) -> bool:
        return peer in self._overdue

    def reads(self, peer: Address, chunk: int) -> bool:
        """Whether a chunk is being read from a peer."""
        return chunk in self._reading.get(peer, ())

    def request(self, peer: Address, now: float) -> None:
        """A slot is requested of a peer."""
        self._requested.setdefault(peer, deque()).append(now)
        self._waiting += 1

    def granted(self, peer: Address, now: float) -> bool:
        """A peer grants a slot. Returns whether it was requested."""
        if peer not in self._requested:
            return False
        if peer in self._overdue:
            self._overdue.remove(peer)
            self._waiting += len(self._requested[peer])
        since = self._requested[peer].popleft()
        self._waiting -= 1
        if not self._requested[peer]:
            del self._requested[peer]
        self._usual.add(min(now - since, _SAMPLE * self._usual.value))
        return True

    def read(self, peer: Address, chunk: int, now: float) -> None:
        """A chunk is being read from a peer."""
        self._reading[peer][chunk] = now

    def ended(self, peer: Address, chunk: int) -> float | None:
        """A chunk is not being read any more. Returns since when it was, or None if it was not."""
        return self._reading[peer].pop(chunk, None) if peer in self._reading else None

    def become_overdue(self, chunk: float, now: float) -> list[Address]:
        """The peers whose grants have become overdue. `chunk`: the seconds that a chunk usually takes."""
        limit = now - max(_LEAST, _OVERDUE * self._usual.value, _CHUNKS * chunk)
        found = [
            peer for peer, requests in self._requested.items() if requests[0] <= limit and peer not in self._overdue
        ]
        self._overdue.update(found)
        self._waiting -= sum(len(self._requested[peer]) for peer in found)
        return found

    def not_overdue(self) -> list[Address]:
        """The peers that owe no grant for too long."""
        return [peer for peer in self._reading if peer not in self._overdue]

    # Hosts share what a node asks for, because one host can be many peers.

    def has_share(self, peer: Address, limit: int, *, reading: bool = False) -> bool:
        """Whether a host may have one more of `limit` peers that are asked for a slot or read from: at most half of
        them if any other host is asked too. `reading` counts only peers that are read from."""
        own = host_of(peer[0])
        if self._of_host[own] == 1:
            return True
        asked = [other for other, requests in self._requested.items() if other not in self._overdue for _ in requests]
        read = [other for other, chunks in self._reading.items() for _ in chunks]
        hosts = Counter(host_of(other[0]) for other in chain(asked, read))
        if hosts.total() == hosts[own]:
            return True
        counted = sum(host_of(other[0]) == own for other in read) if reading else hosts[own]
        return counted < max(1, limit // 2)

    def free_in_fair_order(self, rng: Random, slots: int = 1) -> Iterator[Address]:
        """The peers of which a slot may be requested, at random, but a second one of a host only after one of each."""
        free = [peer for peer in self._reading if self.is_free(peer, slots)]
        rng.shuffle(free)
        hosts: dict[str, list[Address]] = {}
        for peer in free:
            hosts.setdefault(host_of(peer[0]), []).append(peer)
        if len(hosts) == len(free):
            return iter(free)
        return (peer for peers in zip_longest(*hosts.values()) for peer in peers if peer is not None)

    def _forget_requests(self, peer: Address) -> None:
        requests = self._requested.pop(peer, ())
        if peer in self._overdue:
            self._overdue.remove(peer)
        else:
            self._waiting -= len(requests)
