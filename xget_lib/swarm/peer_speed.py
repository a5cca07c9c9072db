"""How fast chunks arrive from each peer, and which peers are slow.

A node measures the seconds from the request of a chunk until the chunk is written, and compares them with the average
of all peers. The master measures the same of its nodes in `offers`.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

from xget_lib.swarm.moving_average import MovingAverage

_SLOW = 3.0
"""A peer is slow if its chunk took more than this many times the usual duration."""
_SLOW_FOR = 8.0
"""A peer is slow for this many times the duration of its slow chunk."""

K = TypeVar("K", bound=Hashable)
"""Names a source of chunks."""


class PeerSpeed(Generic[K]):
    """The speeds of the peers of one node. Owned by a `Picker`. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._usual = MovingAverage(1.0)
        self._slow_until: dict[K, float] = {}

    @property
    def usual(self) -> float:
        """Seconds that a chunk usually takes, from its request until it is written."""
        return self._usual.value

    def measured(self, peer: K, seconds: float, now: float) -> None:
        """A chunk that was requested from this peer first took this long."""
        if seconds > _SLOW * self._usual.value:
            self._slow_until[peer] = now + _SLOW_FOR * seconds
        self._usual.add(seconds)

    def is_slow(self, peer: K, now: float) -> bool:
        """Whether a recent chunk of a peer was slow."""
        return self._slow_until.get(peer, now) > now

    def forget(self, peer: K) -> None:
        """The connection to a peer is lost. After it connects again it is measured anew."""
        self._slow_until.pop(peer, None)
