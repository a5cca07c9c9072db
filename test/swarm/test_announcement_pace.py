"""Readers of `have` hear of changes at once when it was quiet, else about as often as a few chunks arrive."""

from __future__ import annotations

from math import inf

import pytest

from xget_lib.swarm.announcement_pace import AnnouncementPace


def test_nothing_is_due_before_something_has_changed() -> None:
    pace = AnnouncementPace(6, 0.03, 0.5)
    assert pace.due == inf
    pace.changed(10.0)
    assert pace.due <= 10.0
    pace.announced(10.0)
    assert pace.due == inf


def test_the_next_change_waits_for_the_end_of_the_pause() -> None:
    pace = AnnouncementPace(6, 0.03, 0.5)
    pace.changed(10.0)
    pace.announced(10.0)
    pace.changed(10.001)
    assert pace.due == pytest.approx(10.03)


@pytest.mark.parametrize(("between", "pause"), [(0.001, 0.03), (0.05, 0.3), (100.0, 0.5)])
def test_a_pause_lasts_as_long_as_a_few_chunks_take_within_its_bounds(between: float, pause: float) -> None:
    pace = AnnouncementPace(6, 0.03, 0.5)
    for number in range(200):
        pace.changed(number * between)
    assert pace.pause == pytest.approx(pause, rel=0.01)


def test_another_generation_is_announced_and_says_nothing_of_how_fast_chunks_arrive() -> None:
    pace = AnnouncementPace(6, 0.03, 0.5)
    pace.restart()
    assert pace.due <= 0.0
    pace.announced(0.0)
    pace.changed(50.0)
    assert pace.pause == 0.03
