"""The picker: it picks what a peer has and the node lacks; rarest first; from a second source only when late."""

from __future__ import annotations

from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from test.support.strategies import examples
from xget_lib.swarm.picker import Picker, bits

CHUNKS = 12
PEERS = st.sampled_from(["a", "b", "c", "d"])


def picker(lacking: int = (1 << CHUNKS) - 1) -> Picker[str]:
    return Picker(lacking, Random(1))


def test_the_rarest_chunk_of_a_peer_is_picked_first() -> None:
    tested = picker()
    tested.peer_has("a", 0b111)
    tested.peer_has("b", 0b101)
    tested.peer_has("c", 0b100)
    assert [tested.pick("a", 0.0) for _ in range(3)] == [1, 0, 2]


def test_nodes_with_the_same_knowledge_choose_differently() -> None:
    everything = (1 << 1000) - 1
    picked = set()
    for seed in range(20):
        tested: Picker[str] = Picker(everything, Random(seed))
        tested.peer_has("a", everything)
        picked.add(tested.pick("a", 0.0))
    assert len(picked) > 15


def test_a_chunk_that_comes_from_the_master_is_not_fetched_from_a_peer() -> None:
    tested = picker(0b1)
    tested.peer_has("a", 0b1)
    assert tested.take(0, "master", 0.0)
    assert not tested.wants("a", 0.0)
    assert tested.pick("a", 0.0) is None


def test_an_offer_is_not_taken_when_the_chunk_is_here_or_being_fetched() -> None:
    tested = picker(0b11)
    tested.peer_has("a", 0b01)
    assert tested.pick("a", 0.0) == 0
    assert not tested.take(0, "master", 0.0)
    tested.done(0, 1.0)
    assert not tested.take(0, "master", 1.0)


def test_a_late_chunk_is_fetched_from_one_more_peer_and_from_no_third() -> None:
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


def test_what_a_lost_peer_was_sending_is_fetched_from_another() -> None:
    tested = picker(0b11)
    tested.peer_has("a", 0b11)
    tested.peer_has("b", 0b11)
    lost = {tested.pick("a", 0.0), tested.pick("a", 0.0)}
    assert lost == {0, 1}
    tested.peer_gone("a")
    assert {tested.pick("b", 0.0), tested.pick("b", 0.0)} == lost


def test_what_a_peer_does_not_have_after_all_is_not_fetched_from_it_again() -> None:
    tested = picker(0b1)
    tested.peer_has("a", 0b1)
    assert tested.pick("a", 0.0) == 0
    tested.failed(0, "a")
    tested.peer_lost("a", 0)
    assert tested.pick("a", 0.0) is None
    assert tested.unavailable == 0b1


def slowed(peers: str) -> Picker[str]:
    """A picker for which each of these peers took much longer than usual for a chunk; the time is 100."""
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


def test_only_what_no_other_peer_has_is_fetched_from_a_slow_one() -> None:
    tested = slowed("s")
    tested.peer_has("s", 0b11 << 8)
    tested.peer_has("a", 0b01 << 8)
    assert tested.speed.is_slow("s", 100.0)
    assert [tested.pick("s", 100.0), tested.pick("s", 100.0)] == [9, None]
    assert tested.pick("s", 1000.0) == 8


def test_what_only_slow_peers_have_is_fetched_from_them() -> None:
    tested = slowed("st")
    tested.peer_has("s", 1 << 8)
    tested.peer_has("t", 1 << 8)
    assert tested.speed.is_slow("s", 100.0) and tested.speed.is_slow("t", 100.0)
    assert tested.pick("s", 100.0) == 8


class AnyOrder(RuleBasedStateMachine):
    """The picker against a model made of plain sets."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.lacking = set(range(CHUNKS - 1))
        self.has: dict[str, set[int]] = {}
        self.fetched: dict[int, list[str]] = {}
        self.picker: Picker[str] = Picker(sum(1 << chunk for chunk in self.lacking), Random(0))

    @rule(peer=PEERS, chunks=st.integers(0, (1 << CHUNKS) - 1))
    def peer_has(self, peer: str, chunks: int) -> None:
        self.picker.peer_has(peer, chunks)
        self.has[peer] = set(bits(chunks))

    @rule(peer=PEERS, seconds=st.sampled_from([0.0, 0.1, 50.0]))
    def pick(self, peer: str, seconds: float) -> None:
        self.now += seconds
        wanted, slow = self.picker.wants(peer, self.now), self.picker.speed.is_slow(peer, self.now)
        chunk = self.picker.pick(peer, self.now)
        assert wanted == (chunk is not None)
        fresh = (self.has.get(peer, set()) & self.lacking) - self.fetched.keys()
        if slow:
            fresh -= set().union(
                *(held for other, held in self.has.items() if not self.picker.speed.is_slow(other, self.now))
            )
        if chunk is None:
            assert not fresh
            return
        assert chunk in self.has[peer] & self.lacking
        if fresh:
            assert chunk in fresh
            counts = {c: sum(c in held for held in self.has.values()) for c in fresh}
            assert counts[chunk] == min(counts.values())
        else:
            assert len(self.fetched[chunk]) == 1
            assert peer not in self.fetched[chunk]
        self.fetched.setdefault(chunk, []).append(peer)

    @rule(chunk=st.integers(0, CHUNKS - 1))
    def take(self, chunk: int) -> None:
        taken = self.picker.take(chunk, "master", self.now)
        assert taken == (chunk in self.lacking and chunk not in self.fetched)
        if taken:
            self.fetched[chunk] = ["master"]

    @precondition(lambda self: self.fetched)
    @rule(data=st.data(), good=st.booleans())
    def end(self, data: st.DataObject, good: bool) -> None:
        chunk = data.draw(st.sampled_from(sorted(self.fetched)))
        source = data.draw(st.sampled_from(self.fetched[chunk]))
        if good:
            assert self.picker.done(chunk, self.now) == self.fetched.pop(chunk)
            self.lacking.discard(chunk)
        else:
            self.picker.failed(chunk, source)
            self.drop(chunk, source)

    @rule(peer=PEERS)
    def gone(self, peer: str) -> None:
        lost = [chunk for chunk, sources in self.fetched.items() if peer in sources]
        self.picker.peer_gone(peer)
        self.has.pop(peer, None)
        for chunk in lost:
            self.drop(chunk, peer)

    def drop(self, chunk: int, source: str) -> None:
        self.fetched[chunk].remove(source)
        if not self.fetched[chunk]:
            del self.fetched[chunk]

    @invariant()
    def agrees_with_the_model(self) -> None:
        assert set(bits(self.picker.lacking)) == self.lacking
        assert self.picker.fetching == len(self.fetched)
        held = set().union(*self.has.values())
        assert set(bits(self.picker.unavailable)) == self.lacking - held - self.fetched.keys()


AnyOrder.TestCase.settings = settings(max_examples=examples(200), stateful_step_count=40, deadline=None)
TestAnyOrder = AnyOrder.TestCase
