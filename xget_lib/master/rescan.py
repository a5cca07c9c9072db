"""When a master looks at what it serves, and at how much of it.

Whoever has a reason says so here, and one task waits in `next`. Looking costs: the more, the longer a look takes, so
each reason has its own patience.

    at_once        somebody asks for it, or there has been no look yet
    for_stale      a file was found changed when it was to be sent; clients wait
    for_changes    changes were noticed, and where (`snapshot.watch`)
    for_arrival    somebody comes, who would rather have what is there now
    rhythm         somebody follows, and not everything is noticed
"""

from __future__ import annotations

import math
import time
from enum import Enum

from gevent.event import Event

from xget_lib.snapshot.watch import EVERYTHING, Changes

_STALE = 1.0
"""Seconds between the last look and one because of what is stale."""


class RescanInterval(Enum):
    """How long after the last look the next one comes by itself: so many seconds, or times as long as one takes."""

    NEVER = (math.inf, 0.0)
    SELDOM = (60.0, 50.0)
    """Changes are noticed, but for what inotify does not tell of."""
    OFTEN = (2.0, 10.0)
    """Changes are not noticed."""


_ARRIVAL = (10.0, 50.0)
"""As of a rhythm."""


class RescanSchedule:
    """Of one master."""

    def __init__(self) -> None:
        self._rhythm = RescanInterval.NEVER
        self._changes = Changes()
        self._changes_due = math.inf
        self._everything_due = math.inf
        self._ended = 0.0
        self._took = 0.0
        self._new = Event()

    def at_once(self) -> None:
        self._plan(0.0)

    def for_stale(self) -> None:
        self._plan(self._ended + _STALE)

    def for_arrival(self) -> None:
        self._plan(self._after(_ARRIVAL))

    def for_changes(self, changes: Changes) -> None:
        """At once, but looking must leave as much time as it takes."""
        self._changes |= changes
        self._changes_due = self._ended + self._took
        self._new.set()

    @property
    def rhythm(self) -> RescanInterval:
        return self._rhythm

    @rhythm.setter
    def rhythm(self, rhythm: RescanInterval) -> None:
        self._rhythm = rhythm
        self._new.set()

    def next(self) -> Changes:
        """Wait until a look is due; where to look. `done` must follow."""
        while True:
            now = time.monotonic()
            due = min(self._everything_due, self._after(self._rhythm.value))
            if now >= due:
                return self._take(EVERYTHING)
            if self._changes and now >= self._changes_due:
                return self._take(self._changes)
            if self._changes:
                due = min(due, self._changes_due)
            self._new.clear()
            self._new.wait(None if due == math.inf else due - now)

    def done(self, seconds: float) -> None:
        """A look has ended, however it did, that took so long."""
        self._ended = time.monotonic()
        self._took = seconds

    def _take(self, changes: Changes) -> Changes:
        self._changes = Changes()
        self._everything_due = math.inf if changes.everything else self._everything_due
        return changes

    def _plan(self, due: float) -> None:
        self._everything_due = min(self._everything_due, due)
        self._new.set()

    def _after(self, pause: tuple[float, float]) -> float:
        least, times = pause
        return self._ended + (max(least, times * self._took) if least < math.inf else math.inf)
