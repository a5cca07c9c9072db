"""The 9P messages of a connection in the log, with `-D 2`: what `ninep.trace` makes lines of."""

from __future__ import annotations

import logging
from collections.abc import Callable

from xget_lib.config import TRACE

_LOGGER = logging.getLogger("xget")


def tracer(peer: Callable[[], str]) -> Callable[[str], None] | None:
    """What logs a line about a connection to `peer`; None if the log does not want such lines."""
    if not _LOGGER.isEnabledFor(TRACE):
        return None
    name = peer()
    return lambda line: _LOGGER.log(TRACE, "%s: %s", name, line)
