"""Logs the 9P messages of a connection, with `-D 2`. `ninep.trace` makes the lines."""

from __future__ import annotations

from collections.abc import Callable

from xget_lib.config import TRACE
from xget_lib.report.log import LOGGER


def tracer(peer: str) -> Callable[[str], None] | None:
    """The function that logs a line about a connection to `peer`; None if the log does not want such lines."""
    return (lambda line: LOGGER.log(TRACE, "%s: %s", peer, line)) if LOGGER.isEnabledFor(TRACE) else None
