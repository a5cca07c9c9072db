"""When a node reports to the master what it wants from it."""

from __future__ import annotations

import pytest

from xget_lib.swarm.want_report import WantReport

ALL = (1 << 100) - 1


@pytest.mark.parametrize(
    ("wanted", "reported", "reports"),
    [
        (ALL, ALL, False),
        (ALL >> 50, ALL, False),  # fresh ones are left
        (ALL >> 75, ALL, True),
        (ALL >> 80, ALL >> 75, False),
        (ALL >> 88, ALL >> 75, True),  # less than half of what it was
        (0b1, 0b11, True),
        (0, 0b1, True),
        (0, 0, False),
        (0b100, 0b11, True),  # wanted again: a peer is gone
        (ALL, 0, True),
    ],
)
def test_a_node_reports_what_the_master_can_learn_from(wanted: int, reported: int, reports: bool) -> None:
    report = WantReport(100, ALL, 0.5)
    assert reported == ALL or report.must_report(reported, 0.0)
    assert report.must_report(wanted, 0.0) is reports


def test_a_node_that_has_something_reports_at_once() -> None:
    report = WantReport(100, ALL >> 1, 0.5)
    assert report.must_report(ALL >> 1, 0.0)
    assert not report.must_report(ALL >> 1, 0.0)


def test_a_chunk_that_the_master_takes_for_arrived_and_is_not_is_reported() -> None:
    report = WantReport(100, ALL, 0.5)
    report.took(3)
    assert not report.must_report(ALL & ~0b1000, 0.0)
    assert report.must_report(ALL, 0.0)


def test_a_master_that_offers_what_is_not_wanted_is_told_again() -> None:
    report = WantReport(100, ALL >> 1, 0.5)
    assert report.must_report(ALL >> 1, 0.0)
    report.took(99)
    assert report.must_report(ALL >> 1, 0.0)
    report.took(98)
    assert not report.must_report(ALL >> 2, 0.0)
