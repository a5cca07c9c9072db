"""The picker: it picks what a peer has and the node lacks; rarest first; from a second source only when late."""

from __future__ import annotations

import time
from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from test.support.strategies import examples
from xget_lib.swarm.picker import SOURCES, Picker, bits

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


def test_chunks_are_sorted_by_the_number_of_peers_that_have_them() -> None:
    dice, everything = Random(1), (1 << 5000) - 1
    tested: Picker[int] = Picker(everything, dice)
    has: dict[int, int] = {}
    for step in range(200):
        peer = dice.randrange(12)
        if step % 7 == 0 and peer in has:
            tested.peer_gone(peer)
            del has[peer]
        else:
            has[peer] = dice.choice((0, everything, dice.randrange(everything)))
            tested.peer_has(peer, has[peer])
    for chunk in range(0, 5000, 17):
        count = sum(each >> chunk & 1 for each in has.values())
        assert [level for level, chunks in enumerate(tested._levels) if chunks >> chunk & 1] == [count]


def test_a_peer_that_says_again_and_again_that_it_has_all_or_nothing_costs_little() -> None:
    """Of 200,000 chunks, 800 GB. Each change took 4 s when chunk after chunk was counted, and an honest peer took as
    long when it was connected."""
    tested, everything = Picker[str]((1 << 200_000) - 1, Random(1)), (1 << 200_000) - 1
    begun = time.process_time()
    for _ in range(50):
        tested.peer_has("a", everything)
        tested.peer_has("a", 0)
    assert time.process_time() - begun < 2.0


def test_the_bits_of_a_number_come_in_rising_order() -> None:
    for positions in ([], [0], [4095, 4096], [1, 5, 4097, 100_000, 299_999]):
        assert list(bits(sum(1 << each for each in positions))) == positions


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
    tested.done(0, "a", 1.0)
    assert not tested.take(0, "master", 1.0)


def test_a_late_chunk_is_fetched_from_one_more_peer() -> None:
    tested = picker(0b1)
    for peer in "abc":
        tested.peer_has(peer, 0b1)
    assert tested.pick("a", 0.0) == 0
    assert tested.pick("b", 1.0) is None
    assert tested.wants("b", 3.0)
    assert not tested.wants("a", 3.0)
    assert tested.pick("b", 3.0) == 0
    assert tested.replaced(0) is None
    assert tested.pick("c", 100.0) is None, "it is late, but not known to be overdue"
    assert tested.done(0, "b", 101.0) == ["a", "b"]


def test_an_overdue_chunk_is_wanted_from_the_master_and_its_offer_is_taken() -> None:
    tested = picker(0b1)
    tested.peer_has("a", 0b1)
    assert tested.pick("a", 0.0) == 0
    assert tested.overdue(3.9) == [] and tested.unavailable == 0
    assert tested.overdue(4.0) == [("a", 0)]
    assert (tested.unavailable, tested.overdue_count) == (0b1, 1)
    assert tested.take(0, "master", 4.0)
    assert tested.replaced(0) is None
    assert tested.overdue_count == 0
    assert not tested.take(0, "master", 5.0), "it is on its way from there"


def test_two_sources_that_send_nothing_do_not_hold_back_a_chunk() -> None:
    tested = picker(0b1)
    for peer in "abc":
        tested.peer_has(peer, 0b1)
    assert tested.pick("a", 0.0) == 0
    tested.overdue(4.0)
    assert tested.pick("b", 4.0) == 0
    assert tested.overdue(10.0) == [], "the link of this node may be slow: the second source gets twice the time"
    assert tested.overdue(30.0) == [("b", 0)]
    assert tested.pick("c", 30.0) == 0
    assert tested.replaced(0) == "a"
    assert tested.replaced(0) is None
    assert tested.unavailable == 0b1, "the third may send nothing either"
    assert tested.take(0, "master", 30.0)
    assert tested.replaced(0) == "b"
    assert tested.done(0, "master", 31.0) == ["c", "master"]


def test_the_longest_overdue_fetch_may_be_cancelled_if_others_are_faster() -> None:
    tested = picker(0b111)
    for number, peer in enumerate("abc"):
        tested.peer_has(peer, 1 << number)
        assert tested.pick(peer, float(number)) == number
    tested.overdue(50.0)
    assert tested.longest_overdue() is None, "perhaps nobody is faster"
    tested.done(2, "c", 51.0)
    assert tested.longest_overdue() == ("a", 0)
    tested.arrived(0)
    assert tested.longest_overdue() == ("b", 1)


def test_a_chunk_that_waits_for_the_disk_of_this_node_is_not_overdue() -> None:
    tested = picker(0b1)
    tested.peer_has("a", 0b1)
    tested.pick("a", 0.0)
    tested.arrived(0)
    assert tested.overdue(1000.0) == [] and tested.unavailable == 0
    tested.failed(0, "a")
    tested.pick("a", 1000.0)
    assert tested.overdue(2000.0) == [("a", 0)]


def test_what_only_suspended_peers_have_is_wanted_from_the_master_until_they_send_something() -> None:
    tested = picker(0b11)
    tested.peer_has("a", 0b11)
    assert tested.unavailable == 0
    tested.suspend("a", 0.0)
    assert tested.unavailable == 0b11
    assert tested.pick("a", 1.0) is None
    tested.peer_has("a", 0b11)
    assert tested.unavailable == 0b11
    tested.speed.resume("a")
    chunk = tested.pick("a", 2.0)
    assert chunk is not None
    assert tested.unavailable == 0b11 & ~(1 << chunk)
    tested.done(chunk, "a", 2.1)
    assert tested.unavailable == 0


def test_from_a_peer_that_is_not_trusted_only_what_no_other_has_is_fetched() -> None:
    tested = picker(0b111)
    tested.peer_has("a", 0b111)
    tested.peer_has("b", 0b011)
    tested.suspend("a", 0.0)
    tested.speed.resume("a")
    assert [tested.pick("a", 1.0), tested.pick("a", 1.0)] == [2, None]


def test_a_peer_that_owes_a_chunk_which_comes_from_elsewhere_is_suspended() -> None:
    tested = picker(0b1)
    tested.peer_has("a", 0b1)
    tested.peer_has("b", 0b1)
    tested.pick("a", 0.0)
    tested.pick("b", 50.0)
    tested.done(0, "b", 50.1)
    assert tested.speed.is_suspended("a") and not tested.speed.is_suspended("b")


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
        tested.done(chunk, "z", 0.1)
    tested.peer_gone("z")
    for chunk, peer in enumerate(peers, 6):
        tested.peer_has(peer, 1 << chunk)
        assert tested.pick(peer, 90.0) == chunk
    for chunk, peer in enumerate(peers, 6):
        tested.done(chunk, peer, 100.0)
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
        self.missed: set[int] = set()
        """Chunks that were overdue."""
        self.picker: Picker[str] = Picker(sum(1 << chunk for chunk in self.lacking), Random(0))

    @rule(peer=PEERS, chunks=st.integers(0, (1 << CHUNKS) - 1))
    def peer_has(self, peer: str, chunks: int) -> None:
        self.picker.peer_has(peer, chunks)
        self.has[peer] = set(bits(chunks))

    @rule(peer=PEERS, seconds=st.sampled_from([0.0, 0.1, 50.0]))
    def pick(self, peer: str, seconds: float) -> None:
        self.now += seconds
        self.missed |= {late for _, late in self.picker.overdue(self.now)}
        wanted, good = self.picker.wants(peer, self.now), self.is_good(peer)
        chunk = self.picker.pick(peer, self.now)
        assert wanted == (chunk is not None)
        fresh = (self.has.get(peer, set()) & self.lacking) - self.fetched.keys()
        if not good:
            fresh -= set().union(*(held for other, held in self.has.items() if self.is_good(other)))
        if self.picker.speed.is_suspended(peer):
            assert chunk is None
            return
        if chunk is None:
            assert not fresh
            return
        assert chunk in self.has[peer] & self.lacking
        if fresh:
            assert chunk in fresh
            counts = {c: sum(c in held for p, held in self.has.items() if self.is_trusted(p)) for c in fresh}
            assert counts[chunk] == min(counts.values())
        else:
            assert peer not in self.fetched[chunk]
        self.begun(chunk, peer)

    @rule(chunk=st.integers(0, CHUNKS - 1))
    def take(self, chunk: int) -> None:
        taken = self.picker.take(chunk, "master", self.now)
        again = chunk in self.missed and "master" not in self.fetched.get(chunk, [])
        assert taken == (chunk in self.lacking and (chunk not in self.fetched or again))
        if taken:
            self.begun(chunk, "master")

    def begun(self, chunk: int, source: str) -> None:
        self.fetched.setdefault(chunk, []).append(source)
        replaced = self.picker.replaced(chunk)
        assert (replaced is not None) == (len(self.fetched[chunk]) > SOURCES)
        if replaced is not None:
            assert self.fetched[chunk].pop(0) == replaced

    def is_trusted(self, peer: str) -> bool:
        return self.picker.speed.is_trusted(peer)

    def is_good(self, peer: str) -> bool:
        return self.is_trusted(peer) and not self.picker.speed.is_slow(peer, self.now)

    @rule(peer=PEERS, until_resumed=st.booleans())
    def suspend(self, peer: str, until_resumed: bool) -> None:
        self.picker.suspend(peer, self.now, until_resumed=until_resumed)

    @rule(peer=PEERS)
    def resume(self, peer: str) -> None:
        self.picker.speed.resume(peer)

    @precondition(lambda self: self.fetched)
    @rule(data=st.data(), good=st.booleans())
    def end(self, data: st.DataObject, good: bool) -> None:
        chunk = data.draw(st.sampled_from(sorted(self.fetched)))
        source = data.draw(st.sampled_from(self.fetched[chunk]))
        if good:
            assert self.picker.done(chunk, source, self.now) == self.fetched.pop(chunk)
            self.lacking.discard(chunk)
            self.missed.discard(chunk)
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
        held = set().union(*(held for peer, held in self.has.items() if self.is_trusted(peer)))
        assert set(bits(self.picker.unavailable)) == (self.lacking - held - self.fetched.keys()) | self.missed


AnyOrder.TestCase.settings = settings(max_examples=examples(200), stateful_step_count=40, deadline=None)
TestAnyOrder = AnyOrder.TestCase
