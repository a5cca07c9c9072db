"""Whether the nursery works. One that is stopped or hangs starts no worker in the place of one that ended.

As long as a worker answers, the master goes on without it, and says so. A master that has neither serves nobody, and
cannot get on by itself, since it cannot fork: it ends the nursery, and itself with an error, so that init restarts it.

Pings are counted, not seconds: a master that was stopped itself cannot tell from a clock whether others were silent.
"""

from __future__ import annotations

from xget_lib.process.nursery import Nursery
from xget_lib.report.log import LOGGER

_LATE = 3
"""Pauses between two pings without an answer after which a line says so,"""
_LINES_APART = 30
"""and between two such lines."""
_SILENT = 8
"""Pauses without an answer after which the nursery counts as hung: 16 seconds in which this process ran."""


class NurseryWatch:
    """Owned by the WorkerPool."""

    def __init__(self, nursery: Nursery, pause: float) -> None:
        """`tick` is called every `pause` seconds."""
        self._nursery = nursery
        self._pause = pause
        self._pauses = 0
        """Since the ping that is not answered; 0 while there is none."""

    def tick(self, *, some_worker_answers: bool) -> bool:
        """A pause is over. Returns whether the nursery hangs, and the master cannot go on. Raises LinkLost if it is
        gone."""
        if self._pauses == 0:
            self._nursery.ping()  # only one: a stopped process takes none away from its channel
        elif self._pauses >= _SILENT and not some_worker_answers:
            LOGGER.error(
                "process %d, which starts workers, has not answered for %d s (is it stopped?); no worker answers"
                " either: killing it",
                *self._silence,
            )
            self._nursery.end_hung()
            return True
        elif self._pauses >= _LATE and (self._pauses - _LATE) % _LINES_APART == 0:
            LOGGER.warning(
                "process %d, which starts workers, has not answered for %d s (is it stopped?); workers that end are not"
                " replaced meanwhile",
                *self._silence,
            )
        self._pauses += 1
        return False

    def answered(self) -> None:
        """It has done everything that it was asked before the ping."""
        if self._pauses > _LATE:
            LOGGER.warning("the process that starts workers answers again")
        self._pauses = 0

    @property
    def is_late(self) -> bool:
        """Whether it has not answered a ping before the next one was due: what it should report may be overdue."""
        return self._pauses > 1

    @property
    def problem(self) -> str | None:
        """Why workers that end are not replaced; None if they are."""
        if self._pauses <= _LATE:
            return None
        pid, seconds = self._silence
        return f"process {pid}, which starts workers, has not answered for {seconds:.0f} s (is it stopped?)"

    @property
    def _silence(self) -> tuple[int, float]:
        """Which process is silent, and for how many seconds."""
        return self._nursery.pid, self._pauses * self._pause
