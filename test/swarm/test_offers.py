"""The master's choice: no chunk twice while there are fresh ones, and what is lost comes back."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from itertools import pairwise

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from test.support.strategies import examples
from xget_lib.swarm.offers import Offers, _Node
from xget_lib.swarm.picker import bits

CHUNKS = 6


def one_each(node: int) -> int:
    """Each node is a host."""
    return node


def one_host(node: int) -> str:
    """All nodes are on one host."""
    return "host"


def busy(offers: Offers) -> int:
    """How many chunks are on their way."""
    return len(offers._on_way)


def fresh(offers: Offers) -> int:
    """Chunks that are granted before any other."""
    return offers._fresh.bit_count()


def chunks_of(granted: list[tuple[int, int, int]]) -> list[int]:
    return [chunk for _, _, chunk in granted]


def test_each_chunk_is_granted_once_and_so_many_are_on_their_way_at_once() -> None:
    offers = Offers(4, 3, one_each)
    for node in range(4):
        offers.ask(node, 0, 0.0)
    # Two until the first has arrived.
    assert offers.grant(0.0) == [(0, 0, 0), (1, 0, 1)]
    offers.ask(1, 0, 1.0)
    assert offers.grant(1.0) == [(2, 0, 2), (3, 0, 3)]
    offers.ask(3, 0, 1.0)
    assert (fresh(offers), busy(offers)) == (0, 2)


def test_a_node_is_granted_a_second_only_where_no_other_asks_for_its_first() -> None:
    offers = Offers(8, 4, one_each)
    for node in range(3):
        offers.ask(node, 0, 0.0)
        offers.ask(node, 1, 0.0)
    assert offers.grant(0.0) == [(0, 0, 0), (1, 0, 1)]
    offers.ask(1, 0, 0.1)
    # Three may be on their way now: one each.
    assert sorted(node for node, _, _ in offers.grant(0.1)) == [1, 2]
    for node, slot in ((2, 0), (2, 1)):
        offers.ask(node, slot, 0.2)
    # Four, so somebody has two.
    assert len(offers.grant(0.2)) == 2
    assert (busy(offers), fresh(offers)) == (4, 2)


def test_nodes_that_have_stopped_do_not_stop_the_master() -> None:
    offers = Offers(10, 2, one_each)
    for node in range(3):
        offers.ask(node, 0, 0.0)
    assert chunks_of(offers.grant(0.0)) == [0, 1]
    assert offers.grant(1.0) == []
    assert offers.grant(1000.0) == [(2, 0, 2)]


def test_what_was_on_its_way_to_a_slot_that_closes_is_granted_to_another() -> None:
    offers = Offers(1, 2, one_each)
    offers.ask(1, 0, 0.0)
    offers.ask(2, 0, 0.0)
    assert offers.grant(0.0) == [(1, 0, 0)]
    offers.close(1, 0, 0.0)
    assert offers.grant(0.0) == [(2, 0, 0)]


def test_what_a_lost_node_alone_had_is_granted_again() -> None:
    offers = Offers(2, 2, one_each)
    offers.ask(1, 0, 0.0)
    assert chunks_of(offers.grant(0.0)) == [0]
    offers.ask(1, 0, 1.0)
    assert chunks_of(offers.grant(1.0)) == [1]
    offers.leave(1, 1.0)
    assert busy(offers) == 0
    offers.ask(2, 0, 2.0)
    offers.ask(2, 1, 2.0)
    assert chunks_of(offers.grant(2.0)) == [0, 1]


def one_complete() -> Offers:
    """Node 1 was granted the only chunk, and serves it since 0.1."""
    offers = Offers(1, 2, one_each)
    offers.ask(1, 0, 0.0)
    assert chunks_of(offers.grant(0.0)) == [0]
    offers.ask(1, 0, 0.1)
    offers.complete(1)
    return offers


def test_what_a_complete_node_had_is_not_lost_with_it() -> None:
    offers = one_complete()
    offers.leave(1, 0.15)
    assert fresh(offers) == 0


def test_what_a_complete_node_took_with_it_is_granted_again_at_once() -> None:
    offers = one_complete()
    offers.ask(2, 0, 0.15)
    assert offers.grant(0.15) == []
    offers.leave(1, 0.15)
    assert chunks_of(offers.grant(0.15)) == [0]


def test_a_chunk_is_granted_a_second_time_only_when_it_is_overdue() -> None:
    offers = Offers(1, 2, one_each)
    offers.ask(1, 0, 0.0)
    offers.ask(2, 0, 0.0)
    assert offers.grant(0.0) == [(1, 0, 0)]
    assert offers.grant(0.5) == []
    assert offers.grant(100.0) == [(2, 0, 0)]


def test_a_chunk_that_a_node_is_granted_again_and_again_is_not_kept_from_others() -> None:
    """The node says each time that it has arrived, and takes nothing. The others need five seconds for a chunk."""
    swarm = Swarm(5, 3)
    for _ in range(2):
        swarm.ask(2, 3)
        assert sorted(swarm.after(0.0)) == [2, 3]
        swarm.now += 5.0
    swarm.ask(1)
    assert swarm.after(0.0) == [1], "the last chunk that nobody has"
    swarm.offers.wants(2, 0b10000)
    swarm.ask(2)
    granted = []
    for _ in range(60):
        swarm.offers.wants(1, 0b10000)
        swarm.ask(1)
        granted += swarm.after(0.5)
    assert 2 in granted


def test_a_node_is_granted_nothing_that_it_does_not_want() -> None:
    offers = Offers(3, 3, one_each)
    offers.wants(1, 0b100)
    offers.ask(1, 0, 0.0)
    offers.ask(1, 1, 0.0)
    assert offers.grant(0.0) == [(1, 0, 2)]
    offers.wants(1, 0b001)
    assert offers.grant(0.0) == [(1, 1, 0)]


def test_a_node_that_has_closed_all_slots_wants_all_chunks_again() -> None:
    """What it said before was of another generation, or it has forgotten it: so it does after it has lost its slots."""
    offers = Offers(3, 3, one_each)
    for slot in (0, 1):
        offers.ask(1, slot, 0.0)
    offers.wants(1, 0)
    offers.close(1, 0, 0.0)
    assert offers.grant(0.0) == []
    offers.close(1, 1, 0.0)
    offers.ask(1, 2, 0.0)
    assert offers.grant(0.0) == [(1, 2, 0)]


class Swarm:
    """Nodes with one slot each, and a clock. `ask` says that what was on its way to a node has arrived."""

    def __init__(self, chunks: int, limit: int, host_of: Callable[[int], Hashable] = one_each) -> None:
        self.offers = Offers(chunks, limit, host_of)
        self.now = 100.0

    def ask(self, *nodes: int) -> None:
        for node in nodes:
            self.offers.ask(node, 0, self.now)

    def after(self, seconds: float) -> list[int]:
        """The nodes that are granted something so much later."""
        self.now += seconds
        return [node for node, _, _ in self.offers.grant(self.now)]

    def run(self, *nodes: int, rounds: int = 10) -> None:
        """All these nodes get a chunk a second."""
        self.ask(*nodes)
        for _ in range(rounds):
            assert self.after(0.0)
            self.now += 1.0
            self.ask(*nodes)


def slow_third() -> Swarm:
    """Nodes 1 and 2 get a chunk a second. One for node 3 took three seconds, and it asks for the next."""
    swarm = Swarm(100, 3)
    swarm.run(1, 2)
    swarm.ask(3)
    assert sorted(swarm.after(0.0)) == [1, 2, 3]
    for _ in range(3):
        swarm.now += 1.0
        swarm.ask(1, 2)
        swarm.offers.grant(swarm.now)
    swarm.ask(3)
    return swarm


def test_a_node_that_was_slow_is_granted_nothing_for_a_while() -> None:
    swarm = slow_third()
    for _ in range(9):
        assert 3 not in swarm.after(1.0)
        swarm.ask(1, 2)
    assert 3 in swarm.after(2.0)


def test_a_node_that_was_slow_is_granted_more_as_soon_as_no_other_node_waits() -> None:
    swarm = slow_third()
    assert swarm.after(0.1) == []
    for node in (1, 2):
        swarm.offers.wants(node, 0)
    assert swarm.after(0.1) == [], "two chunks are on their way to the others"
    swarm.ask(1, 2)
    assert swarm.after(0.0) == [3]


def test_an_interruption_that_hits_all_makes_no_node_rest() -> None:
    swarm = Swarm(100, 4)
    swarm.run(1, 2, 3, 4)
    assert sorted(swarm.after(0.0)) == [1, 2, 3, 4]
    swarm.now += 9.0
    for node in (1, 2, 3, 4):
        swarm.ask(node)
        assert swarm.after(0.05) == [node]


def test_hosts_share_the_limit_whatever_one_of_them_asked_for_before() -> None:
    """Node 0 is a host, all others are on another one, which takes nothing and has asked for everything first."""
    swarm = Swarm(1000, 6, lambda node: node == 0)
    swarm.run(0, *range(100, 160))
    swarm.ask(*range(160, 220))
    swarm.after(0.0)
    for _ in range(20):
        swarm.ask(0)
        assert 0 in swarm.after(0.1)
        assert len([slot for slot in swarm.offers._on_way if slot[0] >= 100]) <= 6


@pytest.mark.parametrize("connections", [1, 60])
def test_a_host_that_takes_nothing_delays_the_first_chunk_by_about_a_second(connections: int) -> None:
    swarm = Swarm(1, 6, lambda node: node == 0)
    for node in range(1, connections + 1):
        for slot in range(16):
            swarm.offers.ask(node, slot, swarm.now)
    assert len(swarm.after(0.0)) == 1
    swarm.ask(0)
    waited = 0.0
    while 0 not in swarm.after(0.1):
        waited += 0.1
        assert waited < 1.2


def test_hosts_that_have_stopped_cost_the_others_one_time_together() -> None:
    """A chunk usually takes 6 seconds, one at a time is sent, and five hosts that are to get the next ones have
    stopped."""
    offers = Offers(20, 1, one_each)
    for node in range(6):
        offers.ask(node, 0, 0.0)
        assert offers.grant(0.0) == ([(0, 0, 0)] if node == 0 else [])
    offers.ask(0, 0, 6.0)
    moments = [now for now in (6.0 + step / 4 for step in range(400)) if offers.grant(now)]
    pauses = [later - former for former, later in pairwise(moments)]
    assert pauses[0] == pytest.approx(30, abs=1), "a node may just be slow"
    assert sum(pauses) < 2 * 31


def test_a_host_whose_chunk_is_stuck_gets_no_further_one_while_others_ask() -> None:
    swarm = Swarm(1000, 2, lambda node: node % 2)
    swarm.run(0, 2, 4)
    swarm.ask(1, 3, 5, 7)
    swarm.after(0.0)
    for _ in range(30):
        swarm.ask(0, 2, 4)
        swarm.after(1.0)
    held = [slot for slot in swarm.offers._on_way if slot[0] % 2]
    assert len(held) == 1, "its share of two"
    for node in (0, 2, 4):
        swarm.offers.wants(node, 0)
    swarm.ask(0, 2, 4)
    assert [node % 2 for node in swarm.after(0.0)] == [1, 1], "nobody else asks"


def test_a_third_of_the_hosts_that_take_nothing_do_not_stop_the_others() -> None:
    swarm = Swarm(1, 6)
    swarm.ask(*range(15))
    swarm.after(0.0)
    waited, served = 0.0, set[int]()
    while len(served) < 10:
        honest = {node for node in swarm.after(0.2) if node >= 5}
        waited += 0.2
        assert waited < 30
        swarm.ask(*honest)
        served |= honest


def test_before_anything_has_arrived_more_is_granted_ever_more_slowly() -> None:
    """The link may be slow: then ever more chunks at once would make it worse."""
    swarm = Swarm(1000, 6)
    swarm.ask(*range(100))
    granted = sum(len(swarm.after(0.1)) for _ in range(300))
    assert granted <= 12


def test_a_node_that_cannot_read_a_chunk_is_granted_it_again_after_growing_pauses() -> None:
    """Its file is gone, for example. Reading again says that it has arrived, and then the node wants it again."""
    swarm = Swarm(2, 6)
    grants = 0
    for _ in range(600):
        swarm.ask(1)
        swarm.offers.wants(1, 0b11)
        grants += len(swarm.after(0.1))
    assert 12 <= grants <= 40, "two chunks in a minute"
    swarm.ask(2)
    assert swarm.after(1.0) == [2], "others can have it"


def test_one_host_that_says_at_once_that_all_has_arrived_does_not_make_the_others_slow() -> None:
    swarm = Swarm(10_000, 6, lambda node: node == 0)
    swarm.ask(0, 1)
    swarm.after(0.0)
    waits = 0
    for _ in range(200):
        swarm.ask(1)
        waits += 0 not in swarm.after(0.1) and (0, 0) not in swarm.offers._on_way
        swarm.ask(0)
    assert waits < 20


def test_what_one_node_says_to_have_taken_is_granted_once_more_before_anything_a_third_time() -> None:
    """Node 0 takes nothing. What one of the others has taken is still wanted by the other, until that hears of it."""
    chunks = 200
    offers, now = Offers(chunks, 2, one_each), 0.0
    for _ in range(chunks):
        offers.ask(0, 0, now)
        assert len(offers.grant(now)) == 1
        now += 0.01
    granted: list[int] = []
    for _ in range(chunks // 2):
        now += 10
        offers.ask(1, 0, now)
        offers.ask(2, 0, now)
        granted += chunks_of(offers.grant(now))
    assert sorted(granted) == list(range(chunks))


@pytest.mark.parametrize("closes", [False, True])
def test_hosts_that_take_each_chunk_just_before_it_is_stuck_cost_another_no_more_than_its_share(closes: bool) -> None:
    """Host 0 needs 0.1 s for a chunk, eight others hold each for 0.9 s. Then they ask again, or close the connection
    and come again with another one."""
    swarm = Swarm(10_000, 3, lambda node: node % 10)
    hostile, got = set(range(1, 9)), 0
    swarm.run(0)
    swarm.ask(*hostile)
    for _ in range(300):
        swarm.ask(0)
        got += 0 in swarm.after(0.1)
        for node, _ in list(swarm.offers._on_way):
            if node and swarm.now - swarm.offers._on_way[node, 0].granted > 0.85:
                if closes:
                    swarm.offers.leave(node, swarm.now)
                swarm.ask(node + 10 if closes else node)
    assert got > 300 / 3 * 0.9, "a third of the time: three chunks are on their way at once, for nine hosts"


def test_a_host_whose_chunk_was_stuck_is_not_kept_waiting_for_as_long() -> None:
    """Ten hosts get a chunk a second, one at a time. One of them was stopped for ten minutes."""
    swarm = Swarm(1000, 1, one_each)
    swarm.ask(*range(1, 11), 0)
    granted = swarm.after(0.0)
    for _ in range(600):
        swarm.now += 1.0
        swarm.ask(*(node for node in granted if node))
        granted = swarm.after(0.0)
    swarm.ask(0)
    waited = 0
    while 0 not in granted:
        swarm.now += 1.0
        swarm.ask(*granted)
        granted = swarm.after(0.0)
        waited += 1
        assert waited < 100, "ten hosts, and the chunk was stuck after eight seconds"


def test_a_decision_looks_at_a_limited_number_of_slots_of_each_host() -> None:
    swarm = Swarm(2, 6, lambda node: node == 0)
    swarm.ask(*range(1, 5000))
    assert len(swarm.after(0.0)) == 2
    looked = 0
    choose = swarm.offers._choose

    def counted(node: _Node, now: float) -> int | None:
        nonlocal looked
        looked += 1
        return choose(node, now)

    swarm.offers._choose = counted  # type: ignore[method-assign]
    assert swarm.after(0.1) == []
    assert looked < 1000


class SeveralHosts(RuleBasedStateMachine):
    """Nodes of three hosts ask, finish, stop and leave. At most twice the limit is on its way and not stuck."""

    def __init__(self) -> None:
        super().__init__()
        self.offers = Offers(CHUNKS, 3, lambda node: node % 3)
        self.now = 0.0
        self.slots: set[tuple[int, int]] = set()

    @rule(node=st.integers(0, 5), slot=st.integers(0, 1))
    def ask(self, node: int, slot: int) -> None:
        self.offers.ask(node, slot, self.now)
        self.slots.add((node, slot))

    @rule(node=st.integers(0, 5), slot=st.integers(0, 1))
    def close(self, node: int, slot: int) -> None:
        self.offers.close(node, slot, self.now)
        self.slots.discard((node, slot))

    @rule(node=st.integers(0, 5))
    def leave(self, node: int) -> None:
        self.offers.leave(node, self.now)
        self.slots = {slot for slot in self.slots if slot[0] != node}

    @rule(node=st.integers(0, 5), chunks=st.integers(0, (1 << CHUNKS) - 1))
    def wants(self, node: int, chunks: int) -> None:
        self.offers.wants(node, chunks)

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 10.0, 100.0]))
    def grant(self, seconds: float) -> None:
        self.now += seconds
        for node, slot, chunk in self.offers.grant(self.now):
            assert (node, slot) in self.slots
            assert self.offers._nodes[node].wants >> chunk & 1

    @invariant()
    def the_books_are_right(self) -> None:
        offers, hosts = self.offers, self.offers._hosts
        assert len(offers._moving) <= 2 * 3
        assert set(hosts._hosts) == {node.host.key for node in offers._nodes.values()}
        for host in hosts._hosts.values():
            on_way = [slot for slot in offers._on_way if offers._nodes[slot[0]].host is host]
            moving = [slot for slot in on_way if slot in offers._moving]
            assert (host.moving, host.stuck) == (len(moving), len(on_way) - len(moving))
            asks = bool(host.first or host.second)
            assert (host in hosts._idle) == (asks and not on_way)
            assert (host in hosts._busy) == (asks and bool(on_way))
            assert (host in hosts._moving) == bool(moving)
        assert not offers.asked or set(hosts._idle) | set(hosts._busy) <= set(hosts._hosts.values())


class Offering(RuleBasedStateMachine):
    """Nodes ask, finish and leave. No chunk is granted twice before the grant is overdue, unless it may be lost."""

    def __init__(self) -> None:
        super().__init__()
        self.offers = Offers(CHUNKS, 3, one_host)
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
        self.offers.close(node, slot, 0.0)
        lost = self.slots.pop((node, slot), None)
        if lost is not None:
            self.fresh.add(lost)
        if not any(key[0] == node for key in self.slots):
            self.wanted_by.pop(node, None)

    @rule(node=st.integers(0, 3))
    def leave(self, node: int) -> None:
        self.offers.leave(node, 0.0)
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
            for node, _ in asking:
                again = set(self.offers._nodes[node].again)
                assert not self.wanted_by[node] & self.fresh - again, "something could be granted"

    @invariant()
    def says_what_is_so(self) -> None:
        assert fresh(self.offers) == len(self.fresh)
        assert busy(self.offers) == sum(chunk is not None for chunk in self.slots.values()) <= 3


Offering.TestCase.settings = settings(max_examples=examples(80), stateful_step_count=40, deadline=None)
TestOffering = Offering.TestCase
SeveralHosts.TestCase.settings = Offering.TestCase.settings
TestSeveralHosts = SeveralHosts.TestCase
