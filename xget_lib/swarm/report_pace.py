"""When a node reports to the master how much it holds."""

from __future__ import annotations

from math import inf


class ReportPace:
    """Owned by a `Downloader`. Times are monotonic seconds."""

    def __init__(self, pause: float, now: float) -> None:
        """Reports are at least `pause` seconds apart, but for urgent ones."""
        self._pause = pause
        self._reported = now
        self.due = inf
        """When the next report is to be made; infinite where nothing has changed since the last one."""

    def changed(self, now: float, *, urgent: bool = False) -> None:
        """What is reported has changed."""
        self.due = min(self.due, now if urgent else max(now, self._reported + self._pause))

    def reported(self, now: float) -> None:
        self._reported, self.due = now, inf
