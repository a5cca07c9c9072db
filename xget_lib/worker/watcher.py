"""A worker notices changes for the master, which itself never touches what it serves.

Events are gathered until there is a moment's silence, or for some seconds where there is none: an archive that is
unpacked is one change, or few. Adding watches to a hundred thousand directories takes seconds, so it is done in a
thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import gevent
from gevent import get_hub
from gevent import socket as gsocket

from xget_lib import ipc
from xget_lib.errors import CannotWatch
from xget_lib.net.waiting import in_thread
from xget_lib.report.log import LOGGER
from xget_lib.snapshot.watch import EVERYTHING, Changes, InotifyTree

_SILENCE = 0.25
_LONGEST = 2.0
_TOLD = 32 * 1024
"""Bytes of paths in one message. More is as good as everything."""


class DirectoryWatcher:
    """What one worker notices. `tell` sends a message to the master."""

    def __init__(self, tell: Callable[[ipc.Message], None]) -> None:
        self._tell = tell
        self._task: gevent.Greenlet[..., None] | None = None

    def begin(self, order: ipc.Notice) -> None:
        """Notice changes from soon on; the first that is told is that there may have been any before."""
        self.end()
        self._task = gevent.spawn(self._notice, order.path, order.one_file_system)

    def end(self) -> None:
        if self._task is not None:
            self._task.kill(block=False)
            self._task = None

    def _notice(self, path: bytes, one_file_system: bool) -> None:
        try:
            while True:
                self._watch(path, one_file_system)
        except CannotWatch as error:
            self._tell(ipc.CannotNotice(str(error)))

    def _watch(self, path: bytes, one_file_system: bool) -> None:
        """Until everything must be watched anew."""
        begun = time.monotonic()
        watches = in_thread(InotifyTree, path, one_file_system=one_file_system)
        try:
            LOGGER.debug("watching %d directories, after %.1f s", watches.count, time.monotonic() - begun)
            changes = EVERYTHING
            while True:
                self._tell_of(changes)
                changes = _gathered(watches)
                if changes.everything:
                    return
        finally:
            # In a thread: it waits for one that is just reading.
            get_hub().threadpool.spawn(watches.close)

    def _tell_of(self, changes: Changes) -> None:
        if sum(len(path) for path in (*changes.directories, *changes.trees)) > _TOLD:
            changes = EVERYTHING
        if changes:
            self._tell(ipc.Changed(tuple(changes.directories), tuple(changes.trees), changes.everything))


def _gathered(watches: InotifyTree) -> Changes:
    """Wait for a change, and for what comes with it."""
    gsocket.wait_read(watches.fileno())
    until = time.monotonic() + _LONGEST
    changes = in_thread(watches.read)
    while not changes.everything and time.monotonic() < until:
        gevent.sleep(_SILENCE)
        more = in_thread(watches.read)
        if not more:
            break
        changes |= more
    return changes
