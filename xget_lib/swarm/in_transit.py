"""How many chunks must be asked for at once, so that the way of small messages costs nothing.

A limit of chunks at once is good where a request and its reply take no time. Over a distance, part of the time of each
chunk passes with nothing sent: a slot is granted, a chunk is asked for. A limit that is *widened* by this part has as
many chunks that really flow as the limit says (Little's law), and is the limit itself where the distance is short.
"""

from __future__ import annotations

_REMEMBERED = 64.0
"""Chunks and slots that count. Many slots in a row may be returned unused, in no time: they must not count for more
than the time that they take."""
_NEAR = 0.0004
"""Seconds of a round trip for which the limits were chosen."""
_ROUND_UP_FROM = 0.25
"""So much more than a whole number counts as one more."""


class InTransit:
    """What part of the time of a chunk, or of a slot, nothing is sent. Times are seconds."""

    def __init__(self, round_trips: float, most: int = 4) -> None:
        """Messages make `round_trips` while nothing is sent of a chunk. A limit is widened to `most` times itself at
        most."""
        self._round_trips = round_trips
        self._most = most
        self._whole = self._idle = 0.0
        """Sums in which what is older counts less."""

    def add(self, seconds: float, round_trip: float) -> None:
        """A chunk took so long. `round_trip`: seconds that a message and its reply take at least."""
        idle = self._round_trips * max(0.0, round_trip - _NEAR)
        self._whole += seconds - self._whole / _REMEMBERED
        self._idle += min(idle, seconds) - self._idle / _REMEMBERED

    def widen(self, limit: int) -> int:
        whole, flowing = self._whole, self._whole - self._idle
        if whole <= 0.0:
            return limit
        return int(limit * whole / max(flowing, whole / self._most) + 1.0 - _ROUND_UP_FROM)
