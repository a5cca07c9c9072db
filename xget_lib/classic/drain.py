"""The end of a server that C clients read from: they take the end of a connection for the end of the file.

So a server that ends answers their reads with an error first, and waits a little until they have seen it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Protocol

import gevent

_PATIENCE = 2.0
"""Seconds that C clients have to ask for more of what they are downloading, and to get the error."""
_CHECK_EVERY = 0.02


class Waiting(Protocol):
    """A client whose reads may wait."""

    def retry(self) -> None: ...


def drain(clients: Iterable[Waiting], downloading: Callable[[], bool]) -> None:
    """Return when nobody is downloading any more, or after `_PATIENCE`. The caller refuses all reads already."""
    deadline = time.monotonic() + _PATIENCE
    for client in list(clients):
        client.retry()
    while downloading() and time.monotonic() < deadline:
        gevent.sleep(_CHECK_EVERY)
