"""All that a node knows of its swarm, and what it does next: events in, actions out.

A `Downloader` is the one owner of this state: the peers and what they have, the chunks that are being fetched and from
whom, the slots at peers and at the master, the buffers, and the readers that this node uploads to. Every event is a
method, which changes the state and returns the actions that follow (`swarm.actions`) in the order in which they are
to be carried out. Nothing else changes the state. There is no I/O here: times are arguments (monotonic seconds), and
chance is a `Random`. `node/transfer.py` connects it to sockets and the disk, `test/sim/node.py` to a simulated network.

How a chunk gets here:

    from a peer        RequestSlot, slot_granted, Fetch, chunk_arrived, chunk_written
    from the master    OpenMasterSlot, master_slot_opened, AskMasterSlot, chunk_offered, Fetch, chunk_arrived, ...

A node chooses the chunk to fetch from a peer when that grants a slot (`picker`); the master chooses what it offers.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import TYPE_CHECKING

from xget_lib.errors import NoGoodSource, PieceMismatch
from xget_lib.swarm.actions import (
    MASTER,
    Action,
    Announce,
    AskMasterSlot,
    Cancel,
    Connect,
    Disconnect,
    Failed,
    Fetch,
    Finished,
    GrantUploadSlot,
    OpenMasterSlot,
    PassSlot,
    RequestSlot,
    SendRemark,
    SendReport,
    SendWants,
)
from xget_lib.swarm.known_peers import KnownPeers
from xget_lib.swarm.messages import Address
from xget_lib.swarm.offer_slots import OfferSlots
from xget_lib.swarm.pace import Pace
from xget_lib.swarm.peer_slots import PeerSlots
from xget_lib.swarm.picker import Picker
from xget_lib.swarm.report_pace import ReportPace
from xget_lib.swarm.tuning import Tuning
from xget_lib.swarm.upload_slots import UploadSlots

if TYPE_CHECKING:
    from random import Random

_LOOK_EVERY = 0.25
"""Seconds between two looks at what changes by time alone."""


class Downloader:
    """One for the whole life of a node, whatever generations it downloads."""

    def __init__(self, tuning: Tuning, source: Random, now: float, *, retries: int = 0) -> None:
        """`retries`: how often the master may send a chunk again that was wrong."""
        self._tuning = tuning
        self._random = source
        self._retries = retries
        self._actions: list[Action] = []
        self.next_tick = inf
        """When `tick` is to be called at the latest."""
        self._next_look = inf

        # The download of the newest generation.
        self._chunk_count = 0
        self._picker = Picker(0, source)
        self._free_buffers = 0
        self._last_arrival = now
        self._wrong_from_master: dict[int, int] = {}
        """How often each chunk was wrong."""

        # Where chunks come from.
        self._known = KnownPeers(source)
        self._peers = PeerSlots()
        self._master = OfferSlots(source, tuning.takes_pause)
        self._direct = False
        """Whether this node takes from the master at once."""

        # The readers, and the master as one of them.
        self._upload_slots: UploadSlots[int] = UploadSlots(tuning.uploads)
        self._pace = Pace(tuning.have_chunks, tuning.have_least, tuning.have_most)
        self._reports = ReportPace(tuning.report_pause, now)
        self._served = b""

    @property
    def lacking(self) -> int:
        """The chunks that are not written yet, as bits."""
        return self._picker.lacking

    @property
    def sources(self) -> int:
        """The number of servers that chunks can come from now."""
        return len(self._peers) + bool(self._master)

    # The beginning and the end of a download.

    def begin(self, generation: bytes, chunk_count: int, lacking: int, buffers: int, now: float) -> list[Action]:
        """Download these chunks of a generation, with so many buffers of one chunk each. No other download is on."""
        self._chunk_count = chunk_count
        self._picker = Picker(lacking, self._random)
        self._free_buffers = buffers
        self._last_arrival = now
        self._wrong_from_master.clear()
        self._known.begin(generation)
        self._master.be_patient()
        if not lacking:
            self._finish(now)
        else:
            self._connect()
            self._open_master(now)
            self._next_look = now
            self._wake_by(now)
        return self._decided()

    def end(self) -> None:
        """The download is finished or given up; every connection to a peer and every slot is closed by now."""
        self._picker = Picker(0, self._random)
        self._peers.clear()
        self._master.close()

    # Peers.

    def master_named(self, peers: Iterable[Address], direct: bool, now: float) -> list[Action]:
        """The master names the peers of this node, and says whether it takes from the master at once."""
        self._direct = direct
        self._known.name(peers)
        self._connect()
        self._open_master(now)
        return self._decided()

    def peer_introduced(self, peer: Address, generation: bytes) -> list[Action]:
        """A peer says where it serves, and which generation."""
        self._known.introduce(peer, generation)
        self._connect()
        return self._decided()

    def peer_connected(self, peer: Address) -> list[Action]:
        if self._picker.lacking:
            self._peers.connected(peer)
        return self._decided()

    def peer_has(self, peer: Address, chunks: int, now: float) -> list[Action]:
        """A peer says which chunks it holds, as bits."""
        if peer in self._peers and self._picker.lacking:
            self._picker.peer_has(peer, chunks)
            self._request_slot(peer, now)
        return self._decided()

    def peer_gone(self, peer: Address, now: float) -> list[Action]:
        """A connection to a peer could not be made, or is lost, with what was being read from it."""
        self._drop_peer(peer)
        pause = self._known.lost(peer)
        if pause is not None and self._picker.lacking:
            self._actions.append(Connect(peer, pause))
        self._use_buffers(now)
        return self._decided()

    def slot_granted(self, peer: Address, now: float) -> list[Action]:
        """A peer grants the slot that was requested: the chunk is chosen only now."""
        if self._peers.granted(peer):
            chunk = self._picker.pick(peer, now) if self._may_fetch() else None
            if chunk is None:
                self._actions.append(PassSlot(peer))
            else:
                self._peers.read(peer, chunk)
                self._fetch(peer, chunk)
        return self._decided()

    # The master.

    def master_connected(self, now: float) -> list[Action]:
        """The connection for small messages is there."""
        self._master.connected()
        self._master.be_patient()
        self._open_master(now)
        return self._decided()

    def master_lost(self, now: float) -> list[Action]:
        """The connection for small messages is lost, with all slots and what was being read from the master."""
        self._master.lost()
        self._drop_master()
        self._use_buffers(now)
        return self._decided()

    def master_slots_lost(self, now: float) -> list[Action]:
        """The slots could not be opened, or are closed, with what was being read; the master is still there."""
        self._drop_master()
        self._master.failed(now)
        self._use_buffers(now)
        return self._decided()

    def master_slot_opened(self, slot: int, now: float) -> list[Action]:
        if slot in self._master:
            self._report_wants(now, opened=True)
            self._actions.append(AskMasterSlot(slot))
        return self._decided()

    def chunk_offered(self, slot: int, chunk: int, now: float) -> list[Action]:
        """The master offers a chunk of this generation on a slot."""
        if slot in self._master:
            self._actions += [OpenMasterSlot(other) for other in self._master.open_others(self._tuning.slots)]
            self._take_offer(slot, chunk, now)
        return self._decided()

    # Chunks. `source` is a peer, or MASTER.

    def chunk_arrived(self, source: Address, chunk: int, now: float) -> list[Action]:
        """All bytes of a chunk are there; it is not verified yet."""
        self._last_arrival = now
        self._end_slot(source, chunk, now)
        return self._decided()

    def chunk_failed(self, source: Address, chunk: int, now: float) -> list[Action]:
        """A source that is still connected refuses to send a chunk. A peer does not hold it, whatever it said."""
        self._free_buffers += 1
        self._picker.failed(chunk, source)
        self._picker.peer_lost(source, chunk)
        self._end_slot(source, chunk, now)
        self._use_buffers(now)
        return self._decided()

    def chunk_written(self, source: Address, chunk: int, now: float) -> list[Action]:
        """A chunk is verified and on disk. Whoever else was to send it is told to stop."""
        self._free_buffers += 1
        was_lacking = self._picker.lacking  # empty when this is the second copy of the last chunk
        for other in self._picker.done(chunk, now):
            assert isinstance(other, tuple)
            if self._is_reading(other, chunk):
                self._free_buffers += 1
                self._actions.append(Cancel(other, chunk))
                self._end_slot(other, chunk, now)
        if was_lacking and not self._picker.lacking:
            self._finish(now)
        self._use_buffers(now)
        return self._decided()

    def chunk_incomplete(self, source: Address, chunk: int, now: float) -> list[Action]:
        """A chunk is verified and written but for a part that came from another source too and is being written."""
        self._free_buffers += 1
        self._picker.failed(chunk, source)
        self._use_buffers(now)
        return self._decided()

    def chunk_wrong(self, source: Address, chunk: int, error: PieceMismatch, now: float) -> list[Action]:
        """A chunk failed verification. A peer that sent it is not used again; the master may try `retries` times."""
        self._free_buffers += 1
        self._picker.failed(chunk, source)
        if source != MASTER:
            self._drop_peer(source)
            self._known.distrust(source)
            self._actions += [SendRemark(str(error)), Disconnect(source)]
        else:
            failures = self._wrong_from_master[chunk] = self._wrong_from_master.get(chunk, 0) + 1
            if failures > self._retries:
                self._actions.append(Failed(NoGoodSource(error.path, error.source)))
        self._use_buffers(now)
        return self._decided()

    # The readers of this node.

    def upload_slot_requested(self, key: int, now: float) -> list[Action]:
        """A reader requests an upload slot; the one that it had was used."""
        self._upload_slots.request(key, now)
        self._grant_upload_slots(now)
        return self._decided()

    def upload_slot_ended(self, key: int, now: float) -> list[Action]:
        """A reader passes its upload slot, or is gone."""
        self._upload_slots.end(key)
        self._grant_upload_slots(now)
        return self._decided()

    def serves(self, generation: bytes, held: int, now: float) -> list[Action]:
        """This node serves so many chunks of a generation from now on. The master hears at once of another generation
        than before, but not that a node that holds nothing knows its first one."""
        urgent = generation != self._served and bool(held or self._served)
        self._served = generation
        self._pace.restart()
        self._reports.changed(now, urgent=urgent)
        self._tell_readers(now)
        return self._decided()

    def held_changed(self, now: float) -> list[Action]:
        """This node holds more chunks than before, or less."""
        self._pace.changed(now)
        self._reports.changed(now)
        self._tell_readers(now)
        return self._decided()

    # Time.

    def tick(self, now: float) -> list[Action]:
        """Time has passed. To be called at `next_tick`; earlier or later does no harm."""
        self.next_tick = inf
        self._grant_upload_slots(now)
        self._tell_readers(now)
        if self._picker.lacking:
            if now >= self._next_look:
                self._next_look = now + _LOOK_EVERY
                self._open_master(now)
                self._use_buffers(now)
            self._report_wants(now)
            self._wake_by(min(self._next_look, self._master.report_due))
        return self._decided()

    # What the events have in common.

    def _decided(self) -> list[Action]:
        actions, self._actions = self._actions, []
        return actions

    def _wake_by(self, moment: float) -> None:
        self.next_tick = min(self.next_tick, moment)

    def _finish(self, now: float) -> None:
        self._actions.append(Finished())
        self._reports.changed(now, urgent=True)
        self._tell_readers(now)

    def _connect(self) -> None:
        if self._picker.lacking:
            self._actions += [Connect(peer, 0.0) for peer in self._known.to_connect()]

    def _drop_peer(self, peer: Address) -> None:
        if peer in self._peers:
            self._free_buffers += self._peers.gone(peer) is not None
            self._picker.peer_gone(peer)

    def _drop_master(self) -> None:
        for chunk in self._master.close():
            self._free_buffers += 1
            self._picker.failed(chunk, MASTER)

    def _open_master(self, now: float) -> None:
        if self._picker.lacking and self._master.may_open(self._direct, self._last_arrival, now):
            slot = self._master.open_first(self._chunk_count, self._picker.lacking)
            self._actions.append(OpenMasterSlot(slot))

    def _report_wants(self, now: float, *, opened: bool = False) -> None:
        if opened or now >= self._master.report_due:
            wanted = self._picker.unavailable
            if self._master.must_report(wanted, now):
                self._actions.append(SendWants(wanted))
            self._wake_by(self._master.report_due)

    def _take_offer(self, slot: int, chunk: int, now: float) -> None:
        if not self._free_buffers:
            self._master.postponed.append((slot, chunk))
        elif self._picker.take(chunk, MASTER, now):
            self._master.read(slot, chunk)
            self._fetch(MASTER, chunk)
        else:
            self._ask_master(slot, chunk)

    def _ask_master(self, slot: int, former: int) -> None:
        self._master.took(former)
        self._actions.append(AskMasterSlot(slot))

    def _fetch(self, source: Address, chunk: int) -> None:
        self._free_buffers -= 1
        self._actions.append(Fetch(source, chunk))

    def _is_reading(self, source: Address, chunk: int) -> bool:
        return self._master.is_reading(chunk) if source == MASTER else self._peers.is_reading(source, chunk)

    def _end_slot(self, source: Address, chunk: int, now: float) -> None:
        """A slot was used: ask for the next chunk there, or pass the slot."""
        if source == MASTER:
            slot = self._master.ended(chunk)
            if slot is not None:
                self._ask_master(slot, chunk)
        elif self._peers.is_reading(source, chunk):
            self._peers.ended(source)
            self._request_slot(source, now)
            if self._peers.is_free(source):
                self._actions.append(PassSlot(source))

    def _may_fetch(self) -> bool:
        return self._picker.fetching < self._tuning.flights and self._free_buffers > 0

    def _may_request(self) -> bool:
        room = self._tuning.flights - self._picker.fetching
        return self._peers.requested < self._tuning.asks * room and self._free_buffers > 0

    def _request_slot(self, peer: Address, now: float) -> None:
        """Request a slot of a peer, if it would be used."""
        if self._peers.is_free(peer) and self._may_request() and self._picker.wants(peer, now):
            self._peers.request(peer)
            self._actions.append(RequestSlot(peer))

    def _use_buffers(self, now: float) -> None:
        """Chunks can be fetched again, maybe: take what the master offered, request slots of peers."""
        while self._master.postponed and self._free_buffers:
            self._take_offer(*self._master.postponed.popleft(), now)
        if self._picker.lacking and self._may_request():
            for peer in self._random.sample(list(self._peers), len(self._peers)):
                if not self._may_request():
                    return
                self._request_slot(peer, now)

    def _grant_upload_slots(self, now: float) -> None:
        self._actions += [GrantUploadSlot(key) for key in self._upload_slots.grant(now)]
        if self._upload_slots.waiting:
            self._wake_by(now + _LOOK_EVERY)

    def _tell_readers(self, now: float) -> None:
        """Announce to the readers of `have`, and report to the master, what has changed, where it is time for that."""
        if now >= self._pace.due:
            self._pace.announced(now)
            self._actions.append(Announce())
        if now >= self._reports.due:
            self._reports.reported(now)
            self._actions.append(SendReport())
        self._wake_by(min(self._pace.due, self._reports.due))
