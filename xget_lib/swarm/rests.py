"""Nodes that are granted nothing for a while, because their last chunk was slow: all others wait for such a chunk.

An interruption of the master's link makes the chunks of all nodes slow, and says nothing of any of them. So a chunk
that was on its way while nothing arrived from anybody is not judged.
"""

from __future__ import annotations

from math import inf

_SLOW = 2.0
"""A chunk is slow when it took this many times the usual duration."""
_REST = 8.0
"""A rest takes this many times the duration of the chunk,"""
_LONGEST = 10.0
"""but at most this many seconds."""
_QUIET = 2.0
"""The link was interrupted if nothing arrived for this many times the usual duration of a chunk,"""
_QUIET_LEAST = 0.25
"""and at least for this many seconds."""


class Rests:
    """Owned by the Offers. Times are monotonic seconds; nodes are the caller's keys."""

    def __init__(self) -> None:
        self._until: dict[int, float] = {}
        """By node: when its rest ends."""
        self._last_arrival = inf
        """Of any node."""
        self._interrupted = -inf
        """When the first chunk arrived after the last interruption."""

    def __bool__(self) -> bool:
        return bool(self._until)

    def __contains__(self, node: int) -> bool:
        return node in self._until

    def arrived(self, node: int, granted: float, now: float, usual: float) -> None:
        """A chunk that was granted at this time has arrived at a node. `usual` is the usual duration."""
        if now - self._last_arrival > max(_QUIET * usual, _QUIET_LEAST):
            self._interrupted = now
        self._last_arrival = now
        seconds = now - granted
        if seconds > _SLOW * usual and granted > self._interrupted:
            self._until[node] = now + min(_REST * seconds, _LONGEST)

    def end(self, now: float) -> None:
        """End the rests that are over."""
        for node in [node for node, until in self._until.items() if until <= now]:
            del self._until[node]

    def leave(self, node: int) -> None:
        """A node has ended."""
        self._until.pop(node, None)
