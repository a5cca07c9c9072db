"""The master's part in noticing changes: while somebody follows, a worker watches what is served.

With nobody who follows it costs nothing: what is there is looked at when somebody comes. A worker that dies is replaced
by another, and what cannot be watched is looked at often instead. inotify does not tell of everything, so there are
looks besides also where it works.
"""

from __future__ import annotations

import time

from xget_lib import ipc
from xget_lib.master.rescan import RescanInterval, RescanSchedule
from xget_lib.master.workers import Pool, Worker
from xget_lib.report.log import LOGGER
from xget_lib.snapshot.watch import Changes

_AGAIN = 60.0
"""Seconds after which it is tried again to watch what could not be watched; sooner when somebody asks for a look."""


class ChangeMonitor:
    """Over one directory, or file."""

    def __init__(self, pool: Pool, looks: RescanSchedule, path: bytes, *, one_file_system: bool) -> None:
        self._pool = pool
        self._looks = looks
        self._order = ipc.Notice(path, one_file_system)
        self._wanted = False
        self._worker: Worker | None = None
        self._tried = 0.0
        self._why = ""
        """Nothing is noticed, for this reason."""

    @property
    def notices(self) -> bool:
        """Whether changes are noticed as they happen."""
        return self._looks.rhythm is RescanInterval.SELDOM

    def attend(self, followed: bool) -> None:
        """Somebody follows, or nobody does any more."""
        if followed == self._wanted:
            return
        self._wanted = followed
        if followed:
            self._begin()
        else:
            self._looks.rhythm = RescanInterval.NEVER
            if self._worker is not None and self._worker in self._pool.workers:
                self._pool.send(self._worker, ipc.StopNoticing())
            self._worker = None
            self._why = ""

    def check(self) -> None:
        """A worker has come: the one that watched may have ended."""
        if self._wanted and not self._why and self._worker not in self._pool.workers:
            self._begin()

    def again(self, *, asked: bool) -> None:
        """What could not be watched may be watched now: it is another, or somebody `asked`."""
        if self._wanted and self._why and (asked or time.monotonic() > self._tried + _AGAIN):
            self._begin()

    def handle(self, worker: Worker, message: ipc.Changed | ipc.CannotNotice) -> None:
        """What a worker says, if it is the one that watches."""
        if worker is not self._worker:
            return
        if isinstance(message, ipc.CannotNotice):
            self._worker = None
            self._looks.rhythm = RescanInterval.OFTEN
            if message.why != self._why:
                LOGGER.warning("changes are not noticed as they happen, but by looking often: %s", message.why)
            self._why = message.why
            return
        if self._why:
            LOGGER.warning("changes are noticed as they happen again")
            self._why = ""
        self._looks.rhythm = RescanInterval.SELDOM
        self._looks.for_changes(Changes(frozenset(message.directories), frozenset(message.trees), message.everything))

    def _begin(self) -> None:
        """Have a worker watch. When it does, it asks for a look at everything."""
        if not self._why:
            self._looks.rhythm = RescanInterval.NEVER
        self._tried = time.monotonic()
        self._worker = min(self._pool.workers, key=lambda worker: len(worker.connections), default=None)
        if self._worker is not None:
            self._pool.send(self._worker, self._order)
