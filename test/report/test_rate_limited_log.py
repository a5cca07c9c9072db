"""Lines that strangers cause do not fill the log."""

from __future__ import annotations

import logging

import pytest

from xget_lib.report.log import LOGGER
from xget_lib.report.rate_limited_log import ALL_LINES, LINES, RateLimitedLog


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(LOGGER, "propagate", True)
    caplog.set_level(logging.INFO, "xget")
    return caplog


def test_an_address_causes_so_many_lines_a_minute(lines: pytest.LogCaptureFixture, clock: Clock) -> None:
    sparing = RateLimitedLog(2, clock)
    for number in range(10):
        sparing.log(logging.INFO, "10.0.0.1", "line %d", number)
        clock.now += 1
    sparing.log(logging.INFO, "10.0.0.2", "another")
    assert lines.messages == ["line 0", "line 1", "another"]


def test_how_many_were_left_out_is_said_when_there_is_room_again(lines: pytest.LogCaptureFixture, clock: Clock) -> None:
    sparing = RateLimitedLog(1, clock)
    for _ in range(10):
        sparing.log(logging.INFO, "10.0.0.1", "line")
    for _ in range(3):
        sparing.log(logging.INFO, "10.0.0.2", "line")
    lines.clear()
    clock.now += 60
    sparing.log(logging.INFO, "10.0.0.3", "later")
    assert lines.messages == ["11 lines like this were left out, 9 because of 10.0.0.1", "later"]
    lines.clear()
    clock.now += 60
    sparing.log(logging.INFO, "10.0.0.3", "later still")
    assert lines.messages == ["later still"]


def test_many_addresses_are_no_way_around_it(lines: pytest.LogCaptureFixture, clock: Clock) -> None:
    sparing = RateLimitedLog(LINES, clock)
    for number in range(100_000):
        sparing.log(logging.INFO, str(number), "line")
    assert len(lines.messages) == ALL_LINES
    assert len(sparing._left_out) <= ALL_LINES and len(sparing._said) <= ALL_LINES


def test_what_is_not_logged_at_all_is_not_counted(lines: pytest.LogCaptureFixture, clock: Clock) -> None:
    sparing = RateLimitedLog(1, clock)
    for _ in range(10):
        sparing.log(logging.DEBUG, "10.0.0.1", "line")
    sparing.log(logging.INFO, "10.0.0.1", "line")
    assert lines.messages == ["line"]
