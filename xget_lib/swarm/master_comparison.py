"""Whether the master would send chunks faster than the peers of a node do.

A node asks the master only for chunks that no peer has. If the peers that have them are slow, by intent or by their
links, the node would wait for them while the link of the master is idle. So a node compares two rates: the chunks that
its slots at the master would bring, and those that come from peers, whichever peers they are. If the second is lower,
the node asks the master for everything that it is not fetching.

The number of peers, the order in which they send, and whether it is the chunk or the slot that comes late make no
difference. In a swarm without faults, chunks from peers come several times as often.

A node that is to ask its peers first knows nothing about the master. It asks for one chunk there only when its peers
have had their time, and what it lacks would take them long.
"""

from __future__ import annotations

from math import inf
from random import Random

from xget_lib.swarm.moving_average import MovingAverage

_FAST = 0.02
"""Seconds between two chunks from peers that are never too long: shorter ones vary with the load of the machine."""
_PROBE_EVERY = 5.0
"""Seconds after which what is known about the master is too old."""
_PATIENCE = 15.0
"""Seconds that peers have for a whole download, at least; twice as many at most. Each node draws its own."""
_REST = 0.25
"""After that time they are slow if what lacks would take more than this part of the time so far."""


class MasterComparison:
    """Of one download. Owned by a `Downloader`. Times are monotonic seconds."""

    def __init__(self, slots: int, rng: Random, now: float) -> None:
        """The download begins. `slots`: how many the node has at the master."""
        self._slots = slots
        self._begun = now
        self._patience = _PATIENCE * rng.uniform(1, 2)
        self._asked: dict[int, float] = {}
        """When each chunk was requested from the master last, until it arrives."""
        self._master = MovingAverage(0.0)
        """Seconds that a chunk takes from the master; 0 before there is one."""
        self._measured_at = -inf
        self._interval = MovingAverage(0.0)
        """Seconds between two chunks from peers."""
        self._peer_sent_at = now

    def asked_master(self, chunk: int, now: float) -> None:
        """A chunk is requested from the master."""
        self._asked[chunk] = now

    def master_sent(self, chunk: int, now: float) -> None:
        """All bytes of a chunk are there, from the master."""
        asked = self._asked.pop(chunk, None)
        if asked is not None:
            self._master.value = self._master.value or now - asked
            self._master.add(now - asked)
            self._measured_at = now

    def peer_sent(self, now: float) -> None:
        """All bytes of a chunk are there, from a peer."""
        self._interval.add(now - self._peer_sent_at)
        self._peer_sent_at = now

    def master_is_faster(self, now: float) -> bool:
        """Whether the slots at the master would bring more than all peers do."""
        return self._measured_at > -inf and self._seconds(now) > max(_FAST, self._master.value / self._slots)

    def peers_are_slow(self, lacking: int, now: float) -> bool:
        """Whether to ask the master although peers are to be asked first. `lacking`: the number of chunks."""
        passed = now - self._begun
        return passed >= self._patience and lacking * self._seconds(now) > _REST * passed

    def must_probe(self, now: float) -> bool:
        """Whether the node needs one chunk from the master to know how long it takes."""
        return now >= self._measured_at + _PROBE_EVERY and self._seconds(now) > _FAST

    def _seconds(self, now: float) -> float:
        """The seconds between two chunks from peers, or since the last one."""
        return max(self._interval.value, now - self._peer_sent_at)
