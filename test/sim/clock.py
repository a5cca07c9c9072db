"""Virtual time: what happens, in order. Events of one moment happen in the order they were put in."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any


class Clock:
    """Seconds since the beginning, and what is still to happen."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0

    def at(self, moment: float, act: Callable[..., None], *arguments: Any) -> None:
        """`act` happens at this moment, which has not passed."""
        self._count += 1
        heapq.heappush(self._events, (moment, self._count, act, arguments))

    def after(self, seconds: float, act: Callable[..., None], *arguments: Any) -> None:
        self.at(self.now + seconds, act, *arguments)

    def run(self, until: Callable[[], bool], limit: float) -> None:
        """Let things happen until that holds, nothing is left, or so many seconds have passed."""
        events, pop = self._events, heapq.heappop
        while events and not until():
            moment, _, act, arguments = pop(events)
            if moment > limit:
                return
            self.now = moment
            act(*arguments)
