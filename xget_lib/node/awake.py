"""A clock that stands still while this process does not run: stopped by a signal, or on a suspended machine.

CLOCK_MONOTONIC goes on while a process is stopped. Whatever is late by it after such a pause may have been in time, so
the node measures the silence of others with this clock. Its event loop looks at the time several times a second; of the
time between two looks it counts a second at most.
"""

from __future__ import annotations

import os
import time

import gevent

_LOOK_EVERY = 0.25
"""Seconds."""
_COUNTED = 1.0
"""Seconds between two looks that count, at most."""


class _Clock:
    """One in each process that waits."""

    def __init__(self) -> None:
        self._counted = self._looked_at = time.monotonic()
        gevent.spawn(self._look)

    def now(self) -> float:
        return self._counted + min(time.monotonic() - self._looked_at, _COUNTED)

    def _look(self) -> None:
        while True:
            gevent.sleep(_LOOK_EVERY)
            self._counted, self._looked_at = self.now(), time.monotonic()


_clocks: dict[int, _Clock] = {}
"""By process: a forked one has none of the greenlets of its parent."""


def now() -> float:
    """Seconds since any moment, without those in which this process did not run."""
    pid = os.getpid()
    clock = _clocks.get(pid)
    if clock is None:
        clock = _clocks[pid] = _Clock()
    return clock.now()
