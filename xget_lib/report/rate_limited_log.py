"""A log for messages that other machines cause, so that none of them can fill the disk.

Per minute, a limited number of messages is logged for each host. Then one message says how many were dropped. The fewer
messages are left for all hosts, the fewer a host may have (a dynamic threshold, as in the buffers of switches): so the
hosts with most messages reach their limits first, and something is left for those that have had none.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from xget_lib.report.log import LOGGER
from xget_lib.swarm.hosts import host_of

MINUTE = 60.0
LINES = 30
"""Messages per minute and host."""
ALL_LINES = 600
"""Messages per minute from all hosts together: at most 100 MB a day."""
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

    def log(self, level: int, address: str, message: str, *arguments: object) -> None:
        """Log a message that `address` caused, unless the limit of its host is reached."""
        host = host_of(address)
        if not LOGGER.isEnabledFor(level):
            return
        if self._clock() >= self._ends:
            self._begin_minute(level)
        left = ALL_LINES - self._total
        if left and self._logged[host] < min(self._lines, max(1, left // _SHARE)):
            self._total += 1
            self._logged[host] += 1
            LOGGER.log(level, message, *arguments)
        elif host in self._dropped or len(self._dropped) < ALL_LINES:
            self._dropped[host] += 1

    def _begin_minute(self, level: int) -> None:
        dropped, self._dropped = self._dropped, Counter()
        self._logged.clear()
        self._total = 0
        self._ends = self._clock() + MINUTE
        if dropped:
            host, count = dropped.most_common(1)[0]
            LOGGER.log(level, "dropped %d similar messages, %d of them caused by %s", dropped.total(), count, host)
