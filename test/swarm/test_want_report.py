"""When the master hears what a node finds nowhere."""

from __future__ import annotations

import pytest

from xget_lib.swarm.want_report import WantReport

ALL = (1 << 100) - 1


@pytest.mark.parametrize(
    ("unavailable", "told", "tells"),
    [
        (ALL, ALL, False),
        (ALL >> 50, ALL, False),  # fresh ones are left
        (ALL >> 75, ALL, True),
        (ALL >> 80, ALL >> 75, False),
        (ALL >> 88, ALL >> 75, True),  # less than half of what it was
        (0b1, 0b11, True),
        (0, 0b1, True),
        (0, 0, False),
        (0b100, 0b11, True),  # missed again: a peer has gone
        (ALL, 0, True),
    ],
)
def test_the_master_hears_what_it_can_learn_from(unavailable: int, told: int, tells: bool) -> None:
    missed = WantReport(100, ALL)
    assert told == ALL or missed.tells(told)
    assert missed.tells(unavailable) is tells


def test_the_master_hears_at_once_of_a_node_that_has_something() -> None:
    missed = WantReport(100, ALL >> 1)
    assert missed.tells(ALL >> 1)
    assert not missed.tells(ALL >> 1)


def test_what_the_master_takes_for_arrived_and_is_not_is_told() -> None:
    missed = WantReport(100, ALL)
    missed.asked(3)
    assert not missed.tells(ALL & ~0b1000)
    assert missed.tells(ALL)


def test_a_master_that_offers_what_is_not_missed_has_not_heard_of_that() -> None:
    missed = WantReport(100, ALL >> 1)
    assert missed.tells(ALL >> 1)
    missed.asked(99)
    assert missed.tells(ALL >> 1)
    missed.asked(98)
    assert not missed.tells(ALL >> 2)
