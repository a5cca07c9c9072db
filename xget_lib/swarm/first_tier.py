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
    """The nodes that take from the master at once, by the caller's keys. Owned by the master's Tracker."""

    def __init__(self, size: int) -> None:
        """At most `size` nodes."""
        self._size = size
        self._members: set[int] = set()

    def admit(self, node: int) -> bool:
        """Make a node a member if there is room. Returns whether it is one."""
        if len(self._members) < self._size:
            self._members.add(node)
        return node in self._members

    def leave(self, node: int) -> None:
        """A node has ended, or holds everything: another may take its place."""
        self._members.discard(node)


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
