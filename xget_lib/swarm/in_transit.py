"""How many chunks must be asked for at once, so that the way of small messages costs nothing.

A limit of chunks at once is good where a request and its reply take no time. Over a distance, part of the time of each
chunk passes with nothing sent: a slot is granted, a chunk is asked for. A limit that is *widened* by this part has as
many chunks that really flow as the limit says (Little's law), and is the limit itself where the distance is short.
"""

from __future__ import annotations

from xget_lib.swarm.moving_average import MovingAverage

_MOST = 4
"""A limit is widened to so many times itself at most."""
_ROUND_UP_FROM = 0.25
"""So much more than a whole number counts as one more."""


class InTransit:
    """What part of the time of a chunk, or of a slot, nothing is sent. Times are seconds."""

    def __init__(self) -> None:
        self._whole, self._idle = MovingAverage(0.0), MovingAverage(0.0)

    def add(self, seconds: float, idle: float) -> None:
        """A chunk took so long, of which messages were on their way for `idle` seconds."""
        self._whole.add(seconds)
        self._idle.add(min(idle, seconds))

    def widen(self, limit: int) -> int:
        whole, flowing = self._whole.value, self._whole.value - self._idle.value
        if whole <= 0.0:
            return limit
        return min(_MOST * limit, int(limit * whole / max(flowing, whole / _MOST) + 1 - _ROUND_UP_FROM))
