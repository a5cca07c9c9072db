"""When a master scans its directory again, and how it learns of changes.

Each reason for a scan is a method of RescanSchedule. One greenlet of the master calls `wait`, scans, and calls `done`.
Each reason has its own delay, and the longer a scan takes, the rarer scans are:

    request             SIGHUP, or there was no scan yet
    file_changed        a file was found changed when it was to be sent; clients wait
    directory_changed   inotify reported something
    node_joined         a node would rather have what is there now
    interval            a node follows, and inotify does not report everything

While a node follows, the ChangeMonitor has a worker watch the directory. Without followers nothing is watched: what is
there is scanned when a node joins.
"""

from __future__ import annotations

import math
import time
from enum import Enum

from gevent.event import Event

from xget_lib import ipc
from xget_lib.master.workers import Worker, WorkerPool
from xget_lib.report.log import LOGGER

_STALE = 1.0
"""Seconds between the end of the last scan and one because a file was found changed."""
_JOINED = (10.0, 50.0)
"""As in RescanInterval: between the last scan and one because a node joined."""
_RETRY = 60.0
"""Seconds after which a worker is asked again to watch what it could not; at once on SIGHUP."""


class RescanInterval(Enum):
    """Time from one scan to the next: the longer of so many seconds, and so many times as long as a scan takes."""

    NEVER = (math.inf, 0.0)
    SELDOM = (60.0, 50.0)
    """The directory is watched; inotify does not report everything."""
    OFTEN = (2.0, 10.0)
    """The directory cannot be watched."""


class RescanSchedule:
    """When the next scan is due. Owned by the master."""

    def __init__(self) -> None:
        self._interval = RescanInterval.NEVER
        self._due = math.inf
        self._ended = 0.0
        """When the last scan ended, in monotonic seconds."""
        self._took = 0.0
        """Seconds that it took."""
        self._updated = Event()

    def request(self) -> None:
        self._plan(0.0)

    def file_changed(self) -> None:
        self._plan(self._ended + _STALE)

    def directory_changed(self) -> None:
        # Scans leave as much time as they take.
        self._plan(self._ended + self._took)

    def node_joined(self) -> None:
        self._plan(self._after(_JOINED))

    @property
    def interval(self) -> RescanInterval:
        return self._interval

    @interval.setter
    def interval(self, interval: RescanInterval) -> None:
        self._interval = interval
        self._updated.set()

    def wait(self) -> None:
        """Wait until a scan is due. `done` must follow."""
        while True:
            now = time.monotonic()
            due = min(self._due, self._after(self._interval.value))
            if now >= due:
                self._due = math.inf
                return
            self._updated.clear()
            self._updated.wait(None if due == math.inf else due - now)

    def done(self, seconds: float) -> None:
        """A scan has ended, with whatever result, after so many seconds."""
        self._ended = time.monotonic()
        self._took = seconds

    def _plan(self, due: float) -> None:
        self._due = min(self._due, due)
        self._updated.set()

    def _after(self, delay: tuple[float, float]) -> float:
        seconds, scans = delay
        return self._ended + (max(seconds, scans * self._took) if seconds < math.inf else math.inf)


class ChangeMonitor:
    """Has one worker watch the directory while a node follows; another one when that worker dies. Owned by the master.

    What cannot be watched is scanned often instead.
    """

    def __init__(self, pool: WorkerPool, schedule: RescanSchedule, path: bytes, *, one_file_system: bool) -> None:
        self._pool = pool
        self._schedule = schedule
        self._order = ipc.WatchDirectory(path, one_file_system)
        self._followed = False
        self._watcher: Worker | None = None
        """The worker that watches, or was asked to."""
        self._asked = 0.0
        """When."""
        self._why_not = ""
        """Why the directory cannot be watched; "" if it can, as far as is known."""

    @property
    def watching(self) -> bool:
        """Whether changes are reported as they happen."""
        return self._schedule.interval is RescanInterval.SELDOM

    def set_followed(self, followed: bool) -> None:
        """Some node follows, or none does any longer."""
        if followed == self._followed:
            return
        self._followed = followed
        if followed:
            self._begin()
            return
        self._schedule.interval = RescanInterval.NEVER
        if self._watcher is not None and self._watcher in self._pool.workers:
            self._pool.send(self._watcher, ipc.StopWatching())
        self._watcher = None
        self._why_not = ""

    def worker_started(self) -> None:
        """A worker has started: the one that watched may have died."""
        if self._followed and not self._why_not and self._watcher not in self._pool.workers:
            self._begin()

    def retry(self, *, asked: bool) -> None:
        """There may be room for watches now: something changed, or a scan was `asked` for."""
        if self._followed and self._why_not and (asked or time.monotonic() > self._asked + _RETRY):
            self._begin()

    def changed(self, worker: Worker) -> None:
        """A worker watches the directory, and something in it may have changed."""
        if worker is not self._watcher:
            return
        if self._why_not:
            LOGGER.warning("watching for changes with inotify again")
            self._why_not = ""
        self._schedule.interval = RescanInterval.SELDOM
        self._schedule.directory_changed()

    def failed(self, worker: Worker, why: str) -> None:
        """A worker cannot watch the directory."""
        if worker is not self._watcher:
            return
        self._watcher = None
        self._schedule.interval = RescanInterval.OFTEN
        if why != self._why_not:
            LOGGER.warning("cannot watch for changes with inotify, rescanning periodically: %s", why)
        self._why_not = why

    def _begin(self) -> None:
        """Ask a worker to watch. It reports a change as soon as it does."""
        if not self._why_not:
            self._schedule.interval = RescanInterval.NEVER
        self._asked = time.monotonic()
        self._watcher = min(self._pool.workers, key=lambda worker: len(worker.connections), default=None)
        if self._watcher is not None:
            self._pool.send(self._watcher, self._order)
