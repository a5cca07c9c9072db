"""How far each node of a generation is, and which nodes lag behind.

A node lags if it holds no more than half a minute ago, or if it takes much longer than half of all nodes took for
everything. A node says every few seconds how much it holds.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass

STALLED = 30.0
"""Seconds without a further chunk after which a node lags: three times the pause between two registrations."""
_SLOWER = 2.0
_SLOWER_LEAST = 20.0
"""A node lags also after this many times the median time of complete nodes, and so many seconds more."""
_ENOUGH = 3
"""Complete nodes that make a median,"""
_MOST_TIMES = 10_000
"""and as many as count for it."""


@dataclass(frozen=True, slots=True)
class Lag:
    """By how much a node lags. Seconds."""

    seconds: float
    """Since it held less than now if it is stalled, or by which it is later than the median of complete nodes."""
    stalled: bool


@dataclass(slots=True)
class _Progress:
    begun: float
    changed: float
    """When it held more than before."""
    held: int
    reported: bool = False


class NodeProgress:
    """Of one generation, owned by the Tracker. Nodes are the caller's keys; times are monotonic seconds."""

    def __init__(self) -> None:
        self._incomplete: dict[int, _Progress] = {}
        self._times: list[float] = []
        """Seconds that complete nodes took, sorted."""

    def __bool__(self) -> bool:
        """Whether some node is not complete."""
        return bool(self._incomplete)

    def holds(self, node: int, held: int, now: float) -> None:
        """A node that is not complete says how many chunks it holds."""
        progress = self._incomplete.setdefault(node, _Progress(now, now, held))
        if held != progress.held:
            progress.held, progress.changed = held, now

    def completed(self, node: int, seconds: float) -> None:
        """A node holds everything, so many seconds after it could begin."""
        if self._incomplete.pop(node, None) is not None and len(self._times) < _MOST_TIMES:
            insort(self._times, seconds)

    def leave(self, node: int) -> None:
        """A node has ended, or takes no part any more."""
        self._incomplete.pop(node, None)

    def changed(self, node: int) -> float | None:
        """When an incomplete node held more than before; None for another one."""
        progress = self._incomplete.get(node)
        return progress.changed if progress is not None else None

    def lag(self, node: int, now: float) -> Lag | None:
        """By how much a node lags; None if it does not."""
        progress = self._incomplete.get(node)
        if progress is None:
            return None
        if now - progress.changed > STALLED:
            return Lag(now - progress.changed, stalled=True)
        if len(self._times) < max(_ENOUGH, len(self._incomplete)):
            return None
        median = self._times[len(self._times) // 2]
        took = now - progress.begun
        return Lag(took - median, stalled=False) if took > _SLOWER * median + _SLOWER_LEAST else None

    def new_lags(self, now: float) -> list[tuple[int, Lag]]:
        """The nodes that lag and were not in such a list before."""
        found = []
        for node, progress in self._incomplete.items():
            lag = None if progress.reported else self.lag(node, now)
            if lag is not None:
                progress.reported = True
                found.append((node, lag))
        return found
