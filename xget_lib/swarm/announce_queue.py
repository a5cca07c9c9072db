"""Which nodes the master has news for, and when it sends this news.

A node that joins gets a dozen neighbours. The master sends it their addresses at once, since the node can do nothing
without them. The node then registers with its neighbours. The master tells the neighbours of the new node later, in one
message for all changes of some seconds. When ten thousand nodes join at once, one message for each change to each node
would take longer than the download.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice


class AnnounceQueue:
    """The nodes that wait for news, by the caller's keys. Owned by the Tracker. Times are monotonic seconds."""

    def __init__(self, pause: float, delay: float, batch: int) -> None:
        """`pause` is between two rounds. A round has all urgent nodes and at most `batch` others, after `delay`."""
        self._pause = pause
        self._delay = delay
        self._batch = batch
        self._urgent: set[int] = set()
        self._delayed: dict[int, float] = {}
        """When news is due for each node, the earliest first."""
        self._next_round = float("-inf")

    def add(self, now: float, keys: Iterable[int] = (), urgent: Iterable[int] = ()) -> None:
        """There is news for these nodes; those in `urgent` cannot wait."""
        self._urgent.update(urgent)
        for key in keys:
            self._delayed.setdefault(key, now + self._delay)
        for key in urgent:
            self._delayed.pop(key, None)

    def take(self, now: float) -> tuple[set[int], list[int]]:
        """The nodes to send news to now: the urgent ones, and the delayed ones that are due. They leave the queue."""
        if now < self._next_round:
            return set(), []
        urgent, self._urgent = self._urgent, set()
        due = [key for key, when in islice(self._delayed.items(), self._batch) if when <= now]
        for key in due:
            del self._delayed[key]
        if urgent or due:
            self._next_round = now + self._pause
        return urgent, due

    def wait(self, now: float) -> float | None:
        """Seconds until `take` returns a node; None while none waits."""
        if self._urgent:
            return max(0.0, self._next_round - now)
        first = next(iter(self._delayed.values()), None)
        return max(0.0, self._next_round - now, first - now) if first is not None else None
