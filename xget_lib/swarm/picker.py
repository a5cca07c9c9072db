"""Which chunk a client asks a peer for: the rarest that the peer has, that is lacking, and that nobody else brings.

Sets of chunks are integers, bit i for chunk i: a set operation over 100,000 chunks is one pass over 12 KB, and picking
touches no chunk but the one it picks. Chunks are sorted by how many peers have them (`_levels`), so "the rarest" is
the first level that has something in common with what is possible.

Near the end, when a peer has nothing left to give that isn't on its way from elsewhere, it is asked for the chunk that
has been on its way for longest, if that takes much longer than is usual: one slow peer must not hold up the last chunk.
Whoever brings it second is told to stop (`done` says who).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

_PATIENCE = 2.0
"""How many times as long as usual a chunk may be on its way before a second peer is asked."""

_SLOW = 3.0
"""A peer is slow when a chunk from it took so many times as long as usual."""
_REST = 8.0
"""So many times as long as that it is then asked only for what nobody else has."""


def bits(number: int) -> Iterator[int]:
    """The positions of the one bits, ascending."""
    while number:
        lowest = number & -number
        yield lowest.bit_length() - 1
        number ^= lowest


@dataclass
class _Flight:
    begun: float
    sources: list[Hashable] = field(default_factory=list)


class Picker:
    """What a client lacks, who has it, and what is on its way. Sources (peers) are the caller's keys."""

    def __init__(self, lacking: int, source: Random) -> None:
        self._lacking = lacking
        self._random = source
        self._has: dict[Hashable, int] = {}
        self._counts: dict[int, int] = {}
        self._levels: list[int] = [lacking]
        self._flights: dict[int, _Flight] = {}
        self._flying = 0
        self._usual = 1.0
        self._rests: dict[Hashable, float] = {}
        """Until when a slow peer is spared."""

    @property
    def lacking(self) -> int:
        """The chunks that are still to come, as bits; what is on its way included."""
        return self._lacking

    @property
    def unavailable(self) -> int:
        """The lacking chunks that no peer has and that are not on their way, as bits."""
        return self._levels[0] & self._lacking & ~self._flying

    def peer_has(self, peer: Hashable, chunks: int) -> None:
        """A peer's news: all chunks that it holds, as bits. Replaces what it said before."""
        former = self._has.get(peer, 0)
        self._has[peer] = chunks
        for chunk in bits(chunks & ~former):
            self._move(chunk, +1)
        for chunk in bits(former & ~chunks):
            self._move(chunk, -1)

    def peer_lost(self, peer: Hashable, chunk: int) -> None:
        """A peer does not have a chunk after all."""
        if peer in self._has:
            self.peer_has(peer, self._has[peer] & ~(1 << chunk))

    def peer_gone(self, peer: Hashable) -> list[int]:
        """A peer is not to be asked any more; the chunks that were on their way from it."""
        self.peer_has(peer, 0)
        self._has.pop(peer)
        self._rests.pop(peer, None)
        lost = [chunk for chunk, flight in self._flights.items() if peer in flight.sources]
        for chunk in lost:
            self.failed(chunk, peer)
        return lost

    def interesting(self, peer: Hashable) -> bool:
        """Whether a peer has anything that is lacking."""
        return bool(self._has.get(peer, 0) & self._lacking)

    @property
    def flights(self) -> int:
        """How many chunks are on their way."""
        return len(self._flights)

    def rests(self, peer: Hashable, now: float) -> bool:
        """Whether a peer was slow, not long ago."""
        return self._rests.get(peer, now) > now

    def wants(self, peer: Hashable, now: float) -> bool:
        """Whether `pick` would find something for a peer."""
        possible = self._possible(peer, now)
        return bool(possible & ~self._flying) or (bool(possible) and self._latest(peer, possible, now) is not None)

    def pick(self, peer: Hashable, now: float) -> int | None:
        """The chunk to ask a peer for now (it counts as on its way from then), or None."""
        possible = self._possible(peer, now)
        open_ones = possible & ~self._flying
        for level in self._levels:
            common = open_ones & level
            if common:
                chunk = self._any(common)
                break
        else:
            late = self._latest(peer, possible, now)
            if late is None:
                return None
            chunk = late
        self._fly(chunk, peer, now)
        return chunk

    def take(self, chunk: int, source: Hashable, now: float) -> bool:
        """A source offers a chunk: whether to take it (it counts as on its way from then)."""
        if not self._lacking >> chunk & 1 or self._flying >> chunk & 1:
            return False
        self._fly(chunk, source, now)
        return True

    def done(self, chunk: int, now: float) -> list[Hashable]:
        """A chunk has arrived and is verified. Returns the sources that were to bring it, to be told to stop."""
        self._lacking &= ~(1 << chunk)
        self._flying &= ~(1 << chunk)
        flight = self._flights.pop(chunk, None)
        if flight is None:
            return []
        took = now - flight.begun
        if took > _SLOW * self._usual:
            self._rests[flight.sources[0]] = now + _REST * took
        self._usual += (took - self._usual) / 8
        return flight.sources

    def failed(self, chunk: int, source: Hashable) -> None:
        """A source will not bring a chunk after all."""
        flight = self._flights.get(chunk)
        if flight is None or source not in flight.sources:
            return
        flight.sources.remove(source)
        if not flight.sources:
            del self._flights[chunk]
            self._flying &= ~(1 << chunk)

    def _possible(self, peer: Hashable, now: float) -> int:
        """What a peer may be asked for: of a slow one what no other has, other slow ones left aside."""
        possible = self._has.get(peer, 0) & self._lacking
        if possible and self.rests(peer, now):
            for other, has in self._has.items():
                if not self.rests(other, now):
                    possible &= ~has
        return possible

    def _latest(self, peer: Hashable, possible: int, now: float) -> int | None:
        """The chunk that is on its way for longest, if too long, and from one other source only."""
        late = [
            (flight.begun, chunk)
            for chunk, flight in self._flights.items()
            if possible >> chunk & 1
            and len(flight.sources) < 2
            and peer not in flight.sources
            and now - flight.begun > _PATIENCE * self._usual
        ]
        return min(late)[1] if late else None

    def _fly(self, chunk: int, source: Hashable, now: float) -> None:
        self._flights.setdefault(chunk, _Flight(now)).sources.append(source)
        self._flying |= 1 << chunk

    def _any(self, chunks: int) -> int:
        """One of some chunks, at random enough that nodes with the same news choose differently."""
        above = self._random.randrange(chunks.bit_length())
        rest = chunks >> above
        chosen = rest & -rest
        return chosen.bit_length() - 1 + above

    def _move(self, chunk: int, step: int) -> None:
        if not self._lacking >> chunk & 1:
            # It is here: how rare it is elsewhere doesn't matter any more.
            return
        before = self._counts.get(chunk, 0)
        after = self._counts[chunk] = before + step
        if after >= len(self._levels):
            self._levels.append(0)
        self._levels[before] &= ~(1 << chunk)
        self._levels[after] |= 1 << chunk
