"""The processor time of a server, shared by hosts.

One connection after the other is served, each until it has to wait, or has used up its turn. If each connection had a
turn of its own, a host with a thousand busy connections would get a thousand times as much as others. So all
connections of a host have one turn: when it is used up, they queue for the next one, and each round of the event loop
gives it to one of them.
"""

from __future__ import annotations

from time import perf_counter

import gevent
from gevent.lock import BoundedSemaphore

TURN = 0.002
"""Seconds of one turn."""
_HIGHEST = 2
"""Priority in the event loop (libev). Waiting with it for an idle loop returns when the loop has looked at all sockets
once, although others may be ready. After `gevent.sleep(0)` it may not have looked at any."""


class Turn:
    """The turn of one host. Its connections own it together."""

    def __init__(self) -> None:
        self._spent = 0.0
        """Seconds, since the turn began."""
        self._queue = BoundedSemaphore(1)

    @property
    def over(self) -> bool:
        return self._spent >= TURN

    def spent_since(self, begun: float) -> bool:
        """The time since `begun`, in seconds of perf_counter, was used. Returns whether the turn is over."""
        self._spent += perf_counter() - begun
        return self._spent >= TURN

    def wait(self) -> None:
        """Let others run, and return when this connection has the next turn of its host."""
        with self._queue:
            gevent.idle(_HIGHEST)
            self._spent = 0.0
