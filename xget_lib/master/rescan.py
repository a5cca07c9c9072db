"""When a master scans its directory again, and how it learns of changes.

One greenlet of the master waits until the RescanSchedule says that a scan is due, and scans. While a node follows, the
ChangeMonitor has a worker watch the directory. Without followers nothing is watched: a scan is made when a node joins.
"""

from __future__ import annotations

import math
import time
from enum import Enum

from gevent.event import Event

from xget_lib import ipc
from xget_lib.master.worker_process import WorkerProcess
from xget_lib.master.workers import WorkerPool
from xget_lib.report.log import LOGGER

_RETRY = 60.0
"""Seconds after which a worker is asked again to watch what it could not; at once on SIGHUP."""

_Delay = tuple[float, float]
"""The time from the end of the last scan: (seconds, multiple of the duration of that scan). The longer one counts."""


class ScanReason(Enum):
    """Why to scan once more, and after which _Delay."""

    REQUEST = (0.0, 0.0)
    """SIGHUP, or there was no scan yet."""
    FILE_CHANGED = (1.0, 0.0)
    """A file was found changed when it was to be sent; clients wait."""
    DIRECTORY_CHANGED = (0.0, 1.0)
    """inotify reported something."""
    NODE_JOINED = (10.0, 50.0)
    """The node should get what is there now."""


class RescanInterval(Enum):
    """The _Delay from each scan to the next if nothing happens."""

    NEVER = (math.inf, 0.0)
    """No node follows."""
    SELDOM = (60.0, 50.0)
    """The directory is watched; inotify does not report everything."""
    OFTEN = (2.0, 10.0)
    """The directory cannot be watched."""


class RescanSchedule:
    """When the next scan is due. Owned by the master."""

    def __init__(self) -> None:
        self.interval = RescanInterval.NEVER
        """Set it with `repeat`."""
        self._due = math.inf
        self._ended = 0.0
        """When the last scan ended, in monotonic seconds."""
        self._took = 0.0
        """Seconds that it took."""
        self._updated = Event()

    def request(self, reason: ScanReason) -> None:
        """Scan once. The earliest of several requests counts for all."""
        self._due = min(self._due, self._after(reason.value))
        self._updated.set()

    def repeat(self, interval: RescanInterval) -> None:
        """Scan again and again."""
        self.interval = interval
        self._updated.set()

    def wait(self) -> None:
        """Wait until a scan is due. `done` must follow."""
        while True:
            now = time.monotonic()
            due = min(self._due, self._after(self.interval.value))
            if now >= due:
                self._due = math.inf
                return
            self._updated.clear()
            self._updated.wait(None if due == math.inf else due - now)

    def done(self, seconds: float) -> None:
        """A scan has ended after this many seconds, with or without success."""
        self._ended = time.monotonic()
        self._took = seconds

    def _after(self, delay: _Delay) -> float:
        seconds, scans = delay
        return self._ended + max(seconds, scans * self._took)


class ChangeMonitor:
    """Has one worker watch the directory while a node follows; another one when that worker dies. Owned by the master.

    A directory that cannot be watched is scanned often instead.
    """

    def __init__(self, pool: WorkerPool, schedule: RescanSchedule, path: bytes, *, one_file_system: bool) -> None:
        self._pool = pool
        self._schedule = schedule
        self._order = ipc.WatchDirectory(path, one_file_system)
        self._followed = False
        self._watcher: WorkerProcess | None = None
        """The worker that watches, or was asked to."""
        self._asked = 0.0
        """When."""
        self._why_not = ""
        """Why the directory cannot be watched; "" if no worker reported a failure."""

    @property
    def watching(self) -> bool:
        """Whether a worker watches the directory and reports changes."""
        return self._schedule.interval is RescanInterval.SELDOM

    def set_followed(self, followed: bool) -> None:
        """Some node follows, or none does any longer."""
        if followed == self._followed:
            return
        self._followed = followed
        if followed:
            self._begin()
            return
        self._schedule.repeat(RescanInterval.NEVER)
        if self._watcher is not None and self._watcher in self._pool.workers:
            self._pool.send(self._watcher, ipc.StopWatching())
        self._watcher = None
        self._why_not = ""

    def worker_started(self) -> None:
        """A worker has started: the one that watched may have died."""
        if self._followed and not self._why_not and self._watcher not in self._pool.workers:
            self._begin()

    def retry(self, *, asked: bool) -> None:
        """Try again if watching failed: there may be room for watches now. `asked`: because of SIGHUP."""
        if self._followed and self._why_not and (asked or time.monotonic() > self._asked + _RETRY):
            self._begin()

    def changed(self, worker: WorkerProcess) -> None:
        """A worker watches the directory, and something in it may have changed."""
        if worker is not self._watcher:
            return
        if self._why_not:
            LOGGER.warning("watching for changes with inotify again")
            self._why_not = ""
        self._schedule.repeat(RescanInterval.SELDOM)
        self._schedule.request(ScanReason.DIRECTORY_CHANGED)

    def failed(self, worker: WorkerProcess, why: str) -> None:
        """A worker cannot watch the directory."""
        if worker is not self._watcher:
            return
        self._watcher = None
        self._schedule.repeat(RescanInterval.OFTEN)
        if why != self._why_not:
            LOGGER.warning("cannot watch for changes with inotify, rescanning periodically: %s", why)
        self._why_not = why

    def _begin(self) -> None:
        """Ask a worker to watch. It reports a change as soon as it does."""
        if not self._why_not:
            self._schedule.repeat(RescanInterval.NEVER)
        self._asked = time.monotonic()
        self._watcher = min(self._pool.workers, key=lambda worker: len(worker.connections), default=None)
        if self._watcher is not None:
            self._pool.send(self._watcher, self._order)
