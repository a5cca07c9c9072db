"""What a node waits for, told in one place: what, from whom, since when, and what happens next.

Whatever waits for somebody else says so with `on`, and reports progress. After five seconds without progress one line
is told, then at most one a minute, whatever is waited for by then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import gevent

from xget_lib.node.awake import now
from xget_lib.report.waiting import APART, FIRST, Wait

_CHECK_EVERY = 0.25


class Tell(Protocol):
    """Where a node reports what happens: an event and its facts."""

    def __call__(self, event: str, **facts: Any) -> None: ...


class Waits:
    """One for the life of a node."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._describe: Callable[[], Wait] | None = None
        self._since = self._stalled_since = now()
        self._next_line = 0.0
        gevent.spawn(self._watch)

    @contextmanager
    def on(self, describe: Callable[[], Wait]) -> Iterator[None]:
        """While the block runs, `describe` says what it waits for. To begin is progress."""
        former, self._describe = self._describe, describe
        self.progress()
        try:
            yield
        finally:
            self._describe = former
            self.progress()

    def progress(self) -> None:
        """What is waited for comes nearer."""
        self._since = self._stalled_since = now()

    def postpone(self) -> None:
        """There is a reason why nothing comes: the time for --stall-timeout begins again."""
        self._stalled_since = now()

    def recover(self, seconds: float) -> None:
        """What is waited for has come nearer for so many seconds. As much of the time for --stall-timeout is forgotten:
        what stands still for most of the time runs out of it."""
        self._stalled_since = min(now(), self._stalled_since + 2 * seconds)

    @property
    def seconds(self) -> float:
        """How long there has been no progress."""
        return now() - self._since

    @property
    def stalled(self) -> float:
        """For how many seconds there has been no progress, and no reason for that."""
        return now() - self._stalled_since

    def _watch(self) -> None:
        while True:
            gevent.sleep(min(_CHECK_EVERY, FIRST))
            if self._describe is not None and self.seconds >= FIRST and now() >= self._next_line:
                self._next_line = now() + APART
                self._tell("stall", message=self._describe().line(self.seconds))
