"""Reports to the master are seldom, but for urgent ones."""

from __future__ import annotations

from math import inf

from xget_lib.swarm.report_pace import ReportPace


def test_a_change_is_reported_when_the_pause_is_over() -> None:
    pace = ReportPace(10.0, 0.0)
    assert pace.due == inf
    pace.changed(4.0)
    pace.changed(5.0)
    assert pace.due == 10.0
    pace.reported(10.0)
    assert pace.due == inf
    pace.changed(25.0)
    assert pace.due == 25.0


def test_an_urgent_change_is_reported_at_once() -> None:
    pace = ReportPace(10.0, 0.0)
    pace.changed(1.0)
    pace.changed(2.0, urgent=True)
    assert pace.due == 2.0
