"""Whether chunks may be written in the event loop: a thread for each costs more than the write if the disk is quick."""

from __future__ import annotations

IN_LOOP = 256 * 1024
"""Bytes that are verified and written in the loop at most: a quarter of a millisecond."""
_PIECES = 4
"""Pieces of such a chunk, at most: each may be a file that must be opened."""
_QUICK = 0.005
"""Seconds that writing a chunk takes at most if the disk is quick."""
_TRIALS = 8
"""Chunks in a row that must be quick, first in threads,"""
_TRIALS_AFTER = 64
"""and after one that was not: the disk is busy then, and would stop the loop again and again."""


class DiskSpeed:
    """What was seen of the disk. Owned by a `Transfer`."""

    def __init__(self) -> None:
        self._trials = _TRIALS

    def may_write_in_loop(self, length: int, pieces: int) -> bool:
        return not self._trials and length <= IN_LOOP and pieces <= _PIECES

    def wrote(self, length: int, seconds: float) -> None:
        """Verifying and writing this many bytes took so long."""
        if seconds > _QUICK * max(1.0, length / IN_LOOP):
            self._trials = _TRIALS_AFTER
        elif self._trials:
            self._trials -= 1
