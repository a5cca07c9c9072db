"""When an ended worker is replaced: at once, but after growing pauses if workers end again and again as they start."""

from __future__ import annotations

from xget_lib.swarm.backoff import doubled

YOUNG = 10.0
"""A worker that lived for fewer seconds than this ended young."""
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 30.0
"""Seconds."""
_LOG_EVERY = 60.0
"""Seconds between two log lines about workers that end young for the same reason."""


class WorkerRestarts:
    """Owned by the WorkerPool. Workers are numbered: the one that replaces another has its number. Times are monotonic
    seconds."""

    def __init__(self) -> None:
        self._ended_young: dict[int, int] = {}
        """By number: how often in a row."""
        self._logged: dict[int, tuple[str, float]] = {}
        """By number: the last reason that was logged for a worker that ended young, and when."""

    def pause(self, number: int, lived: float) -> float:
        """A worker has ended, or could not be started (it lived for 0 seconds). Returns the seconds after which
        another is started."""
        if lived >= YOUNG:
            self._ended_young.pop(number, None)
            return 0.0
        before = self._ended_young.get(number, 0)
        self._ended_young[number] = before + 1
        if not before and lived:
            return 0.0
        return doubled(_FIRST_PAUSE, max(before - 1, 0), _LONGEST_PAUSE)

    def should_log(self, number: int, reason: str, lived: float, now: float) -> bool:
        """Whether to log that a worker has ended for this reason: not each time when it ends young for the same one."""
        if lived >= YOUNG:
            return True
        logged = self._logged.get(number)
        if logged is not None and logged[0] == reason and now < logged[1] + _LOG_EVERY:
            return False
        self._logged[number] = reason, now
        return True
