"""The last warnings and errors of a process, for whoever looks at it and does not have its log."""

from __future__ import annotations

import logging
from collections import Counter, deque

from xget_lib.dataclass import dataclass
from xget_lib.errors import TEXT_LIMIT, one_line

LINES = 50
"""Lines that are kept."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the log."""

    time: float
    """Seconds since 1970."""
    level: str
    """`warning` or `error`."""
    text: str


class RecentLines(logging.Handler):
    """Keeps what is logged at level WARNING and above, and counts it. Owned by the process that adds it to the log."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: deque[Line] = deque(maxlen=LINES)
        """The oldest first."""
        self.counts: Counter[str] = Counter(warning=0, error=0)
        """Lines since the process started, by level."""

    def emit(self, record: logging.LogRecord) -> None:
        level = "error" if record.levelno >= logging.ERROR else "warning"
        self.counts[level] += 1
        try:
            self.lines.append(Line(record.created, level, one_line(record.getMessage(), TEXT_LIMIT)))
        except Exception:
            self.handleError(record)  # as logging's own handlers do
