"""The clock for a `Downloader` or an `Uploader`: these have none of their own. All their times are those of
`node.awake`: while the node itself is stopped, no chunk becomes overdue and nobody is late."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from typing import Protocol, TypeVar

import gevent
from gevent.event import Event

from xget_lib.node.awake import now

A = TypeVar("A", covariant=True)


class Decisions(Protocol[A]):
    """A `Downloader` or an `Uploader`."""

    @property
    def next_tick(self) -> float: ...

    def tick(self, now: float) -> Sequence[A]: ...


class Ticker:
    """Calls `tick` when it is due, and passes the actions to `carry_out`. Owned by the owner of the decisions."""

    def __init__(self, decisions: Decisions[A], carry_out: Callable[[Sequence[A]], None]) -> None:
        self._decisions = decisions
        self._next_tick = inf
        self._wake = Event()
        gevent.spawn(self._run, decisions, carry_out)

    def update(self) -> None:
        """To be called after each event: a tick may be due earlier now."""
        if self._decisions.next_tick < self._next_tick:
            self._wake.set()

    def _run(self, decisions: Decisions[A], carry_out: Callable[[Sequence[A]], None]) -> None:
        while True:
            self._next_tick = decisions.next_tick
            wait = self._next_tick - now()
            self._wake.wait(max(0.0, wait) if wait < inf else None)
            self._wake.clear()
            moment = now()
            if moment >= decisions.next_tick:
                carry_out(decisions.tick(moment))
