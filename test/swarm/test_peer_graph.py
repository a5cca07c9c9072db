"""The graph: ties hold both ways, nobody is crowded, and it stays in one piece."""

from __future__ import annotations

from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from xget_lib.swarm.peer_graph import PeerGraph

DEGREE = 4


def graph(count: int, degree: int = DEGREE) -> PeerGraph:
    neighbours = PeerGraph(degree, Random(1), lambda asker, peer: True)
    for key in range(count):
        neighbours.join(key)
    return neighbours


def reached(neighbours: PeerGraph, start: int) -> set[int]:
    found, left = {start}, [start]
    while left:
        new = neighbours.of(left.pop()) - found
        found |= new
        left += new
    return found


def test_few_nodes_all_know_each_other() -> None:
    neighbours = graph(DEGREE + 1)
    assert all(neighbours.of(key) == set(range(DEGREE + 1)) - {key} for key in range(DEGREE + 1))


def test_many_nodes_are_in_one_piece_and_stay_so_when_a_third_leaves() -> None:
    neighbours = graph(600, 10)
    assert len(reached(neighbours, 0)) == 600
    for key in range(1, 600, 3):
        neighbours.leave(key)
    assert len(reached(neighbours, 0)) == 400


def test_a_node_that_lost_most_of_its_ties_gets_new_ones() -> None:
    neighbours = graph(60)
    for peer in sorted(neighbours.of(0)):
        neighbours.leave(peer)
    assert len(neighbours.of(0)) >= DEGREE // 2


def test_each_tie_was_sought_for_one_of_its_ends() -> None:
    neighbours = graph(200)
    neighbours.leave(7)
    for key in set(range(200)) - {7}:
        sought = neighbours.sought(key)
        assert {peer for peer in neighbours.of(key) if key in neighbours.sought(peer)} == neighbours.of(key) - sought
        assert len(sought) <= 2 * DEGREE


def test_only_who_can_be_reached_is_a_neighbour() -> None:
    neighbours = PeerGraph(DEGREE, Random(1), lambda asker, peer: peer % 2 == 0)
    for key in range(20):
        neighbours.join(key)
    assert all(peer % 2 == 0 for key in range(20) for peer in neighbours.of(key))
    assert any(neighbours.of(key) for key in range(1, 20, 2))


def test_joining_twice_changes_nothing() -> None:
    neighbours = graph(8)
    before = [neighbours.of(key) for key in range(8)]
    assert neighbours.join(3) == set()
    assert [neighbours.of(key) for key in range(8)] == before


class Coming(RuleBasedStateMachine):
    """Nodes come and go."""

    def __init__(self) -> None:
        super().__init__()
        self.neighbours = PeerGraph(DEGREE, Random(0), lambda asker, peer: True)
        self.there: set[int] = set()
        self.known: dict[int, frozenset[int]] = {}

    @rule(key=st.integers(0, 30))
    def come(self, key: int) -> None:
        self.tell(self.neighbours.join(key))
        self.there.add(key)

    @rule(key=st.integers(0, 30))
    def go(self, key: int) -> None:
        self.there.discard(key)
        self.tell(self.neighbours.leave(key))

    def tell(self, changed: set[int]) -> None:
        for key in changed:
            self.known[key] = self.neighbours.of(key)

    @invariant()
    def ties_hold_both_ways_and_whoever_is_concerned_was_told(self) -> None:
        for key in self.there:
            ties = self.neighbours.of(key)
            assert key not in ties
            assert ties <= self.there
            assert len(ties) <= 3 * DEGREE
            assert all(key in self.neighbours.of(peer) for peer in ties)
            assert self.known[key] == ties


Coming.TestCase.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)
TestComing = Coming.TestCase
