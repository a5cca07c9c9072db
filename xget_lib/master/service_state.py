"""What the service manager is told of a master: that clients can be served, what is served, and that its loop works."""

from __future__ import annotations

import time
from typing import Any, Protocol

import gevent
from gevent.queue import Queue

from xget_lib.master import events
from xget_lib.master.commands import Reload
from xget_lib.process.notify import Notifier
from xget_lib.report.events import counted, size
from xget_lib.swarm.tracker import Tracker

_MORE_SECONDS = 180.0
"""That a first scan may take, from each moment at which it gets on."""


class Published(Protocol):
    """What the master's `Publisher` says of itself."""

    @property
    def serves(self) -> bool: ...

    @property
    def scan_gets_on(self) -> bool: ...

    @property
    def percent_hashed(self) -> int: ...

    def status(self) -> dict[str, Any]: ...


class _HasTracker(Protocol):
    tracker: Tracker


class ServiceState:
    """Owned by the master. Each `StateDue` in the queue of its loop leads to one call of `tell`: if the loop hangs, the
    service manager hears nothing, and restarts the service."""

    def __init__(
        self, notifier: Notifier, publisher: Published, tracker: _HasTracker, queue: Queue[events.Event]
    ) -> None:
        self._notifier = notifier
        self._publisher = publisher
        self._tracker = tracker
        self._events = queue
        self._is_ready = False
        self._reloads: list[Reload] = []
        """Those that have not ended."""

    def start(self) -> None:
        if self._notifier.is_wanted:
            gevent.spawn(self._tell_regularly)

    def reload_begins(self, reload: Reload) -> None:
        """A scan that was asked for. Its answer ends it."""
        if not self._notifier.is_wanted:
            return
        self._reloads.append(reload)
        reload.answer.rawlink(lambda _: self._events.put(events.StateDue()))
        if self._is_ready:
            self._notifier.reloading()

    def tell(self) -> None:
        """Tell how this master does now."""
        if not self._notifier.is_wanted:
            return
        were_reloading, self._reloads = bool(self._reloads), [one for one in self._reloads if not one.answer.ready()]
        status, serves = self._publisher.status(), self._publisher.serves
        if serves and (not self._is_ready or (were_reloading and not self._reloads)):
            self._is_ready = True
            self._notifier.ready(self._text(status))
        else:
            gets_on = not self._is_ready and self._publisher.scan_gets_on
            self._notifier.alive(self._text(status), more_seconds=_MORE_SECONDS if gets_on else None)

    def stops(self) -> None:
        self._notifier.stopping()

    def _text(self, status: dict[str, Any]) -> str:
        problem = f"PROBLEM: {status['problem']}; " if status["problem"] else ""
        if not status["generation"]:
            return f"{problem}no snapshot yet; {self._publisher.percent_hashed} % of the content is hashed"
        nodes = self._tracker.tracker.nodes(time.monotonic())
        whole = sum(node.complete for node in nodes)
        content = f"{counted(status['files'], 'file')}, {size(status['bytes'])}"
        return (
            f"{problem}generation {status['generation'][:16]}: {content};"
            f" {counted(len(nodes), 'node')}, {whole} of them complete"
        )

    def _tell_regularly(self) -> None:
        while True:
            self._events.put(events.StateDue())
            gevent.sleep(self._notifier.every)
