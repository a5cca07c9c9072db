"""The picker: what it picks is had, lacking and not on its way; rarest first; a second time only when late."""

from __future__ import annotations

from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from xget_lib.swarm.picker import Picker, bits

CHUNKS = 12
PEERS = st.sampled_from(["a", "b", "c", "d"])


def picker(lacking: int = (1 << CHUNKS) - 1) -> Picker:
    return Picker(lacking, Random(1))


def test_the_rarest_chunk_of_a_peer_is_picked_first() -> None:
    tested = picker()
    tested.peer_has("a", 0b111)
    tested.peer_has("b", 0b101)
    tested.peer_has("c", 0b100)
    assert [tested.pick("a", 0.0) for _ in range(3)] == [1, 0, 2]


def test_nodes_with_the_same_news_choose_differently() -> None:
    everything = (1 << 1000) - 1
    picked = set()
    for seed in range(20):
        tested = Picker(everything, Random(seed))
        tested.peer_has("a", everything)
        picked.add(tested.pick("a", 0.0))
    assert len(picked) > 15


def test_what_is_on_its_way_from_the_master_is_not_asked_of_a_peer() -> None:
    tested = picker(0b1)
    tested.peer_has("a", 0b1)
    assert tested.take(0, "master", 0.0)
    assert not tested.wants("a", 0.0)
    assert tested.pick("a", 0.0) is None


def test_a_chunk_is_not_taken_of_the_master_when_it_is_here_or_on_its_way() -> None:
    tested = picker(0b11)
    tested.peer_has("a", 0b01)
    assert tested.pick("a", 0.0) == 0
    assert not tested.take(0, "master", 0.0)
    tested.done(0, 1.0)
    assert not tested.take(0, "master", 1.0)


def test_a_chunk_that_takes_much_longer_than_usual_is_asked_of_one_more_peer_and_of_no_third() -> None:
    tested = picker(0b1)
    for peer in "abc":
        tested.peer_has(peer, 0b1)
    assert tested.pick("a", 0.0) == 0
    assert tested.pick("b", 1.0) is None
    assert tested.wants("b", 100.0)
    assert not tested.wants("a", 100.0)
    assert tested.pick("b", 100.0) == 0
    assert tested.pick("c", 1000.0) is None
    assert tested.done(0, 1001.0) == ["a", "b"]


def test_what_was_on_its_way_from_a_peer_that_is_gone_is_asked_of_another() -> None:
    tested = picker(0b11)
    tested.peer_has("a", 0b11)
    tested.peer_has("b", 0b11)
    lost = {tested.pick("a", 0.0), tested.pick("a", 0.0)}
    assert lost == {0, 1}
    assert set(tested.peer_gone("a")) == lost
    assert {tested.pick("b", 0.0), tested.pick("b", 0.0)} == lost


def test_what_a_peer_turns_out_not_to_have_is_not_asked_of_it_again() -> None:
    tested = picker(0b1)
    tested.peer_has("a", 0b1)
    assert tested.pick("a", 0.0) == 0
    tested.failed(0, "a")
    tested.peer_lost("a", 0)
    assert tested.pick("a", 0.0) is None
    assert tested.unavailable == 0b1


def slowed(peers: str) -> Picker:
    """A picker to which each of these peers took much longer than usual for a chunk; now is 100."""
    tested = picker()
    for chunk in range(6):
        tested.peer_has("z", 1 << chunk)
        assert tested.pick("z", 0.0) == chunk
        tested.done(chunk, 0.1)
    tested.peer_gone("z")
    for chunk, peer in enumerate(peers, 6):
        tested.peer_has(peer, 1 << chunk)
        assert tested.pick(peer, 90.0) == chunk
    for chunk in range(6, 6 + len(peers)):
        tested.done(chunk, 100.0)
    return tested


def test_of_a_slow_peer_only_that_is_asked_which_no_other_has() -> None:
    tested = slowed("s")
    tested.peer_has("s", 0b11 << 8)
    tested.peer_has("a", 0b01 << 8)
    assert tested.rests("s", 100.0)
    assert [tested.pick("s", 100.0), tested.pick("s", 100.0)] == [9, None]
    assert tested.pick("s", 1000.0) == 8


def test_what_only_slow_peers_have_is_asked_of_them() -> None:
    tested = slowed("st")
    tested.peer_has("s", 1 << 8)
    tested.peer_has("t", 1 << 8)
    assert tested.rests("s", 100.0) and tested.rests("t", 100.0)
    assert tested.pick("s", 100.0) == 8


class Picking(RuleBasedStateMachine):
    """The picker against sets that say the same in the plainest way."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.lacking = set(range(CHUNKS - 1))
        self.has: dict[str, set[int]] = {}
        self.flights: dict[int, list[str]] = {}
        self.picker = Picker(sum(1 << chunk for chunk in self.lacking), Random(0))

    @rule(peer=PEERS, chunks=st.integers(0, (1 << CHUNKS) - 1))
    def news(self, peer: str, chunks: int) -> None:
        self.picker.peer_has(peer, chunks)
        self.has[peer] = set(bits(chunks))

    @rule(peer=PEERS, seconds=st.sampled_from([0.0, 0.1, 50.0]))
    def pick(self, peer: str, seconds: float) -> None:
        self.now += seconds
        wanted, rested = self.picker.wants(peer, self.now), self.picker.rests(peer, self.now)
        chunk = self.picker.pick(peer, self.now)
        assert wanted == (chunk is not None)
        fresh = (self.has.get(peer, set()) & self.lacking) - self.flights.keys()
        if rested:
            fresh -= set().union(*(held for other, held in self.has.items() if not self.picker.rests(other, self.now)))
        if chunk is None:
            assert not fresh
            return
        assert chunk in self.has[peer] & self.lacking
        if fresh:
            assert chunk in fresh
            counts = {c: sum(c in held for held in self.has.values()) for c in fresh}
            assert counts[chunk] == min(counts.values())
        else:
            assert len(self.flights[chunk]) == 1
            assert peer not in self.flights[chunk]
        self.flights.setdefault(chunk, []).append(peer)

    @rule(chunk=st.integers(0, CHUNKS - 1))
    def take(self, chunk: int) -> None:
        taken = self.picker.take(chunk, "master", self.now)
        assert taken == (chunk in self.lacking and chunk not in self.flights)
        if taken:
            self.flights[chunk] = ["master"]

    @precondition(lambda self: self.flights)
    @rule(data=st.data(), good=st.booleans())
    def end(self, data: st.DataObject, good: bool) -> None:
        chunk = data.draw(st.sampled_from(sorted(self.flights)))
        source = data.draw(st.sampled_from(self.flights[chunk]))
        if good:
            assert self.picker.done(chunk, self.now) == self.flights.pop(chunk)
            self.lacking.discard(chunk)
        else:
            self.picker.failed(chunk, source)
            self.drop(chunk, source)

    @rule(peer=PEERS)
    def gone(self, peer: str) -> None:
        lost = [chunk for chunk, sources in self.flights.items() if peer in sources]
        assert sorted(self.picker.peer_gone(peer)) == sorted(lost)
        self.has.pop(peer, None)
        for chunk in lost:
            self.drop(chunk, peer)

    def drop(self, chunk: int, source: str) -> None:
        self.flights[chunk].remove(source)
        if not self.flights[chunk]:
            del self.flights[chunk]

    @invariant()
    def says_what_is_so(self) -> None:
        assert set(bits(self.picker.lacking)) == self.lacking
        assert self.picker.flights == len(self.flights)
        held = set().union(*self.has.values())
        assert set(bits(self.picker.unavailable)) == self.lacking - held - self.flights.keys()


Picking.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestPicking = Picking.TestCase
