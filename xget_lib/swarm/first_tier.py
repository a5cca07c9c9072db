"""Which nodes take from the master at once, and what the others do meanwhile.

Every node that asks the master for the manifest and for chunks costs it some thought and its link some bytes. Ten
thousand that all do so at once would keep it from giving out what nobody has yet. The first few dozen are enough to
spread all of it; the others are told to ask their peers, from whom they get both as soon, and turn to the master only
when nothing comes.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from random import Random

PAUSE = 0.02
"""Seconds before the next peer is asked for the manifest, where one does not have it yet."""
_PATIENCE = 2.0
_PACE = 2e6
"""Bytes a second at which a manifest comes from the master at least, which has some dozen of them to send at once."""

K = TypeVar("K")


def patience(source: Random) -> float:
    """Seconds without anything coming after which a node that was told to ask its peers asks the master; not the same
    for all, so that they do not come at once."""
    return _PATIENCE * source.uniform(1, 2)


class FirstTier:
    """At the master: the nodes that take from it at once. Keys are the caller's."""

    def __init__(self, most: int) -> None:
        """Not more than so many."""
        self._most = most
        self._keys: set[int] = set()

    def includes(self, key: int) -> bool:
        """Whether a node is, or becomes, one of them."""
        if len(self._keys) < self._most:
            self._keys.add(key)
        return key in self._keys

    def leave(self, key: int) -> None:
        """A node is gone, or has everything."""
        self._keys.discard(key)


class Sources(Generic[K]):
    """At a node: whom it asks for the manifest, one after the other. Whoever knows the generation's digest can take the
    manifest from anybody. Peers are the caller's keys; times are monotonic seconds."""

    def __init__(self, peers: Collection[K], size: int, source: Random, now: float) -> None:
        """`peers` are none for a node that takes from the master; `size` is that of the manifest, in bytes."""
        self._peers = list(peers)
        self._random = source
        self._until = now + patience(source) + size / _PACE
        self._round: list[K] = []

    def next(self, now: float) -> K | None:
        """A peer, or None: the master."""
        if not self._peers or now >= self._until:
            return None
        if not self._round:
            self._round = self._random.sample(self._peers, len(self._peers))
        return self._round.pop()
