"""Which peers a client is given: a random graph in which every node knows some others, both ways.

A node that joins is tied to `degree` others (more in a large swarm), picked at random among those that are not
crowded, so that news travels in few steps and no node has to serve more than its share; a tie holds for both, and
nodes that lose many ties get new ones. A random graph of that degree stays in one piece even when a third of its
nodes vanish.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random


MANY = 64
"""In a swarm of more nodes each is tied to twice as many, so that a chunk is everywhere in as few steps."""


class PeerGraph:
    """The graph. Keys are the caller's; `reachable(asker, peer)` says whether a peer is any use to an asker."""

    def __init__(self, degree: int, source: Random, reachable: Callable[[int, int], bool]) -> None:
        self._few = degree
        self._random = source
        self._reachable = reachable
        self._ties: dict[int, set[int]] = {}
        self._sought: dict[int, set[int]] = {}
        """Those ties that were made because the node lacked some."""
        self._keys: list[int] = []
        self._position: dict[int, int] = {}

    @property
    def _degree(self) -> int:
        return self._few if len(self._keys) <= MANY else self._few * 2

    def __contains__(self, key: int) -> bool:
        return key in self._ties

    def of(self, key: int) -> frozenset[int]:
        """The neighbours that a node can reach."""
        return frozenset(peer for peer in self._ties.get(key, ()) if self._reachable(key, peer))

    def sought(self, key: int) -> frozenset[int]:
        """Those of them that were picked for this node. It was picked for the others, and is known to them."""
        return frozenset(peer for peer in self._sought.get(key, ()) if self._reachable(key, peer))

    def join(self, key: int) -> set[int]:
        """Add a node. Returns the keys whose neighbours changed, itself included."""
        if key in self._ties:
            return set()
        self._ties[key], self._sought[key] = set(), set()
        self._position[key] = len(self._keys)
        self._keys.append(key)
        return self._tie(key) | {key}

    def leave(self, key: int) -> set[int]:
        """Remove a node. Returns the keys whose neighbours changed."""
        former = self._ties.pop(key, None)
        if former is None:
            return set()
        last = self._keys.pop()
        position = self._position.pop(key)
        if last != key:
            self._keys[position] = last
            self._position[last] = position
        del self._sought[key]
        changed = set(former)
        for peer in former:
            self._ties[peer].discard(key)
            self._sought[peer].discard(key)
        for peer in former:
            if len(self._ties[peer]) < self._degree // 2:
                changed |= self._tie(peer)
        return changed

    def _tie(self, key: int) -> set[int]:
        """Tie a node to others until it has `degree` of them, or nobody is left; the keys that got a tie.

        Where too few have room the crowded get some more: the last to come must not form a circle of their own.
        """
        ties = self._ties[key]
        changed: set[int] = set()
        for crowded in (2 * self._degree, 3 * self._degree):
            for peer in self._strangers():
                if len(ties) >= self._degree:
                    return changed
                if peer == key or peer in ties or len(self._ties[peer]) >= crowded:
                    continue
                if self._reachable(key, peer) or self._reachable(peer, key):
                    ties.add(peer)
                    self._sought[key].add(peer)
                    self._ties[peer].add(key)
                    changed |= {peer, key}
        return changed

    def _strangers(self) -> Iterator[int]:
        """Candidates in random order: all while they are few, some that suffice, and some twice, when they are many."""
        if len(self._keys) <= MANY:
            yield from self._random.sample(self._keys, len(self._keys))
        else:
            for _ in range(8 * self._degree):
                yield self._keys[int(self._random.random() * len(self._keys))]
