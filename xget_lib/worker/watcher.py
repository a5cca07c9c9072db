"""A worker watches the served directory for the master, which never touches what it serves.

Changes that follow one another are reported together, such as those of an archive that is unpacked. Adding watches to
a hundred thousand directories takes seconds, so it is done in a thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import gevent
from gevent import get_hub
from gevent import socket as gsocket

from xget_lib import ipc
from xget_lib.errors import CannotWatch
from xget_lib.net.blocking import in_thread
from xget_lib.report.log import LOGGER
from xget_lib.snapshot.watch import InotifyTree

_SILENCE = 0.25
"""Changes are reported after this many seconds without a further change,"""
_LONGEST = 2.0
"""but at most this many seconds after the first change."""


class DirectoryWatcher:
    """The watch of one worker, owned by it. `send` sends a message to the master."""

    def __init__(self, send: Callable[[ipc.Message], None]) -> None:
        self._send = send
        self._task: gevent.Greenlet[..., None] | None = None

    def begin(self, order: ipc.WatchDirectory) -> None:
        """Begin to watch. The first report says that it has begun: anything may have changed before."""
        self.end()
        self._task = gevent.spawn(self._run, order.path, order.one_file_system)

    def end(self) -> None:
        if self._task is not None:
            self._task.kill(block=False)
            self._task = None

    def _run(self, path: bytes, one_file_system: bool) -> None:
        try:
            while True:
                self._watch(path, one_file_system)
        except CannotWatch as error:
            self._send(ipc.WatchFailed(str(error)))

    def _watch(self, path: bytes, one_file_system: bool) -> None:
        """Report changes until the directory must be watched anew. Raises CannotWatch."""
        begun = time.monotonic()
        tree = in_thread(InotifyTree, path, one_file_system=one_file_system)
        try:
            LOGGER.debug(
                "watching %d directories; adding the watches took %.1f s", tree.count, time.monotonic() - begun
            )
            self._send(ipc.Changed())
            while not tree.outdated:
                if _wait_for_change(tree) and not tree.outdated:
                    self._send(ipc.Changed())
        finally:
            # In a thread: close() waits for a thread that is reading.
            get_hub().threadpool.spawn(tree.close)


def _wait_for_change(tree: InotifyTree) -> bool:
    """Wait for events, and for those that come with them. Returns whether something changed."""
    gsocket.wait_read(tree.fileno())
    until = time.monotonic() + _LONGEST
    changed: bool = in_thread(tree.read)
    while not tree.outdated and time.monotonic() < until:
        gevent.sleep(_SILENCE)
        if not in_thread(tree.read):
            break
        changed = True
    return changed
