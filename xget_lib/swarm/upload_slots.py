"""Whose turn it is: a node sends to few at once, and those choose what they take when their turn comes.

A client that wants something of a peer asks it for a turn, and is told when it has one; only then does it choose a
chunk, from what it lacks at that moment. So no request waits behind others' at a busy peer while an idle one has the
same chunk, idle links find each other, and a chunk sent to few at once is whole there, and on its way further, sooner
than one sent to all. In the simulator this is what matters most (swarm of 32: 1.07 instead of 1.28).

A turn lasts until its holder asks for the next one or passes. One that lasts far longer than usual (a slow link, a
client that has stopped) keeps its holder's right to go on, but somebody else has a turn besides it.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

_PATIENCE = 8.0
"""How many times as long as usual a turn may last before another is given besides it."""
_FIRST_USUAL = 1.0

K = TypeVar("K")


class UploadSlots(Generic[K]):
    """The turns of one sender. Keys are the caller's, one for each connection; times are monotonic seconds."""

    def __init__(self, limit: int) -> None:
        """At most so many turns at once."""
        self._limit = limit
        self._begun: dict[K, float] = {}
        self._queue: deque[K] = deque()
        self._asking: set[K] = set()
        self._usual = _FIRST_USUAL

    def ask(self, key: K, now: float) -> None:
        """Queue for a turn; the one before it is over, and was used."""
        begun = self._begun.pop(key, None)
        if begun is not None:
            self._usual += (now - begun - self._usual) / 8
        if key not in self._asking:
            self._asking.add(key)
            self._queue.append(key)

    def end(self, key: K) -> None:
        """It wants no turn: passes the one it has, leaves the queue, or is gone."""
        self._begun.pop(key, None)
        if key in self._asking:
            self._asking.remove(key)
            self._queue.remove(key)

    def grant(self, now: float) -> list[K]:
        """Who has a turn from now on. To be called after anything happened, and now and then when nothing does."""
        granted = []
        busy = sum(now - begun <= _PATIENCE * self._usual for begun in self._begun.values())
        while self._queue and busy < self._limit:
            key = self._queue.popleft()
            self._asking.remove(key)
            self._begun[key] = now
            granted.append(key)
            busy += 1
        return granted
