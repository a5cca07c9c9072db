"""When a master scans its directory again, and how it learns of changes.

One greenlet of the master waits until the RescanSchedule says that a scan is due, and scans. The ChangeMonitor has a
worker watch the directory, so that neither new clients nor followers have to wait for a scan that finds nothing.
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
"""Since the end of the last scan: so many seconds, or so many times as long as it took without hashing, whichever is
longer."""


_CHEAP = 0.1
"""Seconds of a scan that takes less than a client takes to start: some ten thousand files."""
_TRUSTED: _Delay = (0.0, 10.0)
"""For so long after a scan that is not cheap, nothing has changed if inotify has reported nothing. So scans for clients
take a tenth of one core at most."""


class ScanReason(Enum):
    """Why to scan once more, and after which _Delay."""

    REQUEST = (0.0, 0.0)
    """SIGHUP, `xget.py reload`, there was no scan yet, or something changed and a client waits for it."""
    CLIENT_ARRIVED = (0.0, 3.0)
    """Nothing is known to have changed, but a scan costs less than a doubt. So it takes a quarter of one core."""
    FILE_CHANGED = (0.2, 0.0)
    """A file was found changed when it was to be sent; clients wait."""
    DIRECTORY_CHANGED = (0.0, 1.0)
    """inotify reported something."""
    NOBODY_FOLLOWS = (1.0, 10.0)
    """inotify reported something, and no node has to have it at once."""
    STILL_CHANGING = (2.0, 10.0)
    """A file is left out, which may be complete soon. Or the scan failed."""
    ALWAYS_CHANGING = (60.0, 10.0)
    """A file has been left out for long; inotify probably reports when it is complete."""


class RescanInterval(Enum):
    """The _Delay from each scan to the next if nothing happens."""

    NEVER = (math.inf, 0.0)
    """No node follows."""
    SELDOM = (60.0, 10.0)
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
        """A scan has ended, with whatever result. It took so many seconds without hashing."""
        self._ended = time.monotonic()
        self._took = seconds

    @property
    def is_cheap(self) -> bool:
        """Whether a scan takes so little time that one is made for each group of clients."""
        return self._took < _CHEAP

    @property
    def trusts_watch(self) -> bool:
        """Whether a new client needs no scan if inotify has reported nothing: it does not report everything."""
        return not self.is_cheap and time.monotonic() < self._after(_TRUSTED)

    def _after(self, delay: _Delay) -> float:
        seconds, scans = delay
        return self._ended + max(seconds, scans * self._took)


class ChangeMonitor:
    """Has one worker watch the directory; another one when that worker dies. Owned by the master.

    While a node follows, what cannot be watched is scanned often instead. Otherwise a scan is made for each new client.
    """

    def __init__(self, pool: WorkerPool, schedule: RescanSchedule, path: bytes, *, one_file_system: bool) -> None:
        self._pool = pool
        self._schedule = schedule
        self._order = ipc.WatchDirectory(path, one_file_system)
        self._followed = False
        self._watcher: WorkerProcess | None = None
        """The worker that watches, or was asked to."""
        self._begun = False
        """Whether it does."""
        self._asked = 0.0
        """When it was asked, in monotonic seconds."""
        self._why_not = ""
        """Why the directory cannot be watched; "" if no worker reported a failure."""
        self._answered = Event()
        """Set when a worker has said for the first time whether it watches."""

    def wait(self, seconds: float) -> None:
        """Wait until the directory is watched, or cannot be, but not longer than this."""
        self._answered.wait(seconds)

    @property
    def watching(self) -> bool:
        """Whether changes are reported as they happen."""
        return self._begun

    def set_followed(self, followed: bool) -> None:
        """Some node follows, or none does any longer."""
        if followed != self._followed:
            self._followed = followed
            self._set_interval()

    def worker_started(self) -> None:
        """A worker has started: the one that watched may have died."""
        if not self._why_not and self._watcher not in self._pool.workers:
            self._begin()

    def retry(self, *, asked: bool) -> None:
        """Try again if watching failed: there may be room for watches now. `asked`: because of SIGHUP."""
        if self._why_not and (asked or time.monotonic() > self._asked + _RETRY):
            self._begin()

    def check(self) -> bool:
        """Ask the worker if something happened since its last report. Returns whether it will answer."""
        return self._begun and self._watcher is not None and self._pool.send(self._watcher, ipc.CheckDirectory())

    def is_watcher(self, worker: WorkerProcess) -> bool:
        return worker is self._watcher

    def lost(self) -> bool:
        """Whether the worker that watched has ended, or is late: another one begins to watch then."""
        watcher = self._watcher
        if watcher is None or (watcher in self._pool.workers and not self._pool.others_answer(watcher)):
            return False
        self._watcher, self._begun = None, False
        self._set_interval()
        if watcher in self._pool.workers:
            self._begin()
        return True

    def changed(self, worker: WorkerProcess) -> None:
        """A worker watches the directory, and something in it may have changed."""
        if worker is not self._watcher:
            return
        if self._why_not:
            LOGGER.warning("watching for changes with inotify again")
            self._why_not = ""
        self._begun = True
        self._answered.set()
        self._set_interval()
        self._schedule.request(ScanReason.DIRECTORY_CHANGED if self._followed else ScanReason.NOBODY_FOLLOWS)

    def failed(self, worker: WorkerProcess, why: str) -> None:
        """A worker cannot watch the directory."""
        if worker is not self._watcher:
            return
        self._watcher, self._begun = None, False
        if why != self._why_not:
            LOGGER.warning("cannot watch for changes with inotify; scanning for each client instead: %s", why)
        self._why_not = why
        self._answered.set()
        self._set_interval()

    def _set_interval(self) -> None:
        """A scan now and then, if a node follows."""
        interval = RescanInterval.SELDOM if self._begun else RescanInterval.OFTEN
        self._schedule.repeat(interval if self._followed and (self._begun or self._why_not) else RescanInterval.NEVER)

    def _begin(self) -> None:
        """Ask a worker to watch. It reports a change as soon as it does."""
        self._asked = time.monotonic()
        self._begun = False
        self._watcher = min(
            self._pool.workers, key=lambda worker: (worker.is_late, len(worker.connections)), default=None
        )
        if self._watcher is not None:
            self._pool.send(self._watcher, self._order)
