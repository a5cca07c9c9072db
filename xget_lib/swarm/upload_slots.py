"""Which readers a node uploads to: a few at a time, and each chooses its chunk only when its slot is granted.

A node that wants a chunk of a peer requests an upload slot, as a BitTorrent client waits to be unchoked. When the slot
is granted it chooses the chunk, from what it lacks at that moment. So no request waits behind others at a busy
peer while an idle peer has the same chunk, and a chunk that is sent to few nodes at once is complete there sooner
and can be passed on. In the simulator this matters most of all (32 nodes: 1.07 instead of 1.28).

A slot lasts until its holder requests the next one or passes. A slot that lasts much longer than usual (a slow link, a
client that stopped) stays valid, but is not counted any more, so that another reader gets one too.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from xget_lib.swarm.moving_average import MovingAverage

_PATIENCE = 8.0
"""A slot is not counted any more after this many times the usual duration."""
_FIRST_USUAL = 1.0

K = TypeVar("K")


class UploadSlots(Generic[K]):
    """The upload slots of one node. Keys name the readers, one for each connection; times are monotonic seconds."""

    def __init__(self, limit: int) -> None:
        """`limit` is the number of slots in use at once."""
        self._limit = limit
        self._granted: dict[K, float] = {}
        """When each slot that is in use was granted."""
        self._queue: dict[K, None] = {}
        """Readers that wait, in the order of their requests."""
        self._usual = MovingAverage(_FIRST_USUAL)
        """Seconds from a grant to the next request."""

    @property
    def waiting(self) -> bool:
        """Whether a reader waits for a slot."""
        return bool(self._queue)

    def request(self, key: K, now: float) -> None:
        """A reader requests a slot. The slot that it had, if any, was used and is over."""
        granted = self._granted.pop(key, None)
        if granted is not None:
            self._usual.add(now - granted)
        self._queue.setdefault(key)

    def end(self, key: K) -> None:
        """A reader passes its slot, takes its request back, or is gone."""
        self._granted.pop(key, None)
        self._queue.pop(key, None)

    def grant(self, now: float) -> list[K]:
        """The readers that are granted a slot now.

        To be called after every event, and now and then when nothing happens, since slots expire by time alone.
        """
        if not self._queue:
            return []
        limit = _PATIENCE * self._usual.value
        busy = sum(now - since <= limit for since in self._granted.values())
        granted = list(self._queue)[: max(0, self._limit - busy)]
        for key in granted:
            del self._queue[key]
            self._granted[key] = now
        return granted
