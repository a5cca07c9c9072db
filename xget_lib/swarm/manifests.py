"""Of whom a node gets the manifest.

That of a big content is some ten kilobytes and more: from the master to ten thousand nodes it would be on the master's
link for a third of the time that the content takes. Whoever has the generation's digest can take it from anybody. So in
a large swarm the first nodes get it from the master and the others from each other. The master remains for who finds
no peer that has it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from random import Random

FEW = 10
"""With fewer peers the swarm is small, and to ask the master is quickest."""
PAUSE = 0.02
"""Seconds before the next peer is asked, where one does not have it yet."""
_PATIENCE = 2.0
"""Seconds for which peers are asked; up to twice as many, so that not all turn to the master at once."""

K = TypeVar("K")


class Sources(Generic[K]):
    """Whom one node asks, one after the other. Peers are the caller's keys; times are monotonic seconds."""

    def __init__(self, peers: Collection[K], source: Random, now: float) -> None:
        self._peers = list(peers) if len(peers) >= FEW else []
        self._random = source
        self._until = now + _PATIENCE * source.uniform(1, 2)
        self._round: list[K] = []

    def next(self, now: float) -> K | None:
        """A peer, or None: the master."""
        if not self._peers or now >= self._until:
            return None
        if not self._round:
            self._round = self._random.sample(self._peers, len(self._peers))
        return self._round.pop()
