"""When a node announces that it holds more, to the readers of its `have` and to the master.

Readers are told about as often as a few chunks arrive. A message for each chunk to each neighbour costs far more
processor time than its bytes are worth. A `have` that is a few chunks old costs the swarm next to nothing (0.8 % in the
simulator for three chunks).
"""

from __future__ import annotations

from math import inf

from xget_lib.swarm.moving_average import MovingAverage


class AnnouncementPace:
    """The pauses between two announcements. Times are monotonic seconds."""

    def __init__(self, chunks: float, least: float, most: float) -> None:
        """A pause is the time in which so many chunks arrive, but at least `least` and at most `most` seconds."""
        self._chunks = chunks
        self._least = least
        self._most = most
        self._usual = MovingAverage(0.0)
        """Seconds between two changes."""
        self._changed: float | None = None
        self._free = -inf
        """When the pause after the last announcement ends."""
        self._pending = False

    def changed(self, now: float) -> None:
        """The node holds more, or less, than before."""
        if self._changed is not None:
            # A long break does not tell how fast chunks arrive when they do.
            self._usual.add(min(now - self._changed, self._most))
        self._changed = now
        self._pending = True

    def restart(self) -> None:
        """The node serves another generation: all that it holds is new, and the time that this took means nothing."""
        self._changed = None
        self._pending = True

    def hurry(self, now: float) -> None:
        """Something must be announced at once, without a pause."""
        self._free = now
        self._pending = True

    @property
    def due(self) -> float:
        """When the next announcement is to be made; infinite where nothing has changed since the last one."""
        return self._free if self._pending else inf

    def announced(self, now: float) -> None:
        """An announcement is made."""
        self._pending = False
        self._free = now + self.pause

    @property
    def pause(self) -> float:
        """Seconds between two announcements."""
        return min(self._most, max(self._least, self._chunks * self._usual.value))
