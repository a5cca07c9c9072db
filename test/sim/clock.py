"""Virtual time. Events at the same moment happen in the order in which they were scheduled."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any


class Clock:
    """The time in seconds since the beginning, and the events that are still to happen."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0

    def at(self, moment: float, act: Callable[..., None], *arguments: Any) -> None:
        """Call `act` at this moment, which has not passed."""
        self._count += 1
        heapq.heappush(self._events, (moment, self._count, act, arguments))

    def after(self, seconds: float, act: Callable[..., None], *arguments: Any) -> None:
        self.at(self.now + seconds, act, *arguments)

    def run(self, until: Callable[[], bool], limit: float) -> None:
        """Run events until `until` returns true, no event is left, or `limit` seconds have passed."""
        events, pop = self._events, heapq.heappop
        while events and not until():
            moment, _, act, arguments = pop(events)
            if moment > limit:
                return
            self.now = moment
            act(*arguments)
