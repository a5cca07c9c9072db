"""Which chunk a node fetches from a peer: the rarest one that the peer has, the node lacks, and nobody else sends.

Sets of chunks are integers, bit i for chunk i: a set operation over 100,000 chunks is one pass over 12 KB, and a pick
examines only the chunk that it picks. Chunks are sorted by the number of peers that have them (`_levels`), so the
rarest is in the first level that contains a possible chunk.

Near the end, everything that a peer could send may already be on its way from other peers. Then the node fetches one of
these chunks from this peer as well: the one that has taken longest, if that is much longer than usual. So one slow peer
does not delay the last chunk.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Generic, TypeVar

from xget_lib.swarm.peer_speed import PeerSpeed

_PATIENCE = 2.0
"""A chunk is late, and fetched from a second source, after this many times the usual duration."""
SOURCES = 2
"""The number of sources from which one chunk is fetched at the same time, at most."""

K = TypeVar("K", bound=Hashable)
"""Names a source of chunks."""


def bits(number: int) -> Iterator[int]:
    """The positions of the one bits, rising."""
    while number:
        lowest = number & -number
        yield lowest.bit_length() - 1
        number ^= lowest


@dataclass(slots=True)
class _Fetched(Generic[K]):
    """A chunk that is being fetched."""

    since: float
    sources: list[K] = field(default_factory=list)


class Picker(Generic[K]):
    """What a node lacks, which peer has it, and what is being fetched. Owned by a `Downloader`, for one generation."""

    def __init__(self, lacking: int, rng: Random) -> None:
        self._lacking = lacking
        self._random = rng
        self._has: dict[K, int] = {}
        self._counts: dict[int, int] = {}
        self._levels: list[int] = [lacking]
        self._fetched: dict[int, _Fetched[K]] = {}
        self._fetching = 0
        """The keys of `_fetched`, as bits."""
        self.speed: PeerSpeed[K] = PeerSpeed()
        """Owned; others may read it."""

    @property
    def lacking(self) -> int:
        """The chunks that are not written yet, as bits; those that are being fetched included."""
        return self._lacking

    @property
    def unavailable(self) -> int:
        """The lacking chunks that no peer has and that are not being fetched, as bits."""
        return self._levels[0] & self._lacking & ~self._fetching

    @property
    def fetching(self) -> int:
        """The number of chunks that are being fetched."""
        return len(self._fetched)

    def peer_has(self, peer: K, chunks: int) -> None:
        """A peer says which chunks it holds, as bits. Replaces what it said before."""
        before = self._has.get(peer, 0)
        self._has[peer] = chunks
        for chunk in bits(chunks & ~before):
            self._move(chunk, +1)
        for chunk in bits(before & ~chunks):
            self._move(chunk, -1)

    def peer_lost(self, peer: K, chunk: int) -> None:
        """A peer does not hold a chunk after all."""
        if peer in self._has:
            self.peer_has(peer, self._has[peer] & ~(1 << chunk))

    def peer_gone(self, peer: K) -> None:
        """A peer is lost, and with it what was being fetched from it."""
        self.peer_has(peer, 0)
        del self._has[peer]
        self.speed.forget(peer)
        for chunk in [chunk for chunk, fetched in self._fetched.items() if peer in fetched.sources]:
            self.failed(chunk, peer)

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
        if not self._lacking >> chunk & 1 or self._fetching >> chunk & 1:
            return False
        self._begin(chunk, source, now)
        return True

    def done(self, chunk: int, now: float) -> list[K]:
        """A chunk is verified and written. Returns all sources that it was being fetched from."""
        self._lacking &= ~(1 << chunk)
        self._fetching &= ~(1 << chunk)
        fetched = self._fetched.pop(chunk, None)
        if fetched is None:
            return []
        self.speed.measured(fetched.sources[0], now - fetched.since, now)
        return fetched.sources

    def failed(self, chunk: int, source: K) -> None:
        """A chunk does not arrive from a source, or is wrong."""
        fetched = self._fetched.get(chunk)
        if fetched is None or source not in fetched.sources:
            return
        fetched.sources.remove(source)
        if not fetched.sources:
            del self._fetched[chunk]
            self._fetching &= ~(1 << chunk)

    def _possible(self, peer: K, now: float) -> int:
        """What may be fetched from a peer: from a slow one only what no other peer has, other slow ones left aside."""
        possible = self._has.get(peer, 0) & self._lacking
        if possible and self.speed.is_slow(peer, now):
            for other, has in self._has.items():
                if not self.speed.is_slow(other, now):
                    possible &= ~has
        return possible

    def _late(self, peer: K, possible: int, now: float) -> int | None:
        """The chunk that has been fetched for longest, if that is too long and it may have one more source."""
        limit = now - _PATIENCE * self.speed.usual
        late = [
            (fetched.since, chunk)
            for chunk, fetched in self._fetched.items()
            if possible >> chunk & 1
            and fetched.since < limit
            and len(fetched.sources) < SOURCES
            and peer not in fetched.sources
        ]
        return min(late)[1] if late else None

    def _begin(self, chunk: int, source: K, now: float) -> None:
        self._fetched.setdefault(chunk, _Fetched(now)).sources.append(source)
        self._fetching |= 1 << chunk

    def _any(self, chunks: int) -> int:
        """One of some chunks, random enough that nodes with the same knowledge choose differently."""
        above = self._random.randrange(chunks.bit_length())
        rest = chunks >> above
        chosen = rest & -rest
        return chosen.bit_length() - 1 + above

    def _move(self, chunk: int, step: int) -> None:
        if not self._lacking >> chunk & 1:
            # The node has it: how rare it is elsewhere does not matter any more.
            return
        before = self._counts.get(chunk, 0)
        after = self._counts[chunk] = before + step
        if after >= len(self._levels):
            self._levels.append(0)
        self._levels[before] &= ~(1 << chunk)
        self._levels[after] |= 1 << chunk
