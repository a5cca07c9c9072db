"""Which chunk a node fetches from a peer: the rarest one that the peer has, the node lacks, and nobody else sends.

Sets of chunks are integers, bit i for chunk i: a set operation over 100,000 chunks is one pass over 12 KB, and a pick
examines only the chunk that it picks. Chunks are sorted by the number of peers that have them (`_levels`), so the
rarest is in the first level that contains a possible chunk.

A chunk that takes much longer than usual is fetched from one more source, in two stages:

- Late. Near the end, everything that a peer could send may already be on its way from other peers. Then the node
  fetches the chunk that has taken longest from this peer as well. So one slow peer does not delay the last chunk.
- Overdue, after a longer time, of which `overdue` tells the caller. From then on the chunk counts as one that no peer
  has, so the master is asked for it too. A further source replaces the one that has been asked for longest. The peer
  that owes the chunk is suspended. So no number of peers can hold back a chunk that somebody else sends.

The link of the node itself may be slow. So each time that a chunk is overdue, its next source gets twice the time.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from math import inf
from random import Random
from typing import Generic, TypeVar

from xget_lib.dataclass import dataclass, field
from xget_lib.swarm.peer_speed import PeerSpeed

_LATE = 2.0
"""A chunk is late after this many times the usual duration."""
_OVERDUE = 4.0
"""A chunk is overdue after this many times the usual duration,"""
_OVERDUE_LEAST = 1.0
"""and this many seconds."""
_DOUBLINGS = 4
"""How often the time that a source of a chunk gets is doubled, at most."""
SOURCES = 2
"""The number of sources from which one chunk is fetched at the same time, at most."""

_BLOCK = 4096
_BLOCK_MASK = (1 << _BLOCK) - 1
"""Bits that are taken out of a large number at once: each operation on it is one pass over the whole number."""

K = TypeVar("K", bound=Hashable)
"""Names a source of chunks."""


def bits(number: int) -> Iterator[int]:
    """The positions of the one bits, rising."""
    first = 0
    while number:
        block = number & _BLOCK_MASK
        while block:
            lowest = block & -block
            yield first + lowest.bit_length() - 1
            block ^= lowest
        number >>= _BLOCK
        first += _BLOCK


@dataclass(slots=True)
class _Fetched(Generic[K]):
    """A chunk that is being fetched."""

    sources: dict[K, float] = field(default_factory=dict)
    """When each of them was asked, the first one first."""

    @property
    def since(self) -> float:
        """When the last source was asked."""
        return next(reversed(self.sources.values()))


class Picker(Generic[K]):
    """What a node lacks, which peer has it, and what is being fetched. Owned by a `Downloader`, for one generation."""

    def __init__(self, lacking: int, rng: Random) -> None:
        self._lacking = lacking
        self._random = rng
        self._probe_above = rng.randrange(max(1, lacking.bit_length()))
        """`probe` is the first chunk from this one on."""
        self._has: dict[K, int] = {}
        """What each peer has, as far as it counts: nothing while the peer is not trusted."""
        self._said: dict[K, int] = {}
        """What each peer says that it has."""
        self._levels: list[int] = [lacking]
        """The lacking chunks that no peer has, that one has, and so on."""
        self._fetched: dict[int, _Fetched[K]] = {}
        self._fetching = 0
        """The keys of `_fetched`, as bits."""
        self._overdue = 0
        """Those of them that are overdue."""
        self._missed = 0
        """The lacking chunks that were overdue. Several sources that send nothing may follow each other."""
        self._here = 0
        """Those of them of which all bytes are there, so that only the disk of this node can be late."""
        self._patience: dict[int, int] = {}
        """How often each lacking chunk was overdue, if it was."""
        self._written_at = 0.0
        """When a chunk was written last."""
        self._corrected_at = 0.0
        """When what is usual was corrected last, because nothing arrived."""
        self.speed: PeerSpeed[K] = PeerSpeed()
        """Owned; others may read it."""

    @property
    def lacking(self) -> int:
        """The chunks that are not written yet, as bits; those that are being fetched included."""
        return self._lacking

    @property
    def unavailable(self) -> int:
        """The lacking chunks that no peer has and that are not being fetched, or that were overdue, as bits."""
        return self._lacking & (self._levels[0] & ~self._fetching | self._missed & ~self._here)

    @property
    def not_fetching(self) -> int:
        """The lacking chunks that are not being fetched, as bits."""
        return self._lacking & ~self._fetching

    @property
    def probe(self) -> int:
        """One of these, as a bit, or 0: the same one for as long as it is one of these, and another at each node."""
        chunks = self.not_fetching
        above = chunks >> self._probe_above << self._probe_above
        chosen = above or chunks
        return chosen & -chosen

    @property
    def fetching(self) -> int:
        """The number of chunks that are being fetched."""
        return len(self._fetched)

    @property
    def overdue_count(self) -> int:
        """How many of them are overdue."""
        return self._overdue.bit_count()

    def peer_has(self, peer: K, chunks: int) -> None:
        """A peer says which chunks it holds, as bits. Replaces what it said before."""
        self._said[peer] = chunks
        self._count(peer, chunks if self.speed.is_trusted(peer) else 0)

    def _count(self, peer: K, chunks: int) -> None:
        """These chunks of a peer count from now on."""
        before = self._has.get(peer, 0)
        self._has[peer] = chunks
        self._raise(chunks & ~before & self._lacking)
        self._lower(before & ~chunks & self._lacking)

    def peer_lost(self, peer: K, chunk: int) -> None:
        """A peer does not hold a chunk after all."""
        if peer in self._said:
            self.peer_has(peer, self._said[peer] & ~(1 << chunk))

    def peer_gone(self, peer: K) -> None:
        """A peer is lost, and with it what was being fetched from it."""
        self._count(peer, 0)
        del self._has[peer]
        self._said.pop(peer, None)
        self.speed.forget(peer)
        for chunk in [chunk for chunk, fetched in self._fetched.items() if peer in fetched.sources]:
            self.failed(chunk, peer)

    def suspend(self, peer: K, now: float, *, until_resumed: bool = False) -> None:
        """A peer is not asked for anything, for a while or until it is resumed. What it has does not count before it
        has sent a chunk in time."""
        self.speed.suspend(peer, now, until_resumed=until_resumed)
        if peer in self._has:
            self._count(peer, 0)

    def wants(self, peer: K, now: float) -> bool:
        """Whether `pick` would find a chunk for a peer."""
        possible = self._possible(peer, now)
        return bool(possible & ~self._fetching) or (bool(possible) and self._late(peer, possible, now) is not None)

    def pick(self, peer: K, now: float) -> int | None:
        """The chunk to fetch from a peer, or None. It counts as being fetched from now on."""
        possible = self._possible(peer, now)
        free = possible & ~self._fetching
        for level in self._levels:
            common = free & level
            if common:
                chunk = self._any(common)
                break
        else:
            late = self._late(peer, possible, now)
            if late is None:
                return None
            chunk = late
        self._begin(chunk, peer, now)
        return chunk

    def take(self, chunk: int, source: K, now: float) -> bool:
        """A source offers a chunk: whether to fetch it. It counts as being fetched from now on."""
        if not self._lacking >> chunk & 1:
            return False
        if self._fetching >> chunk & 1:
            wanted = self._missed & ~self._here
            if not wanted >> chunk & 1 or source in self._fetched[chunk].sources:
                return False
        self._begin(chunk, source, now)
        return True

    def replaced(self, chunk: int) -> K | None:
        """The source whose fetch of a chunk is to be cancelled, because another has begun. To be called after `pick`
        and `take`."""
        fetched = self._fetched[chunk]
        if len(fetched.sources) <= SOURCES:
            return None
        longest = next(iter(fetched.sources))
        self.failed(chunk, longest)
        return longest

    def overdue(self, now: float) -> list[tuple[K, int]]:
        """The fetches that have become overdue: source and chunk. To be called now and then."""
        found = [
            (next(reversed(self._fetched[chunk].sources)), chunk)
            for chunk in bits(self._fetching & ~self._overdue & ~self._here)
            if now - self._fetched[chunk].since >= self._limit(chunk)
        ]
        for _, chunk in found:
            self._overdue |= 1 << chunk
            self._missed |= 1 << chunk
            self._patience[chunk] = min(self._patience.get(chunk, 0) + 1, _DOUBLINGS)
        if any(self._fetched[chunk].since >= max(self._written_at, self._corrected_at) for _, chunk in found):
            self._corrected_at = now
            self.speed.nothing_arrives()
        return found

    def longest_overdue(self) -> tuple[K, int] | None:
        """The overdue fetch that was begun first: source and chunk. None if nothing has been written since it began:
        then the link of this node may be slow, and nothing is gained if it begins again elsewhere."""
        fetches = [(*next(iter(self._fetched[chunk].sources.items())), chunk) for chunk in bits(self._overdue)]
        source, since, chunk = min(fetches, key=lambda fetch: fetch[1], default=(None, inf, 0))
        return None if source is None or since >= self._written_at else (source, chunk)

    def arrived(self, chunk: int) -> None:
        """All bytes of a chunk are there, from one of its sources."""
        self._here |= 1 << chunk
        self._overdue &= ~(1 << chunk)

    def done(self, chunk: int, source: K, now: float) -> list[K]:
        """A chunk from a source is verified and written. Returns all sources that it was being fetched from."""
        self._lacking &= ~(1 << chunk)
        self._missed &= ~(1 << chunk)
        fetched = self._fetched.pop(chunk, None)
        self._not_fetching(chunk)
        if fetched is None:
            return []
        self._written_at = now
        for other, since in fetched.sources.items():
            if other == source:
                self.speed.measured(source, now - since, now)
                if source in self._has:
                    self.peer_has(source, self._said[source])
            elif self.speed.owed(other, now - since, now) and now - since >= self._limit(chunk):
                self.suspend(other, now)
        self._patience.pop(chunk, None)
        return list(fetched.sources)

    def failed(self, chunk: int, source: K) -> None:
        """A chunk does not arrive from a source, or is wrong."""
        self._here &= ~(1 << chunk)
        fetched = self._fetched.get(chunk)
        if fetched is None or source not in fetched.sources:
            return
        del fetched.sources[source]
        if not fetched.sources:
            del self._fetched[chunk]
            self._not_fetching(chunk)

    def _possible(self, peer: K, now: float) -> int:
        """What may be fetched from a peer: from a slow one, or one that is not trusted, only what no better one has."""
        if self.speed.is_suspended(peer):
            return 0
        possible = self._said.get(peer, 0) & self._lacking
        if possible and not self._is_good(peer, now):
            for other, has in self._has.items():
                if self._is_good(other, now):
                    possible &= ~has
        return possible

    def _is_good(self, peer: K, now: float) -> bool:
        return self.speed.is_trusted(peer) and not self.speed.is_slow(peer, now)

    def _late(self, peer: K, possible: int, now: float) -> int | None:
        """The chunk that has been fetched for longest, if that is too long and it may have one more source."""
        limit = now - _LATE * self.speed.usual
        late = [
            (fetched.since, chunk)
            for chunk, fetched in self._fetched.items()
            if possible >> chunk & 1
            and (self._overdue >> chunk & 1 or (fetched.since < limit and len(fetched.sources) < SOURCES))
            and peer not in fetched.sources
        ]
        return min(late)[1] if late else None

    def _limit(self, chunk: int) -> float:
        """Seconds after which a source of a chunk is overdue."""
        return max(_OVERDUE_LEAST, _OVERDUE * self.speed.usual) * 2.0 ** self._patience.get(chunk, 0)

    def _begin(self, chunk: int, source: K, now: float) -> None:
        self._fetched.setdefault(chunk, _Fetched()).sources[source] = now
        self._fetching |= 1 << chunk
        self._overdue &= ~(1 << chunk)

    def _not_fetching(self, chunk: int) -> None:
        self._fetching &= ~(1 << chunk)
        self._overdue &= ~(1 << chunk)
        self._here &= ~(1 << chunk)

    def _any(self, chunks: int) -> int:
        """One of some chunks, random enough that nodes with the same knowledge choose differently."""
        above = self._random.randrange(chunks.bit_length())
        rest = chunks >> above
        chosen = rest & -rest
        return chosen.bit_length() - 1 + above

    # For chunks that the node has it does not matter how rare they are elsewhere: they stay where they were.

    def _raise(self, chunks: int) -> None:
        """One more peer has these lacking chunks."""
        if chunks & self._levels[-1]:
            self._levels.append(0)
        for level in range(len(self._levels) - 2, -1, -1):
            moved = self._levels[level] & chunks
            self._levels[level] ^= moved
            self._levels[level + 1] |= moved

    def _lower(self, chunks: int) -> None:
        """One peer less has these lacking chunks."""
        for level in range(1, len(self._levels)):
            moved = self._levels[level] & chunks
            self._levels[level] ^= moved
            self._levels[level - 1] |= moved
