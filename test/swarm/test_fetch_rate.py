"""How fast a node fetches, by what it reports."""

from __future__ import annotations

from xget_lib.swarm.fetch_rate import FetchRate


def test_the_rate_is_that_between_the_last_two_reports() -> None:
    rate = FetchRate()
    assert rate.rate(0.0) == 0
    rate.reported(0, 0.0)
    rate.reported(1000, 10.0)
    assert rate.rate(10.0) == 100
    rate.reported(1000, 20.0)
    assert rate.rate(20.0) == 0


def test_reports_that_are_close_together_make_no_rate() -> None:
    rate = FetchRate()
    rate.reported(0, 0.0)
    rate.reported(1000, 0.001)
    assert rate.rate(0.001) == 0
    rate.reported(1000, 1.0)
    assert rate.rate(1.0) == 1000


def test_another_run_begins_at_nothing() -> None:
    rate = FetchRate()
    rate.reported(0, 0.0)
    rate.reported(1000, 10.0)
    rate.reported(10, 20.0)
    assert rate.rate(20.0) == 0
    rate.reported(110, 30.0)
    assert rate.rate(30.0) == 10


def test_an_old_rate_is_none() -> None:
    rate = FetchRate()
    rate.reported(0, 0.0)
    rate.reported(1000, 10.0)
    assert rate.rate(41.0) == 0
