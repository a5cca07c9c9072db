"""Whether chunks may be written in the event loop: a thread for each costs more than the write if the disk is quick."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from typing import TypeVar

IN_LOOP = 256 * 1024
"""Bytes that are verified and written in the loop at most: a quarter of a millisecond."""
_PIECES = 4
"""Pieces of such a chunk, at most: each may be a file that must be opened."""
_QUICK = 0.01
"""Seconds for a chunk after which the disk counts as slow, if the thread has waited for it. A thread that does not run
because others do has not waited."""
_THREADS_AFTER = 64
"""Chunks that are written in threads after one that was slow, and each of them quick: a busy disk would stop the loop
again and again."""

T = TypeVar("T")


class DiskSpeed:
    """What was seen of the disk. Owned by a `Transfer`."""

    def __init__(self) -> None:
        self._in_threads = 0
        """Chunks that must be written in threads before one is written in the loop again."""

    def may_write_in_loop(self, length: int, pieces: int) -> bool:
        return not self._in_threads and length <= IN_LOOP and pieces <= _PIECES

    def watch(self, write: Callable[[], T]) -> T:
        """Call what writes a chunk, in the thread where it is to run, and see how long the disk keeps it waiting."""
        begun, waits = time.monotonic(), _waits()
        try:
            return write()
        finally:
            self.wrote(time.monotonic() - begun, waited=_waits() > waits)

    def wrote(self, seconds: float, *, waited: bool) -> None:
        """Verifying and writing a chunk took so long. `waited`: whether its thread waited for anything meanwhile."""
        if seconds > _QUICK and waited:
            self._in_threads = _THREADS_AFTER
        elif self._in_threads:
            self._in_threads -= 1


def _waits() -> int:
    """How often this thread has waited for something other than a processor."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
