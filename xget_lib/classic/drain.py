"""The end of a server that C clients read from: they take the end of a connection for that of the file.

So a server that ends answers their reads with an error first, and waits a little for these to be asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Protocol

import gevent

_PATIENCE = 2.0
"""Seconds that C clients have to ask for more of what they are downloading, and to be told that it does not come."""
_LOOK_EVERY = 0.02


class Waited(Protocol):
    """A connection, or what stands for it."""

    def retry(self) -> None:
        """Has the reads that wait there asked again."""


def tell(connections: Iterable[Waited], downloading: Callable[[], bool]) -> None:
    """Returns when nobody is downloading any more, or patience is over. From before on, reads are refused."""
    deadline = time.monotonic() + _PATIENCE
    for connection in list(connections):
        connection.retry()
    while downloading() and time.monotonic() < deadline:
        gevent.sleep(_LOOK_EVERY)
