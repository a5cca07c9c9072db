"""When writes in a directory are watched: not for a while after one was seen, so that a busy writer causes few events.

Pure: times are monotonic seconds. Directories are known by their watch.
"""

from __future__ import annotations

from math import inf

WRITING = 2.0
"""Seconds for which writes are not watched after one was seen, and after which no further one means that it is over."""


class WritePauses:
    """Owned by an InotifyTree."""

    def __init__(self) -> None:
        self._paused: dict[int, float] = {}
        """Where writes are not watched: until when."""
        self._quiet: dict[int, float] = {}
        """Where something was written: when it counts as complete, if nothing more is written."""

    @property
    def any(self) -> bool:
        """Whether there may be writes that nobody sees."""
        return bool(self._paused)

    @property
    def due(self) -> float:
        """When `over` or `end` has something."""
        return min((*self._paused.values(), *self._quiet.values()), default=inf)

    def begin(self, watch: int, now: float) -> bool:
        """A write was seen. Returns whether to stop watching writes there; False: that is done already."""
        self._quiet.pop(watch, None)
        if watch in self._paused:
            return False
        self._paused[watch] = now + WRITING
        return True

    def await_quiet(self, watch: int, now: float) -> None:
        """Something may be written from now on, and writes there are watched. Its writer may never close it."""
        if watch not in self._paused:
            self._quiet.setdefault(watch, now + WRITING)

    def over(self, now: float) -> bool:
        """Whether something counts as complete since the last call."""
        found = [watch for watch, due in self._quiet.items() if due <= now]
        for watch in found:
            del self._quiet[watch]
        return bool(found)

    def end(self, now: float) -> list[int]:
        """Where writes must be watched again."""
        found = [watch for watch, due in self._paused.items() if due <= now]
        for watch in found:
            del self._paused[watch]
            self._quiet[watch] = now + WRITING
        return found

    def drop(self, watch: int) -> None:
        """The watch is gone."""
        self._paused.pop(watch, None)
        self._quiet.pop(watch, None)
