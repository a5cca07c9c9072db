"""All that a node knows of the swarm that it downloads from, and what it does next: events in, actions out.

A `Downloader` owns the peers and what they have, the chunks that are being fetched and from where, the slots at peers
and at the master, and the count of buffers. Every event is a method, which changes this state and returns the actions
that follow (`swarm.actions`), in order. Times are monotonic seconds. `node/transfer.py` connects it to sockets and the
disk, `test/sim/node.py` to a simulated network.

How a chunk gets here:

    from a peer        RequestSlot, slot_granted, Fetch, chunk_arrived, chunk_written
    from the master    OpenMasterSlot, master_slot_opened, AskMasterSlot, chunk_offered, Fetch, chunk_arrived, ...

When a peer grants a slot, the node chooses the chunk (`picker`). The master itself chooses the chunk that it offers.

Nobody can hold up a node: a chunk or a slot that does not come in time is overdue. From then on it does not count among
what the node waits for, the chunk is asked of others, the master included, and the peer is suspended. While peers send
in time, but less than the master would, the master is asked for what they have too (`master_comparison`), also by nodes
that are to ask their peers first.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil, inf
from random import Random

from xget_lib.errors import PieceMismatch
from xget_lib.swarm import actions
from xget_lib.swarm.actions import MASTER, Action
from xget_lib.swarm.digest_mismatches import DigestMismatches
from xget_lib.swarm.host_attempts import HostAttempts
from xget_lib.swarm.in_transit import InTransit
from xget_lib.swarm.known_peers import KnownPeers
from xget_lib.swarm.master_comparison import MasterComparison
from xget_lib.swarm.messages import Address
from xget_lib.swarm.picker import Picker
from xget_lib.swarm.slots_at_master import SlotsAtMaster
from xget_lib.swarm.slots_at_peers import SlotsAtPeers
from xget_lib.swarm.tuning import Tuning

_CHECK_EVERY = 0.25
"""Seconds between two checks of what changes by time alone."""
_ROUND_TRIPS = 1.5
"""Of a chunk from a peer. One is the request for the chunk and its data; the other, for the slot, passes in part while
other chunks flow. With 1 and with 2 the last of 16 nodes is slower (simulator, 10 ms one way)."""
_STANDSTILL = 5.0
"""Seconds without an arriving chunk,"""
_OVERDUE_FETCHES = 2
"""Overdue chunks that do not count, for each chunk that may be fetched at once."""
_STANDSTILL_CHUNKS = 4.0
"""and usual durations of a chunk, after which suspended peers are asked again: perhaps nobody else is left."""


class Downloader:
    """One for the whole life of a node, for all generations that it downloads."""

    def __init__(self, tuning: Tuning, rng: Random, now: float, *, retries: int = 0) -> None:
        """`retries`: how often the master may send a chunk again that was wrong."""
        self._tuning = tuning
        self._random = rng
        self._actions: list[Action] = []
        # The download of one generation.
        self._picker: Picker[Address] = Picker(0, rng)
        self._free_buffers = 0
        self._last_arrival = self._next_check = now
        self._mismatches = DigestMismatches(retries)
        self._comparison = MasterComparison(tuning.master_slots, rng, now)

        # Where chunks come from.
        self._known = KnownPeers(rng)
        self._peers = SlotsAtPeers()
        self._round_trips: dict[Address, float] = {}
        """Of the connected peers."""
        self._in_transit = InTransit(_ROUND_TRIPS)
        """Of chunks from peers."""
        self._master = SlotsAtMaster(rng, tuning.wants_pause)
        self._master_first = False
        """Whether this node asks the master first, or its peers."""

    @property
    def sources(self) -> int:
        """The number of servers that chunks can come from now."""
        return len(self._peers) + bool(self._master)

    @property
    def next_tick(self) -> float:
        """When `tick` is to be called at the latest."""
        return min(self._next_check, self._master.report_due) if self._picker.lacking else inf

    def begin(self, generation: bytes, chunk_count: int, lacking: int, buffers: int, now: float) -> list[Action]:
        """Start to download the `lacking` chunks of a generation. At most `buffers` chunks are in memory at once.

        No other download is running.
        """
        self._picker = Picker(lacking, self._random)
        self._free_buffers = buffers
        self._last_arrival = self._next_check = now
        self._mismatches.begin()
        self._comparison = MasterComparison(self._tuning.master_slots, self._random, now)
        self._known.begin(generation)
        self._master.begin(chunk_count)
        if not lacking:
            self._actions.append(actions.Finished())
        return self._find_sources(now)

    def end(self) -> None:
        """The download has finished or failed. The caller has closed every connection to a peer and every slot."""
        self._picker = Picker(0, self._random)
        self._peers.clear()
        self._round_trips.clear()
        self._master.close()

    # Peers.

    def master_named(self, peers: Iterable[Address], master_first: bool, now: float) -> list[Action]:
        """The master names the peers of this node, and says whether it asks the master first."""
        self._master_first = master_first
        self._known.name(peers)
        return self._find_sources(now)

    def peer_registered(self, peer: Address, generation: bytes, now: float) -> list[Action]:
        """A peer says where it serves, and which generation."""
        self._known.register(peer, generation)
        return self._find_sources(now)

    @property
    def host_attempts(self) -> HostAttempts:
        """Of all connections of this node to peers, also those that others make."""
        return self._known.host_attempts

    def peer_connected(self, peer: Address, round_trip: float = 0.0) -> None:
        """`round_trip`: seconds that a message to the peer and its reply take at least."""
        self._known.connected(peer)
        if self._picker.lacking:
            self._peers.connected(peer)
            self._round_trips[peer] = round_trip

    def peer_has(self, peer: Address, chunks: int, now: float) -> list[Action]:
        """A peer says which chunks it holds, as bits."""
        if peer in self._peers and self._picker.lacking:
            self._picker.peer_has(peer, chunks)
            self._request_slot(peer, now)
        return self._decided()

    def peer_gone(self, peer: Address, now: float) -> list[Action]:
        """A connection to a peer could not be made, or is lost, with what was being read from it."""
        self._drop_peer(peer)
        self._known.lost(peer, now)
        return self._use_buffers(now)

    def slot_granted(self, peer: Address, now: float) -> list[Action]:
        """A peer grants the slot that was requested. The chunk is chosen only now."""
        was_overdue = self._peers.is_overdue(peer)
        if self._peers.granted(peer, now):
            if was_overdue:
                self._picker.speed.resume(peer)
            chunk = self._pick(peer, now)
            if chunk is None:
                self._actions.append(actions.PassSlot(peer))
            else:
                self._peers.read(peer, chunk, now)
                self._fetch(peer, chunk, now)
        return self._decided()

    # The master.

    def master_connected(self, now: float, round_trip: float = 0.0) -> list[Action]:
        """The connection for small messages is there. `round_trip`: as in `peer_connected`."""
        self._master.connected(round_trip)
        return self._find_sources(now)

    def master_lost(self, now: float) -> list[Action]:
        """The connection for small messages is lost, with all slots and what was being read from the master."""
        self._master.lost()
        return self.master_slots_lost(now)

    def master_slots_lost(self, now: float) -> list[Action]:
        """The slots could not be opened, or are closed, with what was being read; the master is still there."""
        for chunk in self._master.close():
            self._not_fetched(MASTER, chunk)
        self._master.failed(now)
        return self._use_buffers(now)

    def master_slot_opened(self, slot: int, now: float) -> list[Action]:
        if slot in self._master:
            self._report_wants(now)
            self._actions.append(actions.AskMasterSlot(slot))
        return self._decided()

    def chunk_offered(self, slot: int, chunk: int, now: float) -> list[Action]:
        """The master offers a chunk of this generation on a slot."""
        if slot in self._master:
            self._master.offered(now)
            self._actions += map(actions.OpenMasterSlot, self._master.open_others(self._tuning.master_slots))
            self._take_offer(slot, chunk, now)
        return self._decided()

    # Chunks. `source` is a peer, or MASTER.

    def chunk_arrived(self, source: Address, chunk: int, now: float) -> list[Action]:
        """All bytes of a chunk are there; it is not verified yet."""
        self._last_arrival = now
        self._picker.arrived(chunk)
        if source == MASTER:
            self._comparison.master_sent(chunk, now)
        else:
            self._comparison.peer_sent(now)
            self._known.useful(source)
        self._end_slot(source, chunk, now)
        return self._decided()

    def chunk_failed(self, source: Address, chunk: int, now: float) -> list[Action]:
        """A source that is still connected refuses to send a chunk. A peer does not hold it, whatever it said."""
        self._not_fetched(source, chunk)
        self._picker.peer_lost(source, chunk)
        if source in self._peers:
            self._suspend(source, f"it refuses chunk {chunk}", now)
        self._end_slot(source, chunk, now)
        return self._use_buffers(now)

    def chunk_written(self, source: Address, chunk: int, now: float) -> list[Action]:
        """A chunk is verified and on disk. Fetching it from another source stops."""
        self._free_buffers += 1
        was_lacking = self._picker.lacking  # empty when this is the second copy of the last chunk
        for other in self._picker.done(chunk, source, now):
            self._cancel(other, chunk, now)
        if was_lacking and not self._picker.lacking:
            self._actions.append(actions.Finished())
        return self._use_buffers(now)

    def chunk_incomplete(self, source: Address, chunk: int, now: float) -> list[Action]:
        """A chunk is verified and written, except a part that another source sent too and that is being written now."""
        self._not_fetched(source, chunk)
        return self._use_buffers(now)

    def chunk_wrong(self, source: Address, chunk: int, error: PieceMismatch, now: float) -> list[Action]:
        """A chunk failed verification. A peer that sent it is not used again; the master may try `retries` times."""
        self._not_fetched(source, chunk)
        if source != MASTER:
            self._drop_peer(source)
            self._known.distrust(source)
        self._actions += self._mismatches.act_on(source, chunk, error)
        return self._use_buffers(now)

    def tick(self, now: float) -> list[Action]:
        """Time has passed. To be called at `next_tick`; earlier or later does no harm."""
        if self._picker.lacking and now >= self._master.report_due:
            self._report_wants(now)
        if self._picker.lacking and now >= self._next_check:
            self._next_check = now + _CHECK_EVERY
            self._check_deadlines(now)
            return self._find_sources(now) + self._use_buffers(now)
        return self._decided()

    # What the events have in common.

    def _decided(self) -> list[Action]:
        decided, self._actions = self._actions, []
        return decided

    def _find_sources(self, now: float) -> list[Action]:
        """Connect to peers that are new, and open the first slot at the master if it is time for that."""
        lacking = self._picker.lacking
        if lacking:
            self._actions += map(actions.Connect, self._known.to_connect(now))
            if self._master.may_open(self._asks_master(now), self._last_arrival, now):
                self._actions.append(actions.OpenMasterSlot(self._master.open_first(lacking, now)))
        return self._decided()

    def _asks_master(self, now: float) -> bool:
        """Whether this node asks the master as well as its peers, also while these send something."""
        return self._master_first or self._comparison.peers_are_slow(self._picker.lacking.bit_count(), now)

    def _drop_peer(self, peer: Address) -> None:
        if peer in self._peers:
            self._free_buffers += self._peers.gone(peer)
            del self._round_trips[peer]
            self._picker.peer_gone(peer)

    def _suspend(self, peer: Address, why: str, now: float, *, until_granted: bool = False) -> None:
        self._picker.suspend(peer, now, until_resumed=until_granted)
        self._actions.append(actions.Suspended(peer, why))

    def _check_deadlines(self, now: float) -> None:
        """Suspend the peers that owe a chunk or a slot for too long, and resume those whose time is over."""
        for source, chunk in self._picker.overdue(now):
            if source in self._peers:
                self._suspend(source, f"chunk {chunk} is overdue", now)
        for peer in self._peers.become_overdue(self._picker.speed.usual, now):
            self._suspend(peer, "it grants no slot", now, until_granted=True)
        for peer in self._picker.speed.may_be_resumed(now):
            self._picker.speed.resume(peer)
        if now >= self._last_arrival + max(_STANDSTILL, _STANDSTILL_CHUNKS * self._picker.speed.usual):
            for peer in self._peers.not_overdue():
                self._picker.speed.resume(peer)
        if self._master.offer_is_overdue(self._last_arrival, self._picker.speed.usual, now):
            # Whatever the master believes of this node, it begins anew.
            self._master.close()
            self._actions.append(actions.CloseMasterSlots())
        while self._picker.overdue_count > self._fetches or (self._picker.overdue_count and not self._free_buffers):
            longest = self._picker.longest_overdue()
            if longest is None or not self._cancel(*longest, now):
                break

    def _report_wants(self, now: float) -> None:
        wanted = self._picker.unavailable & ~self._master.reading
        if self._comparison.master_is_faster(now):
            wanted |= self._picker.not_fetching
        elif not wanted and not self._master.reading and self._asks_master(now) and self._comparison.must_probe(now):
            wanted = self._picker.probe
        if self._master.wants.must_report(wanted, now):
            self._actions.append(actions.SendWants(wanted))

    def _take_offer(self, slot: int, chunk: int, now: float) -> None:
        if not self._free_buffers:
            self._master.postponed.append((slot, chunk))
        elif self._picker.take(chunk, MASTER, now):
            self._master.read(slot, chunk, now)
            self._comparison.asked_master(chunk, now)
            self._fetch(MASTER, chunk, now)
        else:
            self._ask_master(slot, chunk)

    def _ask_master(self, slot: int, former: int) -> None:
        self._master.wants.took(former)
        self._actions.append(actions.AskMasterSlot(slot))

    def _fetch(self, source: Address, chunk: int, now: float) -> None:
        replaced = self._picker.replaced(chunk)
        if replaced is not None:
            self._cancel(replaced, chunk, now)
        self._free_buffers -= 1
        self._actions.append(actions.Fetch(source, chunk))

    def _cancel(self, source: Address, chunk: int, now: float) -> bool:
        """Stop to read a chunk from a source. Returns whether it was being read: it may have arrived already."""
        is_read = self._master.is_reading(chunk) if source == MASTER else self._peers.reads(source, chunk)
        if is_read:
            self._not_fetched(source, chunk)
            self._actions.append(actions.Cancel(source, chunk))
            self._end_slot(source, chunk, now)
        return is_read

    def _not_fetched(self, source: Address, chunk: int) -> None:
        """A chunk does not arrive, or cannot be used."""
        self._free_buffers += 1
        self._picker.failed(chunk, source)

    def _end_slot(self, source: Address, chunk: int, now: float) -> None:
        """A slot was used: ask for the next chunk there, or pass the slot."""
        if source == MASTER:
            slot = self._master.ended(chunk, now)
            if slot is not None:
                self._ask_master(slot, chunk)
        elif (since := self._peers.ended(source, chunk)) is not None:
            self._in_transit.add(now - since, self._round_trips[source])
            if not self._request_slot(source, now):
                self._actions.append(actions.PassSlot(source))

    @property
    def _flights(self) -> int:
        """The number of chunks that the node waits for: overdue ones do not count, as far as they are not too many."""
        return self._picker.fetching - min(self._picker.overdue_count, _OVERDUE_FETCHES * self._fetches)

    @property
    def _fetches(self) -> int:
        """The number of chunks to fetch at once."""
        return self._in_transit.widen(self._tuning.fetches)

    @property
    def _slots_at_a_peer(self) -> int:
        """One, unless a distance makes chunks be fetched in greater number: then so many that half of the slots that
        may be requested find room at the peers."""
        fetches = self._fetches
        if fetches == self._tuning.fetches:
            return 1
        return ceil(self._tuning.requests * fetches / (2 * max(1, len(self._peers))))

    def _may_request(self) -> bool:
        room = self._fetches - self._flights
        return self._peers.waiting < self._tuning.requests * room and self._free_buffers > 0

    def _request_slot(self, peer: Address, now: float) -> bool:
        """Request a slot of a peer, if it would be used. Returns whether it is requested."""
        is_free = self._peers.is_free(peer, self._slots_at_a_peer)
        if not (is_free and self._may_request() and self._picker.wants(peer, now)):
            return False
        if not self._peers.has_share(peer, self._tuning.requests * self._fetches):
            return False
        self._peers.request(peer, now)
        self._actions.append(actions.RequestSlot(peer))
        return True

    def _pick(self, peer: Address, now: float) -> int | None:
        """The chunk to fetch from a peer that has granted a slot."""
        may_fetch = self._flights < self._fetches and self._free_buffers > 0
        if may_fetch and self._peers.has_share(peer, self._fetches, reading=True):
            return self._picker.pick(peer, now)
        return None

    def _use_buffers(self, now: float) -> list[Action]:
        """A buffer may be free again: take what the master offered, request slots of peers."""
        while self._master.postponed and self._free_buffers:
            self._take_offer(*self._master.postponed.popleft(), now)
        if self._picker.lacking and self._may_request():
            for peer in self._peers.free_in_fair_order(self._random, self._slots_at_a_peer):
                self._request_slot(peer, now)
        return self._decided()
