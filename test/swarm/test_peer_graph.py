"""The graph: edges hold both ways, no node is crowded, and it stays in one piece."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from test.support.strategies import examples
from xget_lib.swarm.peer_graph import PeerGraph

DEGREE = 4


def one_each(node: int) -> int:
    """Each node is a host."""
    return node


def graph(count: int, degree: int = DEGREE) -> PeerGraph:
    peers = PeerGraph(degree, Random(1), lambda asker, peer: True, one_each)
    for key in range(count):
        peers.join(key)
    return peers


def reached(peers: PeerGraph, start: int) -> set[int]:
    found, left = {start}, [start]
    while left:
        new = peers.neighbours(left.pop()) - found
        found |= new
        left += new
    return found


def test_few_nodes_all_know_each_other() -> None:
    peers = graph(DEGREE + 1)
    assert all(peers.neighbours(key) == set(range(DEGREE + 1)) - {key} for key in range(DEGREE + 1))


def test_many_nodes_are_in_one_piece_and_stay_so_when_a_third_leaves() -> None:
    peers = graph(600, 10)
    assert len(reached(peers, 0)) == 600
    for key in range(1, 600, 3):
        peers.leave(key)
    assert len(reached(peers, 0)) == 400


@pytest.mark.parametrize("hostile", [50, 2000])
def test_one_host_with_many_nodes_does_not_surround_the_others(hostile: int) -> None:
    peers = PeerGraph(6, Random(1), lambda asker, peer: True, lambda node: min(node, 100))
    for number in range(100):  # one honest node after each part of the hostile ones
        for key in range(hostile // 100):
            peers.join(1000 + number * (hostile // 100) + key)
        if number % 6 == 0:
            peers.join(number)
    honest = set(range(0, 100, 6))
    for node in honest:
        assert len(peers.neighbours(node) - honest) <= 6
        assert len(peers.neighbours(node) & honest) >= 3


def test_nodes_of_one_host_alone_are_connected_as_well() -> None:
    peers = PeerGraph(6, Random(1), lambda asker, peer: True, lambda node: "host")
    for key in range(100):
        peers.join(key)
    assert len(reached(peers, 0)) == 100
    assert all(len(peers.neighbours(key)) >= 6 for key in range(100))


def test_a_node_that_lost_most_of_its_neighbours_gets_new_ones() -> None:
    peers = graph(60)
    for peer in sorted(peers.neighbours(0)):
        peers.leave(peer)
    assert len(peers.neighbours(0)) >= DEGREE // 2


def test_each_edge_was_chosen_for_one_of_its_ends() -> None:
    peers = graph(200)
    peers.leave(7)
    for key in set(range(200)) - {7}:
        chosen = peers.chosen(key)
        assert {peer for peer in peers.neighbours(key) if key in peers.chosen(peer)} == peers.neighbours(key) - chosen
        assert len(chosen) <= 2 * DEGREE


def test_only_a_reachable_node_is_a_neighbour() -> None:
    peers = PeerGraph(DEGREE, Random(1), lambda asker, peer: peer % 2 == 0, one_each)
    for key in range(20):
        peers.join(key)
    assert all(peer % 2 == 0 for key in range(20) for peer in peers.neighbours(key))
    assert any(peers.neighbours(key) for key in range(1, 20, 2))


def test_joining_twice_changes_nothing() -> None:
    peers = graph(8)
    before = [peers.neighbours(key) for key in range(8)]
    assert peers.join(3) == set()
    assert [peers.neighbours(key) for key in range(8)] == before


class Joining(RuleBasedStateMachine):
    """Nodes join and leave."""

    def __init__(self) -> None:
        super().__init__()
        self.graph = PeerGraph(DEGREE, Random(0), lambda asker, peer: True, one_each)
        self.there: set[int] = set()
        self.known: dict[int, frozenset[int]] = {}

    @rule(key=st.integers(0, 30))
    def join(self, key: int) -> None:
        self.note(self.graph.join(key))
        self.there.add(key)

    @rule(key=st.integers(0, 30))
    def leave(self, key: int) -> None:
        self.there.discard(key)
        self.note(self.graph.leave(key))

    def note(self, changed: set[int]) -> None:
        for key in changed:
            self.known[key] = self.graph.neighbours(key)

    @invariant()
    def edges_hold_both_ways_and_each_change_is_reported(self) -> None:
        for key in self.there:
            neighbours = self.graph.neighbours(key)
            assert key not in neighbours
            assert neighbours <= self.there
            assert len(neighbours) <= 3 * DEGREE
            assert all(key in self.graph.neighbours(peer) for peer in neighbours)
            assert self.known[key] == neighbours


Joining.TestCase.settings = settings(max_examples=examples(50), stateful_step_count=40, deadline=None)
TestJoining = Joining.TestCase
