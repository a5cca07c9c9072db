"""A log for messages that other machines cause, so that none of them can fill the disk.

Per minute, a limited number of messages is logged for each host. Then one message says how many were dropped. The fewer
messages are left for all hosts, the fewer a host may have (a dynamic threshold, as in the buffers of switches): so the
hosts with most messages reach their limits first, and something is left for those that have had none.

Where thousands of hosts report the same, as when a file system is full on all of them, twenty lines say it as well.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Mapping

from xget_lib.report.log import LOGGER
from xget_lib.swarm.hosts import host_of

MINUTE = 60.0
LINES = 30
"""Messages per minute and host."""
ALL_LINES = 600
"""Messages per minute from all hosts together: at most 100 MB a day."""
ALIKE = 20
"""Messages per minute with the same cause."""
_CAUSES_TOLD = 10
"""Causes that are told of with the number of messages that were not logged."""
_NUMBER = re.compile(r"\d+")
_SHARE = ALL_LINES // LINES - 1
"""A host may have this part of what is left for all, and one message at least."""


class RateLimitedLog:
    """Limits one kind of messages. A minute begins with its first message."""

    def __init__(self, lines: int = LINES, clock: Callable[[], float] = time.monotonic) -> None:
        """`lines`: messages per minute and host. `clock` gives monotonic seconds."""
        self._lines = lines
        self._clock = clock
        self._ends = 0.0
        self._total = 0
        self._logged: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        self._causes: Counter[str] = Counter()
        """By cause, without its numbers: messages of this minute, also those that were not logged,"""
        self._examples: dict[str, str] = {}
        """and the first of them as it was."""

    def log(
        self,
        level: int,
        address: str,
        message: str,
        *arguments: object,
        cause: str = "",
        extra: Mapping[str, object] | None = None,
    ) -> None:
        """Log a message that `address` caused, unless the limit of its host is reached.

        `cause`: what many hosts may report alike; numbers in it do not count. `extra`: as logging takes it.
        """
        host = host_of(address)
        if not LOGGER.isEnabledFor(level):
            return
        if self._clock() >= self._ends:
            self._begin_minute(level)
        if cause and not self._is_new(cause):
            return
        left = ALL_LINES - self._total
        if left and self._logged[host] < min(self._lines, max(1, left // _SHARE)):
            self._total += 1
            self._logged[host] += 1
            LOGGER.log(level, message, *arguments, extra=extra)
        elif host in self._dropped or len(self._dropped) < ALL_LINES:
            self._dropped[host] += 1

    def _is_new(self, cause: str) -> bool:
        """Count a cause. Returns whether it may have another message."""
        kind = _NUMBER.sub("0", cause)
        if kind not in self._causes and len(self._causes) >= ALL_LINES:
            return True  # the limit of all messages holds
        self._causes[kind] += 1
        self._examples.setdefault(kind, cause)
        return self._causes[kind] <= ALIKE

    def _begin_minute(self, level: int) -> None:
        dropped, self._dropped = self._dropped, Counter()
        causes, self._causes = self._causes, Counter()
        examples, self._examples = self._examples, {}
        self._logged.clear()
        self._total = 0
        self._ends = self._clock() + MINUTE
        if dropped:
            host, count = dropped.most_common(1)[0]
            LOGGER.log(level, "dropped %d similar messages, %d of them caused by %s", dropped.total(), count, host)
        for kind, count in causes.most_common(_CAUSES_TOLD):
            if count > ALIKE:
                LOGGER.log(level, "%d more like this: %s", count - ALIKE, examples[kind])
