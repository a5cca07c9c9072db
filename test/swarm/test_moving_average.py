"""The moving average follows what it is told, slowly."""

from __future__ import annotations

import pytest

from xget_lib.swarm.moving_average import MovingAverage


def test_it_follows_the_samples() -> None:
    average = MovingAverage(1.0)
    average.add(9.0)
    assert average.value == pytest.approx(2.0)
    for _ in range(100):
        average.add(5.0)
    assert average.value == pytest.approx(5.0, abs=0.001)
