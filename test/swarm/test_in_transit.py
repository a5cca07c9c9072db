"""Limits that are widened by what is on its way."""

from __future__ import annotations

from xget_lib.swarm.in_transit import InTransit

NEAR = 0.0004


def after(*chunks: tuple[float, float]) -> InTransit:
    """Of chunks that took so many seconds, of which so many passed in messages over a distance."""
    made = InTransit(2.0)
    for seconds, idle in chunks:
        made.add(seconds, NEAR + idle / 2.0)
    return made


def test_a_short_way_changes_nothing() -> None:
    assert after().widen(4) == 4
    assert after((0.2, 0.0)).widen(4) == 4
    assert after(*[(0.2, 0.0)] * 100).widen(4) == 4


def test_as_many_flow_as_the_limit_says() -> None:
    # 8 at once: half of the time of each nothing is sent, so 4 flow.
    assert after((0.2, 0.1)).widen(4) == 8
    assert after(*[(0.2, 0.02)] * 100).widen(8) == 9


def test_there_is_a_most() -> None:
    assert after((1.0, 1.0)).widen(4) == 16
    assert after((1.0, 7.0)).widen(4) == 16


def test_slots_that_are_returned_at_once_count_for_their_time_only() -> None:
    returned = [(0.0015, 0.001)] * 20
    assert after(*[(0.2, 0.001)] * 60, *returned).widen(4) == 4


def test_it_forgets() -> None:
    assert after(*[(0.2, 0.1)] * 100, *[(0.2, 0.0)] * 400).widen(4) == 4
