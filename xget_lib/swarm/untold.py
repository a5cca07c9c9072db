"""Whom the master has news for, and when it tells them.

Each node that comes changes the neighbours of twenty others. When ten thousand come at once, to tell each of them of
each change would keep the master busy for longer than the content takes. So changes are gathered. Who comes hears of
its neighbours at once, as it can do nothing before; the others, who know some already, hear of theirs when the master
has caught its breath.
"""

from __future__ import annotations

from collections.abc import Iterable


class Untold:
    """The nodes, by the caller's keys. Times are monotonic seconds."""

    def __init__(self, pause: float, each: float, most: float) -> None:
        """`pause` passes between two rounds; after one that told many of changes, `each` for each of them before others
        are told of theirs, but not more than `most`."""
        self._pause = pause
        self._each = each
        self._most = most
        self._urgent: set[int] = set()
        self._others: set[int] = set()
        self._next = self._next_others = float("-inf")

    def add(self, keys: Iterable[int], urgent: Iterable[int] = ()) -> None:
        """There is news for these. Of them or besides them, those that cannot wait."""
        self._urgent.update(urgent)
        self._others.update(keys)
        self._others -= self._urgent

    def take(self, now: float) -> set[int]:
        """Whom to tell now. They count as told."""
        taken: set[int] = set()
        if now >= self._next:
            taken, self._urgent = self._urgent, set()
            if now >= self._next_others and self._others:
                pause = min(self._most, max(self._pause, self._each * len(self._others)))
                self._next_others = now + pause
                taken |= self._others
                self._others = set()
            if taken:
                self._next = now + self._pause
        return taken

    def wait(self, now: float) -> float | None:
        """How long until somebody is to be told; None where there is nobody."""
        if self._urgent:
            return max(0.0, self._next - now)
        if self._others:
            return max(0.0, self._next - now, self._next_others - now)
        return None
