"""How often a node tells the readers of its `have`, and the master, that it holds more.

It tells the readers once for every few chunks that arrive. A message for each chunk to each neighbour would cost far
more processor time than it gains. If a `have` lacks the last few chunks, this costs the swarm almost nothing (0.8 % in
the simulator for three chunks).
"""

from __future__ import annotations

from math import inf

from xget_lib.swarm.moving_average import MovingAverage


class AnnouncementPace:
    """The pauses between two announcements. Times are monotonic seconds."""

    def __init__(self, chunks: float, least: float, most: float) -> None:
        """A pause is the time in which `chunks` chunks arrive, but at least `least` and at most `most` seconds."""
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
        """The node serves another generation: all that it holds is new. The time since then does not count."""
        self._changed = None
        self._pending = True

    def hurry(self, now: float) -> None:
        """Something must be announced at once, without a pause."""
        self._free = now
        self._pending = True

    def by(self, time: float) -> None:
        """What has changed until then is announced at this time, unless the pause ends before."""
        self._free = min(self._free, time)

    @property
    def due(self) -> float:
        """When the next announcement is to be made; infinite if nothing has changed since the last one."""
        return self._free if self._pending else inf

    def announced(self, now: float) -> None:
        """An announcement is made."""
        self._pending = False
        self._free = now + self.pause

    @property
    def pause(self) -> float:
        """Seconds between two announcements."""
        return min(self._most, max(self._least, self._chunks * self._usual.value))
