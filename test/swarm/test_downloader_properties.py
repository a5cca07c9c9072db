"""A `Downloader` in a world where anything happens in any order: it breaks no rule, and it finishes when it can."""

from __future__ import annotations

from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from test.support.strategies import examples
from xget_lib.errors import PieceMismatch
from xget_lib.swarm.actions import (
    MASTER,
    Action,
    AskMasterSlot,
    Cancel,
    CloseMasterSlots,
    Connect,
    Disconnect,
    Fetch,
    Finished,
    GiveUp,
    OpenMasterSlot,
    PassSlot,
    RequestSlot,
    SendWants,
)
from xget_lib.swarm.downloader import Downloader
from xget_lib.swarm.messages import Address
from xget_lib.swarm.tuning import Tuning

GENERATION = bytes(32)
CHUNKS = 5
BUFFERS = 3
PEERS = [("10.0.0.1", port) for port in range(1, 5)]
WRONG = PieceMismatch(b"file", 0, "somebody")


class World(RuleBasedStateMachine):
    """Peers, a master and a disk, as the downloader's actions leave them. `reading` and `writing` use buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.downloader = Downloader(Tuning(), Random(0), 0.0, retries=1000)
        self.lacking: set[int] = set()
        self.finished = False
        self.connecting: set[Address] = set()
        self.connected: dict[Address, bool] = {}
        """Whether a slot is requested of each peer."""
        self.granted: set[Address] = set()
        self.bad: set[Address] = set()
        self.reading: list[tuple[Address, int]] = []
        self.writing: list[tuple[Address, int]] = []
        self.master = False
        self.opening: set[int] = set()
        self.asking: set[int] = set()
        self.slot_open = False

    @initialize(lacking=st.sets(st.integers(0, CHUNKS - 1), min_size=1), connected=st.booleans())
    def begin(self, lacking: set[int], connected: bool) -> None:
        self.lacking = lacking
        chunks = sum(1 << chunk for chunk in lacking)
        self.carry_out(self.downloader.begin(GENERATION, CHUNKS, chunks, BUFFERS, 0.0))
        self.master_names(set(PEERS), True)
        if connected:
            for peer in PEERS:
                self.connecting.discard(peer)
                self.connected[peer] = False
                self.downloader.peer_connected(peer)
                self.carry_out(self.downloader.peer_has(peer, chunks, 0.0))
            self.master_comes_or_goes()

    def carry_out(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Connect(peer):
                    assert peer not in self.connecting and peer not in self.connected and peer not in self.bad
                    self.connecting.add(peer)
                case Disconnect(peer):
                    self.drop(peer)
                case RequestSlot(peer):
                    assert self.connected[peer] is False, "a slot is requested twice"
                    assert (peer not in self.granted) or not self.reads(peer)
                    self.connected[peer] = True
                    self.granted.discard(peer)
                case PassSlot(peer):
                    assert peer in self.granted, "a slot that was not granted is passed"
                    self.granted.discard(peer)
                case Fetch(source, chunk):
                    assert chunk in self.lacking
                    assert source == MASTER or source in self.granted
                    assert not any(chunk == other and source == whose for whose, other in self.reading)
                    self.reading.append((source, chunk))
                    assert sum(chunk == other for _, other in self.reading) <= 2, "fetched from a third source"
                case Cancel(source, chunk):
                    self.reading.remove((source, chunk))
                case OpenMasterSlot(slot):
                    assert self.master and slot not in self.opening | self.asking
                    self.opening.add(slot)
                case CloseMasterSlots():
                    assert MASTER not in [source for source, _ in self.reading]
                    self.drop_slots()
                case AskMasterSlot(slot):
                    assert self.master and slot not in self.asking
                    self.asking.add(slot)
                case SendWants():
                    assert self.slot_open, "there is no open slot to write to"
                case Finished():
                    assert not self.lacking and not self.finished
                    self.finished = True
                case GiveUp():
                    raise AssertionError("the master was given up")
                case _:
                    pass
            assert len(self.reading) + len(self.writing) <= BUFFERS, "more chunks than buffers"

    def reads(self, source: Address) -> list[int]:
        return [chunk for other, chunk in self.reading if other == source]

    def drop(self, peer: Address) -> None:
        self.connected.pop(peer, None)
        self.granted.discard(peer)
        self.reading = [(source, chunk) for source, chunk in self.reading if source != peer]

    def drop_slots(self) -> None:
        self.opening.clear()
        self.asking.clear()
        self.slot_open = False
        self.drop(MASTER)

    @rule(peers=st.sets(st.sampled_from(PEERS), min_size=2), master_first=st.booleans())
    def master_names(self, peers: set[Address], master_first: bool) -> None:
        self.carry_out(self.downloader.master_named(peers, master_first, self.now))

    @rule(peer=st.sampled_from(PEERS), right=st.booleans())
    def peer_registers(self, peer: Address, right: bool) -> None:
        self.carry_out(self.downloader.peer_registered(peer, GENERATION if right else b"x" * 32, self.now))

    @precondition(lambda self: self.connecting)
    @rule(data=st.data(), well=st.booleans())
    def connecting_ends(self, data: st.DataObject, well: bool) -> None:
        peer = data.draw(st.sampled_from(sorted(self.connecting)))
        self.connecting.remove(peer)
        if well:
            self.connected[peer] = False
            self.downloader.peer_connected(peer)
        else:
            self.carry_out(self.downloader.peer_gone(peer, self.now))

    @precondition(lambda self: self.connected)
    @rule(data=st.data(), chunks=st.integers(0, (1 << CHUNKS) - 1) | st.just((1 << CHUNKS) - 1))
    def peer_has(self, data: st.DataObject, chunks: int) -> None:
        peer = data.draw(st.sampled_from(sorted(self.connected)))
        self.carry_out(self.downloader.peer_has(peer, chunks, self.now))

    @precondition(lambda self: self.connected)
    @rule(data=st.data())
    def peer_goes(self, data: st.DataObject) -> None:
        peer = data.draw(st.sampled_from(sorted(self.connected)))
        self.drop(peer)
        self.carry_out(self.downloader.peer_gone(peer, self.now))

    @precondition(lambda self: any(self.connected.values()))
    @rule(count=st.integers(1, 3))
    def peers_grant_slots(self, count: int) -> None:
        for peer in [peer for peer, requested in self.connected.items() if requested][:count]:
            self.connected[peer] = False
            self.granted.add(peer)
            self.carry_out(self.downloader.slot_granted(peer, self.now))

    @rule()
    def master_comes_or_goes(self) -> None:
        self.master = not self.master
        if self.master:
            self.carry_out(self.downloader.master_connected(self.now))
        else:
            self.drop_slots()
            self.carry_out(self.downloader.master_lost(self.now))

    @precondition(lambda self: self.opening)
    @rule(well=st.booleans())
    def slot_at_the_master_opens(self, well: bool) -> None:
        slot = self.opening.pop()
        if well:
            self.slot_open = True
            self.carry_out(self.downloader.master_slot_opened(slot, self.now))
        else:
            self.drop_slots()
            self.carry_out(self.downloader.master_slots_lost(self.now))

    @precondition(lambda self: self.asking)
    @rule(chunk=st.integers(0, CHUNKS - 1))
    def master_offers(self, chunk: int) -> None:
        self.carry_out(self.downloader.chunk_offered(self.asking.pop(), chunk, self.now))

    @precondition(lambda self: self.reading)
    @rule(data=st.data(), well=st.booleans())
    def chunk_arrives_or_is_refused(self, data: st.DataObject, well: bool) -> None:
        source, chunk = data.draw(st.sampled_from(self.reading))
        self.reading.remove((source, chunk))
        if well:
            self.writing.append((source, chunk))
            self.carry_out(self.downloader.chunk_arrived(source, chunk, self.now))
        else:
            self.carry_out(self.downloader.chunk_failed(source, chunk, self.now))

    @precondition(lambda self: self.writing)
    @rule(data=st.data(), how=st.sampled_from(["written", "incomplete", "wrong"]))
    def writing_ends(self, data: st.DataObject, how: str) -> None:
        source, chunk = data.draw(st.sampled_from(self.writing))
        self.writing.remove((source, chunk))
        if how == "written":
            self.lacking.discard(chunk)
            self.carry_out(self.downloader.chunk_written(source, chunk, self.now))
        elif how == "incomplete":
            self.carry_out(self.downloader.chunk_incomplete(source, chunk, self.now))
        else:
            if source != MASTER:
                self.bad.add(source)
            self.carry_out(self.downloader.chunk_wrong(source, chunk, WRONG, self.now))

    @rule(seconds=st.sampled_from([0.01, 0.3, 10.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.carry_out(self.downloader.tick(self.now))

    @invariant()
    def knows_what_is_lacking(self) -> None:
        assert self.downloader._picker.lacking == sum(1 << chunk for chunk in self.lacking)

    def teardown(self) -> None:
        """From whatever state: with a master that answers, it finishes."""
        if not self.master:
            self.master_comes_or_goes()
        self.carry_out(self.downloader.master_named([], True, self.now))
        for _ in range(100 * CHUNKS):
            if self.finished:
                return
            self.time_passes(0.3)
            for source, chunk in list(self.writing):
                self.writing.remove((source, chunk))
                self.lacking.discard(chunk)
                self.carry_out(self.downloader.chunk_written(source, chunk, self.now))
            for source, chunk in list(self.reading):
                if source == MASTER and (source, chunk) in self.reading:
                    self.reading.remove((source, chunk))
                    self.writing.append((source, chunk))
                    self.carry_out(self.downloader.chunk_arrived(source, chunk, self.now))
            for peer in list(self.connected):
                self.drop(peer)
                self.carry_out(self.downloader.peer_gone(peer, self.now))
            for slot in list(self.opening):
                self.opening.discard(slot)
                self.slot_open = True
                self.carry_out(self.downloader.master_slot_opened(slot, self.now))
            for slot in list(self.asking):
                self.asking.discard(slot)
                chunk = min(self.lacking, default=0) if slot else max(self.lacking, default=0)
                self.carry_out(self.downloader.chunk_offered(slot, chunk, self.now))
        assert self.finished, f"{self.lacking} never arrived"


World.TestCase.settings = settings(max_examples=examples(60), stateful_step_count=60, deadline=None)
TestWorld = World.TestCase
