"""`--rate`: limits what all connections for content of a process receive together.

A connection that has to wait does not read: then its peer cannot send more than the kernel keeps, which is little.
"""

from __future__ import annotations

import socket
from time import monotonic

import gevent
from gevent.lock import BoundedSemaphore

from xget_lib.net.rate_limit import TokenBucket

_KERNEL_KEEPS = 0.1
"""Seconds whose bytes the kernel may keep for each connection,"""
_KERNEL_LEAST = 128 * 1024
"""and the least bytes: fewer make every connection slow."""
_KERNEL_MOST = 4 * 1024 * 1024


class ReceiveLimit:
    """One for a process. Its connections share it."""

    def __init__(self, rate: float) -> None:
        """`rate`: bytes per second."""
        self._bucket = TokenBucket(rate, monotonic())
        self._queue = BoundedSemaphore(1)
        """Of connections that wait, the first has it."""
        self._kept = min(_KERNEL_MOST, max(_KERNEL_LEAST, int(rate * _KERNEL_KEEPS)))

    def prepare(self, sock: socket.socket) -> None:
        """Let the kernel keep little of what arrives on a connection. Raises OSError."""
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._kept)

    def wait(self) -> int:
        """Return when something may be received, and how many bytes at most."""
        with self._queue:
            while (delay := self._bucket.delay(monotonic())) > 0:
                gevent.sleep(delay)
        return self._bucket.portion

    def received(self, count: int) -> None:
        """So many bytes have been received."""
        self._bucket.take(count)
