"""Decisions get their ticks in time, also when one is due earlier after an event."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf

import pytest

from test.support.network import quiet_hub, until
from xget_lib.node.awake import now
from xget_lib.node.ticker import Ticker


class Decisions:
    """Each tick decides one action, and none is due after it."""

    def __init__(self) -> None:
        self.next_tick = inf

    def tick(self, now: float) -> Sequence[str]:
        assert now >= self.next_tick
        self.next_tick = inf
        return ["action"]


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    with quiet_hub():
        yield


def test_the_actions_of_a_tick_are_carried_out_when_it_is_due() -> None:
    decisions, carried_out = Decisions(), list[str]()
    ticker = Ticker(decisions, carried_out.extend)
    for moment in (now() + 3600, now() + 0.01):
        assert carried_out == []
        decisions.next_tick = moment
        ticker.update()
    until(lambda: carried_out == ["action"])
    decisions.next_tick = now()
    ticker.update()
    until(lambda: carried_out == ["action"] * 2)
