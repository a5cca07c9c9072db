"""Lines that strangers cause, in a log that they must not fill: some for each of them, and then how many were left out.

Time is counted in minutes that begin with the first line.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from xget_lib.report.log import LOGGER

MINUTE = 60.0
LINES = 30
"""In a minute because of one address: a client that says what went wrong is heard."""
ALL_LINES = 600
"""In a minute because of everybody, so that many addresses are no way around it: 100 MB a day at worst."""


class RateLimitedLog:
    """One kind of lines; `clock` gives monotonic seconds."""

    def __init__(self, lines: int = LINES, clock: Callable[[], float] = time.monotonic) -> None:
        """So many in a minute because of one address."""
        self._lines = lines
        self._clock = clock
        self._ends = 0.0
        self._said: Counter[str] = Counter()
        self._left_out: Counter[str] = Counter()

    def log(self, level: int, address: str, message: str, *arguments: object) -> None:
        """A line because of an address, if there is room for it."""
        if not LOGGER.isEnabledFor(level):
            return
        if self._clock() >= self._ends:
            self._begin_minute(level)
        if self._said[address] < self._lines and self._said.total() < ALL_LINES:
            self._said[address] += 1
            LOGGER.log(level, message, *arguments)
        elif address in self._left_out or len(self._left_out) < ALL_LINES:
            self._left_out[address] += 1

    def _begin_minute(self, level: int) -> None:
        left_out, self._left_out = self._left_out, Counter()
        self._said.clear()
        self._ends = self._clock() + MINUTE
        if left_out:
            most, count = left_out.most_common(1)[0]
            LOGGER.log(level, "%d lines like this were left out, %d because of %s", left_out.total(), count, most)
