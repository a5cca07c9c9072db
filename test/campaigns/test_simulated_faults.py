"""A short version of the campaign of simulated faults. A seed that fails prints what was drawn from it."""

from __future__ import annotations

import pytest

from test.campaigns.simulated_faults import fault
from test.sim.faults import GRACE, FaultScenario, drawn, play_faults
from test.sim.hostile import KINDS


@pytest.mark.parametrize("first", range(1, 41, 10))
def test_honest_nodes_finish_in_time_whatever_happens_to_the_others(first: int) -> None:
    assert [wrong for wrong in map(fault, range(first, first + 10)) if wrong] == []


@pytest.mark.parametrize("kind", [kind.__name__ for kind in KINDS])
def test_a_third_of_one_kind_costs_the_others_a_deadline_at_most(kind: str) -> None:
    hostile = dict.fromkeys((0, 3, 6), kind)
    scenario = FaultScenario(1, nodes=9, chunks=64, size=1 << 16, rate=1e6, latency=0.001, spread=0.1, hostile=hostile)
    assert play_faults(scenario).late == []


SLOW = {
    "one link of a tenth": ({0: 0.1}, {}),
    "one link of a twentieth": ({0: 0.05}, {}),
    "three links of a twentieth": (dict.fromkeys(range(3), 0.05), {}),
    "one peer that is never overdue": ({}, {0: "Punctual"}),
    "three peers that are never overdue": ({}, dict.fromkeys(range(3), "Punctual")),
}


@pytest.mark.parametrize("others", [1, 3, 9])
@pytest.mark.parametrize("name", SLOW)
def test_holders_that_are_slow_cost_less_than_the_time_without_them(name: str, others: int) -> None:
    """The times are some 5 seconds without faults, and 100 were usual with them: no deadline is added here."""
    slow, hostile = SLOW[name]
    scenario = FaultScenario(
        1,
        nodes=len(slow) + len(hostile) + others,
        chunks=512,
        size=1 << 17,
        rate=100e6 / 8,
        latency=0.0005,
        spread=0.1,
        hostile=hostile,
        slow=slow,
    )
    result = play_faults(scenario)
    assert {key: seconds for key, seconds in result.seconds.items() if seconds > result.bounds[key] - GRACE} == {}


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("kind", ["Punctual", "links of a fiftieth"])
def test_nodes_outside_the_first_tier_are_not_late_because_of_slow_holders(kind: str, seed: int) -> None:
    """The one node that asks the master first has stopped. Before, the others took up to 160 seconds."""
    punctual = kind == "Punctual"
    scenario = FaultScenario(
        seed,
        nodes=5,
        chunks=512,
        size=1 << 17,
        rate=100e6 / 8,
        latency=0.0005,
        spread=0.1,
        hostile=dict.fromkeys(range(3), kind) if punctual else {},
        slow={} if punctual else dict.fromkeys(range(3), 0.02),
        stopped={3: 0.1},
        first_tier=1,
    )
    assert play_faults(scenario).late == []


def test_a_run_is_the_same_again() -> None:
    assert play_faults(drawn(7)) == play_faults(drawn(7))
