"""The last warnings and errors of a process, which others may cause: few, short, and counted."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from xget_lib.errors import TEXT_LIMIT
from xget_lib.report.recent_lines import LINES, RecentLines


@pytest.fixture
def log() -> Iterator[tuple[logging.Logger, RecentLines]]:
    logger, recent = logging.Logger("test"), RecentLines()
    logger.addHandler(recent)
    yield logger, recent


def test_warnings_and_errors_are_kept_and_counted(log: tuple[logging.Logger, RecentLines]) -> None:
    logger, recent = log
    logger.info("not this")
    logger.warning("node %d lags", 7)
    logger.critical("broken")
    assert [(line.level, line.text) for line in recent.lines] == [("warning", "node 7 lags"), ("error", "broken")]
    assert recent.counts == {"warning": 1, "error": 1}


def test_only_the_last_lines_are_kept(log: tuple[logging.Logger, RecentLines]) -> None:
    logger, recent = log
    for number in range(3 * LINES):
        logger.warning("%d", number)
    assert (len(recent.lines), recent.lines[-1].text) == (LINES, str(3 * LINES - 1))
    assert recent.counts["warning"] == 3 * LINES


def test_a_line_of_a_stranger_is_short_and_printable(log: tuple[logging.Logger, RecentLines]) -> None:
    logger, recent = log
    logger.warning("a\x1b[2Jb\nc" + "x" * 10_000)
    (line,) = recent.lines
    assert line.text.isprintable() and len(line.text) == TEXT_LIMIT
