"""How fast a node fetches, from the totals that it reports every few seconds."""

from __future__ import annotations

_LEAST = 0.5
"""Seconds between two reports that make a rate."""
_OLD = 30.0
"""Seconds after which a rate is none any more: three times the pause between two registrations."""


class FetchRate:
    """Of one node, owned by the Tracker. Times are monotonic seconds."""

    __slots__ = ("_at", "_rate", "_total")

    def __init__(self) -> None:
        self._total = 0
        """Bytes in the last report that counted, and when that was."""
        self._at: float | None = None
        self._rate = 0.0

    def reported(self, total: int, now: float) -> None:
        """The node has fetched so many bytes in its run. Fewer than before: it has begun another one."""
        if self._at is not None and total >= self._total:
            if now - self._at < _LEAST:
                return
            self._rate = (total - self._total) / (now - self._at)
        else:
            self._rate = 0.0
        self._total, self._at = total, now

    def rate(self, now: float) -> float:
        """Bytes per second between the last two reports; 0 if there are none, or they are old."""
        return self._rate if self._at is not None and now - self._at <= _OLD else 0.0
