"""Whom the master has news for, and when it tells them.

Each node that comes is tied to a dozen others. It hears of them at once, as it can do nothing before, and introduces
itself to them; from the master they hear of it later, once for all changes of some seconds. When ten thousand come at
once, to tell each of them of each change would keep the master busy for longer than the content takes.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice


class AnnounceQueue:
    """The nodes, by the caller's keys. Times are monotonic seconds."""

    def __init__(self, pause: float, later: float, most: int) -> None:
        """Who can wait is told after `later`, and not more than so many in one round; `pause` passes between two."""
        self._pause = pause
        self._later = later
        self._most = most
        self._urgent: set[int] = set()
        self._others: dict[int, float] = {}
        """When they are to be told, the earliest first."""
        self._next = float("-inf")

    def add(self, now: float, keys: Iterable[int], urgent: Iterable[int] = ()) -> None:
        """There is news for these. Of them or besides them, those that cannot wait."""
        self._urgent.update(urgent)
        for key in keys:
            self._others.setdefault(key, now + self._later)
        for key in urgent:
            self._others.pop(key, None)

    def take(self, now: float) -> tuple[set[int], list[int]]:
        """Whom to tell now, of those that cannot wait and of the others. They count as told."""
        if now < self._next:
            return set(), []
        urgent, self._urgent = self._urgent, set()
        due = [key for key, when in islice(self._others.items(), self._most) if when <= now]
        for key in due:
            del self._others[key]
        if urgent or due:
            self._next = now + self._pause
        return urgent, due

    def wait(self, now: float) -> float | None:
        """How long until somebody is to be told; None where there is nobody."""
        if self._urgent:
            return max(0.0, self._next - now)
        first = next(iter(self._others.values()), None)
        return max(0.0, self._next - now, first - now) if first is not None else None
