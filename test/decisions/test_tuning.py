"""When the master hears what a node finds nowhere."""

from __future__ import annotations

import pytest

from xget_lib.swarm.tuning import TUNING

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
    assert TUNING.tells(unavailable, told, 100) is tells
