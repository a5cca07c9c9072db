"""The slots of a node at its master. The master offers a chunk on each."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from math import inf
from random import Random

from xget_lib.swarm.backoff import Backoff
from xget_lib.swarm.first_tier import patience
from xget_lib.swarm.in_transit import InTransit
from xget_lib.swarm.want_report import WantReport

_OFFER_LEAST, _OFFER_MOST = 15.0, 60.0
"""Seconds without any chunk after which an offer is overdue,"""
_OFFER_USUAL = 8.0
"""if that is longer than so many usual durations of a chunk."""
_ROUND_TRIPS = 2.0
"""Of a slot for each chunk: from the request for an offer to the offer, and from that for the chunk to the chunk."""
_WIDEST = 8
"""Times as many slots as usual, at most, over a distance: a connection may have 16."""


class SlotsAtMaster:
    """The slots of one node. Owned by a `Downloader`. Slots are numbered from 0; times are monotonic seconds."""

    def __init__(self, rng: Random, report_pause: float) -> None:
        """Wants are reported at most every `report_pause` seconds."""
        self._random = rng
        self._report_pause = report_pause
        self._chunks: dict[int, int | None] = {}
        """By slot: the chunk that is being read; None while the slot waits for an offer."""
        self._connected = False
        self._patience = 0.0
        self._backoff = Backoff(rng)
        self._retry = -inf
        """The slots are not opened again before that."""
        self._active = -inf
        """When a slot was opened, or the master offered a chunk, last."""
        self._offer_due = _OFFER_LEAST
        """Seconds without an offer after which the slots are opened anew."""
        self._chunk_count = 0
        self._round_trip = 0.0
        self._asked_at: dict[int, float] = {}
        """By chunk that is being read: when it was asked for."""
        self._in_transit = InTransit(_ROUND_TRIPS, _WIDEST)
        self.wants = WantReport(0, 0, report_pause)
        """What the master assumes that this node wants. Made anew whenever slots are opened."""
        self.postponed: deque[tuple[int, int]] = deque()
        """Slots with offered chunks that wait for a buffer."""

    def __len__(self) -> int:
        return len(self._chunks)

    def __contains__(self, slot: int) -> bool:
        return slot in self._chunks

    @property
    def report_due(self) -> float:
        """When the next report of wants may be due; infinite while no slot is open."""
        return self.wants.due if self._chunks else inf

    def connected(self, round_trip: float = 0.0) -> None:
        """The master is connected: slots may be opened. `round_trip`: seconds that a message to it and its reply take
        at least."""
        self._connected = True
        self._round_trip = round_trip
        self._backoff.reset()
        self._retry = -inf
        self._patience = patience(self._random)

    def lost(self) -> None:
        """The master is not connected any more."""
        self._connected = False

    def failed(self, now: float) -> None:
        """The slots were lost: they are not opened again before a pause has passed."""
        self._retry = now + self._backoff.next()

    def begin(self, chunk_count: int) -> None:
        """A download of a generation begins. A node that asks its peers first gives them some time."""
        self._chunk_count = chunk_count
        self._patience = patience(self._random)

    def may_open(self, master_first: bool, last_arrival: float, now: float) -> bool:
        """Whether to open the first slot now. Others are opened when the master offers the first chunk: of ten thousand
        nodes it offers chunks to some hundred."""
        if not self._connected or self._chunks or now < self._retry:
            return False
        return master_first or now >= last_arrival + self._patience

    def open_first(self, lacking: int, now: float) -> int:
        """Open the first slot of a node that lacks these chunks. Returns its number."""
        self._active = now
        self._patience = 0.0
        self.wants = WantReport(self._chunk_count, lacking, self._report_pause)
        self._chunks[0] = None
        return 0

    def open_others(self, limit: int) -> Iterable[int]:
        """Open slots up to the limit, which is widened over a distance. Returns their numbers."""
        others = range(len(self._chunks), self._in_transit.widen(limit))
        self._chunks.update(dict.fromkeys(others))
        return others

    def close(self) -> list[int]:
        """All slots are closed. Returns the chunks that were being read."""
        read = [chunk for chunk in self._chunks.values() if chunk is not None]
        self._chunks.clear()
        self._asked_at.clear()
        self.postponed.clear()
        return read

    def offered(self, now: float) -> None:
        """The master offers a chunk."""
        self._active, self._offer_due = now, _OFFER_LEAST

    def offer_is_overdue(self, last_arrival: float, usual: float, now: float) -> bool:
        """Whether a slot has waited too long for an offer: nothing is on its way from the master, and nothing arrives
        from anybody. The caller opens the slots anew. The time doubles each time, and is longer where chunks usually
        take long: `usual`."""
        if not self._chunks or self.reading or self.postponed:
            return False
        if now < max(self._active, last_arrival) + max(self._offer_due, _OFFER_USUAL * usual):
            return False
        self._offer_due = min(2 * self._offer_due, _OFFER_MOST)
        return True

    def read(self, slot: int, chunk: int, now: float) -> None:
        """An offered chunk is being read from the master."""
        self._chunks[slot] = chunk
        self._asked_at[chunk] = now

    @property
    def reading(self) -> int:
        """The chunks that are being read from the master, as bits."""
        return sum({1 << chunk for chunk in self._chunks.values() if chunk is not None})

    def is_reading(self, chunk: int) -> bool:
        return chunk in self._chunks.values()

    def ended(self, chunk: int, now: float) -> int | None:
        """A chunk is not being read any more. Returns the slot that is free now."""
        # Before and after the chunk, the slot waits for messages only.
        seconds = now - self._asked_at.pop(chunk, now)
        self._in_transit.add(seconds + self._round_trip, self._round_trip)
        for slot, read in self._chunks.items():
            if read == chunk:
                self._chunks[slot] = None
                return slot
        return None
