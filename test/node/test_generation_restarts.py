"""How long a node waits before it begins another generation, and when it gives up."""

from __future__ import annotations

from itertools import pairwise
from math import inf
from random import Random

import pytest

from xget_lib.errors import KeepsChanging
from xget_lib.node.generation_restarts import AT_ONCE, LIMIT, GenerationRestarts

MIB = 1 << 20


def test_the_first_restarts_are_not_delayed() -> None:
    restarts = GenerationRestarts(Random(1), 0.0)
    assert [restarts.pause(0, inf, 1.0) for _ in range(AT_ONCE)] == [0.0] * AT_ONCE


def test_a_node_that_gains_nothing_waits_longer_each_time_and_gives_up() -> None:
    restarts, pauses, clock = GenerationRestarts(Random(1), 0.0), [], 0.0
    with pytest.raises(
        KeepsChanging, match=f"^the master's directory keeps changing: {LIMIT} generations in "
    ) as caught:
        while True:
            pauses.append(restarts.pause(0, 100 * MIB, clock))
            clock += pauses[-1] + 1
    later = pauses[AT_ONCE:]
    assert len(pauses) == LIMIT - 1 and all(after > before / 2 for before, after in pairwise(later))
    assert 10 < sum(pauses) < 120
    assert caught.value.seconds == clock


def test_a_node_that_has_less_to_fetch_each_time_goes_on_without_a_pause() -> None:
    restarts = GenerationRestarts(Random(1), 0.0)
    lacking = 1000.0 * MIB
    while lacking > 0:
        lacking -= 2 * MIB
        assert restarts.pause(2 * MIB, lacking, 0.0) == 0.0
    for _ in range(AT_ONCE):
        restarts.pause(0, 0, 0.0)


@pytest.mark.parametrize(("fetched", "shrinks"), [(0, 2 * MIB), (2 * MIB, 0)])
def test_a_master_that_only_announces_less_or_only_sends_more_is_no_gain(fetched: int, shrinks: int) -> None:
    restarts = GenerationRestarts(Random(1), 0.0)
    with pytest.raises(KeepsChanging):
        for number in range(3 * LIMIT):
            restarts.pause(fetched, 1e12 - number * shrinks, 0.0)
