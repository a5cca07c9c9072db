"""A worker watches the served directory for the master, which never touches what it serves.

Changes that follow one another are reported together, such as those of an archive that is unpacked. Adding watches to
a hundred thousand directories takes seconds, so it is done in a thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

import gevent
from gevent import socket as gsocket

from xget_lib import ipc
from xget_lib.errors import CannotStart, CannotWatch
from xget_lib.net.threads import in_thread
from xget_lib.report.log import LOGGER
from xget_lib.snapshot.watch import InotifyTree, Seen

_SILENCE = 0.25
"""Changes are reported after this many seconds without a further change,"""
_LONGEST = 2.0
"""but at most this many seconds after the first change."""


class DirectoryWatcher:
    """The watch of one worker, owned by it. `send` sends a message to the master."""

    def __init__(self, send: Callable[[ipc.Message], None]) -> None:
        self._send = send
        self._task: gevent.Greenlet[..., None] | None = None
        self._tree: InotifyTree | None = None
        """None while the directory is not watched."""
        self._unreported = False
        """Whether something happened that the master was not told of."""

    def begin(self, order: ipc.WatchDirectory) -> None:
        """Begin to watch. The first report says that it has begun: anything may have changed before."""
        self.end()
        self._task = gevent.spawn(self._run, order.path, order.one_file_system)

    def end(self) -> None:
        if self._task is not None:
            self._task.kill(block=False)
            self._task = None

    def check(self) -> None:
        """Report at once whether something happened since the last report. Returns when that is done."""
        tree = self._tree
        try:
            if tree is not None:
                self._read(tree)
        except CannotWatch as error:
            self.end()
            self._send(ipc.WatchFailed(str(error)))
        changed = tree is None or tree is not self._tree or tree.outdated or self._unreported
        self._unreported = False
        self._send(ipc.Checked(changed))

    def _run(self, path: bytes, one_file_system: bool) -> None:
        try:
            while True:
                self._watch(path, one_file_system)
        except (CannotWatch, CannotStart) as error:
            self._send(ipc.WatchFailed(str(error)))

    def _watch(self, path: bytes, one_file_system: bool) -> None:
        """Report changes until the directory must be watched anew. Raises CannotWatch."""
        begun = time.monotonic()
        tree = in_thread(InotifyTree, path, one_file_system=one_file_system)
        try:
            LOGGER.debug("watching %d directories, after %.1f s", tree.count, time.monotonic() - begun)
            self._tree = tree
            self._report()
            while not tree.outdated:
                if self._wait_for_change(tree) and not tree.outdated:
                    self._report()
        finally:
            self._tree = None
            # In a thread: close() waits for a thread that is reading.
            gevent.spawn(in_thread, tree.close)

    def _report(self) -> None:
        self._unreported = False
        self._send(ipc.Changed())

    def _read(self, tree: InotifyTree) -> Seen:
        """Raises CannotWatch."""
        seen: Seen = in_thread(tree.read)
        if seen > Seen.NOTHING:
            self._unreported = True
        return seen

    def _wait_for_change(self, tree: InotifyTree) -> bool:
        """Wait for events, and for those that come with them. Returns whether a change is complete."""
        with suppress(TimeoutError):
            gsocket.wait_read(tree.fileno(), tree.wait())
        until = time.monotonic() + _LONGEST
        seen = self._read(tree)
        while not tree.outdated and time.monotonic() < until:
            gevent.sleep(_SILENCE)
            new = self._read(tree)
            if new < Seen.CHANGED:
                break
            seen = new
        return seen is Seen.CHANGED
