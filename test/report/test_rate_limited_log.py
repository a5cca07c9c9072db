"""Other machines cannot fill the log."""

from __future__ import annotations

import logging

import pytest

from xget_lib.report.log import LOGGER
from xget_lib.report.rate_limited_log import ALIKE, ALL_LINES, LINES, RateLimitedLog


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


def test_each_address_has_a_limit_per_minute(lines: pytest.LogCaptureFixture, clock: Clock) -> None:
    limited = RateLimitedLog(2, clock)
    for number in range(10):
        limited.log(logging.INFO, "10.0.0.1", "line %d", number)
        clock.now += 1
    limited.log(logging.INFO, "10.0.0.2", "another")
    assert lines.messages == ["line 0", "line 1", "another"]


def test_dropped_messages_are_counted_in_the_next_minute(lines: pytest.LogCaptureFixture, clock: Clock) -> None:
    limited = RateLimitedLog(1, clock)
    for _ in range(10):
        limited.log(logging.INFO, "10.0.0.1", "line")
    for _ in range(3):
        limited.log(logging.INFO, "10.0.0.2", "line")
    lines.clear()
    clock.now += 60
    limited.log(logging.INFO, "10.0.0.3", "later")
    assert lines.messages == ["dropped 11 similar messages, 9 of them caused by 10.0.0.1", "later"]
    lines.clear()
    clock.now += 60
    limited.log(logging.INFO, "10.0.0.3", "later still")
    assert lines.messages == ["later still"]


def test_all_addresses_together_have_a_limit(lines: pytest.LogCaptureFixture, clock: Clock) -> None:
    limited = RateLimitedLog(LINES, clock)
    for number in range(20 * ALL_LINES):
        limited.log(logging.INFO, str(number), "line")
    assert len(lines.messages) == ALL_LINES
    assert len(limited._dropped) <= ALL_LINES and len(limited._logged) <= ALL_LINES


def test_messages_below_the_log_level_are_not_counted(lines: pytest.LogCaptureFixture, clock: Clock) -> None:
    limited = RateLimitedLog(1, clock)
    for _ in range(10):
        limited.log(logging.DEBUG, "10.0.0.1", "line")
    limited.log(logging.INFO, "10.0.0.1", "line")
    assert lines.messages == ["line"]


def test_addresses_of_one_ipv6_network_share_a_limit(lines: pytest.LogCaptureFixture, clock: Clock) -> None:
    limited = RateLimitedLog(2, clock)
    for number in range(10):
        limited.log(logging.INFO, f"2001:db8::{number}", "line")
    assert lines.messages == ["line", "line"]


def test_hosts_with_many_messages_leave_something_for_those_that_have_had_none(
    lines: pytest.LogCaptureFixture, clock: Clock
) -> None:
    limited = RateLimitedLog(clock=clock)
    for number in range(100_000):
        limited.log(logging.INFO, f"10.0.0.{number % 100}", "loud")
    loud = len(lines.messages)
    for number in range(50):
        limited.log(logging.INFO, f"10.0.1.{number}", "quiet")
    assert lines.messages[loud:] == ["quiet"] * 50


def test_a_single_host_has_its_whole_share(lines: pytest.LogCaptureFixture, clock: Clock) -> None:
    limited = RateLimitedLog(clock=clock)
    for _ in range(100):
        limited.log(logging.INFO, "10.0.0.1", "line")
    assert len(lines.messages) == LINES


def test_thousands_that_fail_alike_are_twenty_lines_and_a_sum(lines: pytest.LogCaptureFixture, clock: Clock) -> None:
    limited = RateLimitedLog(LINES, clock)
    for number in range(10_000):
        why = f"/dest: disk full: needs 64 MiB, has {number} MiB free"
        limited.log(logging.INFO, f"10.{number >> 8}.{number & 255}.1", "%s", why, cause=why)
    limited.log(logging.INFO, "10.99.0.1", "another reason", cause="permission denied")
    assert len(lines.messages) == ALIKE + 1
    lines.clear()
    clock.now += 60
    limited.log(logging.INFO, "10.0.0.1", "later")
    alike = f"{10_000 - ALIKE} more like this: /dest: disk full: needs 64 MiB, has 0 MiB free"
    assert lines.messages == [alike, "later"]


def test_causes_are_not_counted_without_end(lines: pytest.LogCaptureFixture, clock: Clock) -> None:
    limited = RateLimitedLog(LINES, clock)
    for number in range(5 * ALL_LINES):
        limited.log(logging.INFO, f"10.0.{number}.1", "x", cause="x" * number)
    assert len(lines.messages) <= ALL_LINES
    assert len(limited._causes) <= ALL_LINES
