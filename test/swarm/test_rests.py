"""A node whose chunk was slow rests, unless all were slow."""

from __future__ import annotations

from xget_lib.swarm.rests import Rests


def usual_arrivals(rests: Rests, until: float) -> None:
    """A chunk a second for other nodes, which took a second each."""
    for second in range(1, int(until) + 1):
        rests.arrived(1, second - 1.0, float(second), 1.0)


def test_a_node_rests_for_a_time_that_is_limited() -> None:
    rests = Rests()
    usual_arrivals(rests, 20)
    rests.arrived(2, 15.5, 20.5, 1.0)
    assert 2 in rests
    rests.end(30.0)
    assert 2 in rests
    rests.end(30.5)
    assert not rests


def test_a_chunk_that_took_little_longer_than_usual_is_no_reason() -> None:
    rests = Rests()
    usual_arrivals(rests, 20)
    rests.arrived(2, 18.6, 20.5, 1.0)
    assert not rests


def test_a_chunk_that_was_on_its_way_while_nothing_arrived_from_anybody_is_no_reason() -> None:
    rests = Rests()
    usual_arrivals(rests, 20)
    for node in range(2, 6):
        rests.arrived(node, 19.5, 30.0 + node, 1.0)
    assert not rests


def test_a_node_that_has_ended_is_forgotten() -> None:
    rests = Rests()
    usual_arrivals(rests, 20)
    rests.arrived(2, 15.5, 20.5, 1.0)
    rests.leave(2)
    assert not rests
