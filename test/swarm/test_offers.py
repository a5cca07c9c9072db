"""The master's choice: no chunk twice while there are fresh ones, and what is lost comes back."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from test.support.strategies import examples
from xget_lib.swarm.offers import Offers
from xget_lib.swarm.picker import bits

CHUNKS = 6


def busy(offers: Offers) -> int:
    """How many chunks are on their way."""
    return len(offers._on_way)


def fresh(offers: Offers) -> int:
    """Chunks that are granted before any other."""
    return offers._fresh.bit_count()


def chunks_of(granted: list[tuple[int, int, int]]) -> list[int]:
    return [chunk for _, _, chunk in granted]


def test_each_chunk_is_granted_once_and_so_many_are_on_their_way_at_once() -> None:
    offers = Offers(4, 3)
    for node in range(4):
        offers.ask(node, 0, 0.0)
    # Two until the first has arrived.
    assert offers.grant(0.0) == [(0, 0, 0), (1, 0, 1)]
    offers.ask(1, 0, 1.0)
    assert offers.grant(1.0) == [(2, 0, 2), (3, 0, 3)]
    offers.ask(3, 0, 1.0)
    assert (fresh(offers), busy(offers)) == (0, 2)


def test_a_node_is_granted_a_second_only_where_no_other_asks_for_its_first() -> None:
    offers = Offers(8, 4)
    for node in range(3):
        offers.ask(node, 0, 0.0)
        offers.ask(node, 1, 0.0)
    assert offers.grant(0.0) == [(0, 0, 0), (1, 0, 1)]
    offers.ask(1, 0, 1.0)
    # Three may be on their way now: one each.
    assert sorted(node for node, _, _ in offers.grant(1.0)) == [1, 2]
    for node, slot in ((2, 0), (2, 1)):
        offers.ask(node, slot, 2.0)
    # Four, so somebody has two.
    assert len(offers.grant(2.0)) == 2
    assert (busy(offers), fresh(offers)) == (4, 2)


def test_nodes_that_have_stopped_do_not_stop_the_master() -> None:
    offers = Offers(10, 2)
    for node in range(3):
        offers.ask(node, 0, 0.0)
    assert chunks_of(offers.grant(0.0)) == [0, 1]
    assert offers.grant(1.0) == []
    assert offers.grant(1000.0) == [(2, 0, 2)]


def test_what_was_on_its_way_to_a_slot_that_closes_is_granted_to_another() -> None:
    offers = Offers(1, 2)
    offers.ask(1, 0, 0.0)
    offers.ask(2, 0, 0.0)
    assert offers.grant(0.0) == [(1, 0, 0)]
    offers.close(1, 0)
    assert offers.grant(0.0) == [(2, 0, 0)]


def test_what_a_lost_node_alone_had_is_granted_again() -> None:
    offers = Offers(2, 2)
    offers.ask(1, 0, 0.0)
    assert chunks_of(offers.grant(0.0)) == [0]
    offers.ask(1, 0, 1.0)
    assert chunks_of(offers.grant(1.0)) == [1]
    offers.leave(1)
    assert busy(offers) == 0
    offers.ask(2, 0, 2.0)
    offers.ask(2, 1, 2.0)
    assert chunks_of(offers.grant(2.0)) == [0, 1]


def one_complete() -> Offers:
    """Node 1 was granted the only chunk, and serves it since 0.1."""
    offers = Offers(1, 2)
    offers.ask(1, 0, 0.0)
    assert chunks_of(offers.grant(0.0)) == [0]
    offers.ask(1, 0, 0.1)
    offers.complete(1)
    return offers


def test_what_a_complete_node_had_is_not_lost_with_it() -> None:
    offers = one_complete()
    offers.leave(1)
    assert fresh(offers) == 0


def test_what_a_complete_node_took_with_it_is_granted_again_at_once() -> None:
    offers = one_complete()
    offers.ask(2, 0, 0.2)
    assert offers.grant(0.2) == []
    offers.leave(1)
    assert chunks_of(offers.grant(0.2)) == [0]


def test_a_chunk_is_granted_a_second_time_only_when_it_is_overdue() -> None:
    offers = Offers(1, 2)
    offers.ask(1, 0, 0.0)
    offers.ask(2, 0, 0.0)
    assert offers.grant(0.0) == [(1, 0, 0)]
    assert offers.grant(1.0) == []
    assert offers.grant(100.0) == [(2, 0, 0)]


def test_a_node_is_granted_nothing_that_it_does_not_want() -> None:
    offers = Offers(3, 3)
    offers.wants(1, 0b100)
    offers.ask(1, 0, 0.0)
    offers.ask(1, 1, 0.0)
    assert offers.grant(0.0) == [(1, 0, 2)]
    offers.wants(1, 0b001)
    assert offers.grant(0.0) == [(1, 1, 0)]


def test_a_node_that_was_slow_is_granted_nothing_for_a_while() -> None:
    offers = Offers(100, 2)
    now = 0.0
    for _ in range(10):
        offers.ask(1, 0, now)
        assert len(offers.grant(now)) == 1
        now += 1.0
    offers.ask(2, 0, now)
    assert [node for node, _, _ in offers.grant(now)] == [2]
    now += 30.0
    offers.ask(2, 0, now)
    assert offers.grant(now) == []
    assert [node for node, _, _ in offers.grant(now + 1000.0)] == [2]


def test_a_node_that_was_slow_is_granted_more_where_no_other_node_wants_any() -> None:
    offers = Offers(100, 2)
    now = 0.0
    for took in (*[1.0] * 10, 30.0, 1.0):
        offers.ask(1, 0, now)
        assert [node for node, _, _ in offers.grant(now)] == [1]
        now += took
    offers.ask(2, 0, now)
    offers.wants(2, 0)
    offers.grant(now)
    offers.ask(1, 0, now + 30.0)
    assert [node for node, _, _ in offers.grant(now + 30.0)] == [1]


class Offering(RuleBasedStateMachine):
    """Nodes ask, finish and leave. No chunk is granted twice before the grant is overdue, unless it may be lost."""

    def __init__(self) -> None:
        super().__init__()
        self.offers = Offers(CHUNKS, 3)
        self.fresh = set(range(CHUNKS))
        self.wanted_by: dict[int, set[int]] = {}
        self.slots: dict[tuple[int, int], int | None] = {}
        self.granted: dict[int, set[int]] = {}
        self.arrived = 0

    @rule(node=st.integers(0, 3), slot=st.integers(0, 1))
    def ask(self, node: int, slot: int) -> None:
        arrived = self.slots.get((node, slot))
        self.arrived += arrived is not None
        self.offers.ask(node, slot, 0.0)
        self.slots[node, slot] = None
        wanted = self.wanted_by.setdefault(node, set(range(CHUNKS)))
        if arrived is not None:
            wanted.discard(arrived)

    @rule(node=st.integers(0, 3), chunks=st.integers(0, (1 << CHUNKS) - 1))
    def wants(self, node: int, chunks: int) -> None:
        self.offers.wants(node, chunks)
        self.wanted_by[node] = set(bits(chunks))

    @rule(node=st.integers(0, 3), slot=st.integers(0, 1))
    def close(self, node: int, slot: int) -> None:
        self.offers.close(node, slot)
        lost = self.slots.pop((node, slot), None)
        if lost is not None:
            self.fresh.add(lost)

    @rule(node=st.integers(0, 3))
    def leave(self, node: int) -> None:
        self.offers.leave(node)
        for key in [key for key in self.slots if key[0] == node]:
            del self.slots[key]
        self.fresh |= self.granted.pop(node, set())
        self.wanted_by.pop(node, None)

    @rule()
    def grant(self) -> None:
        asking = {key for key, chunk in self.slots.items() if chunk is None}
        for node, slot, chunk in self.offers.grant(0.0):
            assert (node, slot) in asking
            assert chunk in self.wanted_by[node]
            assert chunk in self.fresh
            asking.remove((node, slot))
            self.fresh.remove(chunk)
            self.slots[node, slot] = chunk
            self.granted.setdefault(node, set()).add(chunk)
        if busy(self.offers) < min(3, 2 + self.arrived):
            assert not any(self.wanted_by[node] & self.fresh for node, _ in asking), "something could be granted"

    @invariant()
    def says_what_is_so(self) -> None:
        assert fresh(self.offers) == len(self.fresh)
        assert busy(self.offers) == sum(chunk is not None for chunk in self.slots.values()) <= 3


Offering.TestCase.settings = settings(max_examples=examples(80), stateful_step_count=40, deadline=None)
TestOffering = Offering.TestCase
