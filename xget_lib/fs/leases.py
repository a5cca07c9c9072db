"""Opening a file on which another program has a lease: fcntl(2), F_SETLEASE. Samba and NFS servers take them.

open(2) with O_NONBLOCK fails with EAGAIN then, but the kernel asks the other program to give the lease up.
"""

from __future__ import annotations

import time
from collections.abc import Callable

_AGAIN = 0.05
"""Seconds between two tries."""


class LeasePatience:
    """How long one task waits for leases, however many files have one. It blocks."""

    def __init__(self, seconds: float) -> None:
        self._left = seconds

    def open(self, open_it: Callable[[], int]) -> int:
        """What `open_it` returns as soon as it can. Raises BlockingIOError if the lease is kept for too long, and as
        `open_it` does."""
        while True:
            try:
                return open_it()
            except BlockingIOError:
                if self._left <= 0:
                    raise
                self._left -= _AGAIN
                time.sleep(_AGAIN)
