"""The last of something that hosts cause, so that a host that causes much of it does not displace what others did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class RecentByHost(Generic[T]):
    """Keeps as many as `limit`. One more displaces the oldest of the host that has most."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._items: list[tuple[Hashable, T]] = []
        """With the host of each, the oldest first."""

    def add(self, host: Hashable, item: T) -> None:
        self._items.append((host, item))
        if len(self._items) > self._limit:
            counts = Counter(host for host, _ in self._items)
            most = max(counts.values())
            del self._items[next(at for at, (host, _) in enumerate(self._items) if counts[host] == most)]

    def __iter__(self) -> Iterator[T]:
        """The oldest first."""
        return iter([item for _, item in self._items])
