"""How fast chunks arrive from each peer, which peers are slow, and which are left alone for a while.

A node measures the seconds from the request of a chunk until the chunk is written, and compares them with the average
of all peers. The master measures the same of its nodes in `offers`.

A peer that owes something for too long, or refuses what it says it has, is *suspended*: nothing is asked of it for a
while. The next suspension of the same peer is twice as long. Each chunk that it sends in time takes back one of these
doublings. A peer is not *trusted* from its suspension until it sends a chunk in time: it is asked, but nobody relies on
what it says it has.
"""

from __future__ import annotations

from collections.abc import Hashable
from math import inf
from typing import Generic, TypeVar

from xget_lib.swarm.backoff import doubled
from xget_lib.swarm.moving_average import MovingAverage

_SLOW = 3.0
"""A peer is slow if its chunk took more than this many times the usual duration."""
_SLOW_FOR = 8.0
"""A peer is slow for this many times the duration of its slow chunk."""
_SAMPLE = 8.0
"""A duration counts as this many times the usual one at most, so that no single peer makes a node patient."""
_SUSPENDED = 2.0
"""Seconds of the first suspension of a peer."""
_LONGEST = 60.0
"""Seconds of a suspension, at most."""
_REMEMBERED = 1024
"""Peers whose suspensions are remembered, at most: a peer that connects again is not a new one."""

K = TypeVar("K", bound=Hashable)
"""Names a source of chunks."""


class PeerSpeed(Generic[K]):
    """The speeds of the peers of one node. Owned by a `Picker`. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._usual = MovingAverage(1.0)
        self._slow_until: dict[K, float] = {}
        self._suspended_until: dict[K, float] = {}
        self._untrusted: set[K] = set()
        self._suspensions: dict[K, int] = {}
        """How often each peer was suspended, less the chunks that it sent in time since."""

    @property
    def usual(self) -> float:
        """Seconds that a chunk usually takes, from its request until it is written."""
        return self._usual.value

    def measured(self, peer: K, seconds: float, now: float) -> None:
        """A chunk that was requested from this peer took this long."""
        if not self.owed(peer, seconds, now):
            self._untrusted.discard(peer)
            if self._suspensions.get(peer):
                self._suspensions[peer] -= 1
        self._usual.add(min(seconds, _SAMPLE * self._usual.value))

    def owed(self, peer: K, seconds: float, now: float) -> bool:
        """A chunk that was requested from this peer took this long, or takes longer. Returns whether that is slow."""
        if seconds <= _SLOW * self._usual.value:
            return False
        self._slow_until[peer] = now + _SLOW_FOR * seconds
        return True

    def nothing_arrives(self) -> None:
        """Nothing has arrived for longer than usual, from whomever: what is usual may be wrong."""
        self._usual.value *= 2.0

    def is_slow(self, peer: K, now: float) -> bool:
        """Whether a recent chunk of a peer was slow."""
        return self._slow_until.get(peer, now) > now

    # Suspensions.

    def suspend(self, peer: K, now: float, *, until_resumed: bool = False) -> None:
        """Leave a peer alone, for a time that grows with each suspension, or until `resume`."""
        count = self._suspensions.pop(peer, 0)
        if len(self._suspensions) >= _REMEMBERED:
            self._untrusted.discard(oldest := next(iter(self._suspensions)))
            del self._suspensions[oldest]
        self._suspensions[peer] = count + 1
        pause = doubled(_SUSPENDED, count, _LONGEST)
        self._untrusted.add(peer)
        self._suspended_until[peer] = inf if until_resumed else now + pause

    def resume(self, peer: K) -> None:
        self._suspended_until.pop(peer, None)

    def is_trusted(self, peer: K) -> bool:
        """Whether what a peer says it has counts."""
        return peer not in self._untrusted

    def is_suspended(self, peer: K) -> bool:
        return peer in self._suspended_until

    def may_be_resumed(self, now: float) -> list[K]:
        """The suspended peers whose time is over."""
        return [peer for peer, until in self._suspended_until.items() if until <= now]

    def forget(self, peer: K) -> None:
        """The connection to a peer is lost. After it connects again it is measured anew, and trusted unless it was
        suspended before."""
        self._slow_until.pop(peer, None)
        self._suspended_until.pop(peer, None)
        if not self._suspensions.get(peer):
            self._untrusted.discard(peer)
