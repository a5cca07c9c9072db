"""What a server shows of itself, looked up at most once a second for all who look, and sent to those who keep looking.

While nobody looks, it is looked up every ten seconds, so that the page begins with a history. Each look costs the
server some time (150 ms with 10,000 nodes); the pause after it is ten times as long at least.
What takes longer than a moment and needs nothing that changes is done in a thread, so that the server goes on.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import gevent
from gevent.event import Event
from gevent.lock import BoundedSemaphore
from gevent.queue import Empty, Full, Queue

from xget_lib.dataclass import asdict, dataclass
from xget_lib.net.threads import in_thread
from xget_lib.page.cells import Cells
from xget_lib.page.flows import NO_FLOWS, Flows, flows_of
from xget_lib.report.distribution import Distribution
from xget_lib.report.distribution_summary import summarise
from xget_lib.report.log import LOGGER
from xget_lib.report.recent_lines import RecentLines

Look = Callable[[], tuple[dict[str, Any], Distribution]]
"""The status of a server, and what it knows of nodes. It does not wait."""

EVERY = 1.0
"""Seconds between two looks, while somebody looks at the page,"""
IDLE = 10.0
"""and while nobody does."""
_SHARE = 10
"""A look may take one part in so many of the time,"""
_PAUSE_MOST = 5.0
"""but then a page is no older than so many seconds."""
_FLOWS_EVERY = 3
"""Looks between two pictures of the flows."""
_HISTORY = 600
"""Looks that are remembered."""
WATCHERS = 32
"""Pages that are open at the same time."""
_BEHIND = 8
"""Events that a page may be behind; then it has to begin again."""
_ANSWER = 5.0
"""Seconds that one who asks waits for a look."""


class Busy(Exception):
    """There is no answer now; the text says why."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was seen at one moment. `time`: seconds since 1970."""

    time: float
    status: dict[str, Any]
    summary: dict[str, Any]
    known: Distribution
    counts: dict[str, int]
    """Lines of the log since the start, by level."""

    @property
    def problem(self) -> str:
        """Why this server does not serve; "" if it serves a generation."""
        if self.status.get("generation"):
            return ""
        return str(self.status.get("problem") or "it has no generation to serve yet")


@dataclass(frozen=True, slots=True)
class Sample:
    """One point of the history: seconds since 1970, bytes per second that nodes fetch, and that this server sends."""

    time: float
    fetched: float
    sent: float


class Feed:
    """One in each process that shows a page. A greenlet of it calls `prepare`, which may wait for what `look` needs,
    and then `look`."""

    def __init__(self, look: Look, recent: RecentLines, prepare: Callable[[], None] = lambda: None) -> None:
        self._look = look
        self._prepare = prepare
        self._recent = recent
        self._cells = Cells()
        self._flows: Flows = NO_FLOWS
        self._history: deque[Sample] = deque(maxlen=_HISTORY)
        self._snapshot: Snapshot | None = None
        self._looked = -IDLE
        """When, in monotonic seconds."""
        self._rounds = 0
        self._pause = EVERY
        """Seconds between two looks."""
        self._wanted = Event()
        self._made = Event()
        self._encoded: tuple[Distribution, bytes] | None = None
        self._encoding = BoundedSemaphore()
        self._watchers: set[Queue[bytes | None]] = set()
        self._running = gevent.spawn(self._run)

    def close(self) -> None:
        """End all streams, and look no more."""
        self._running.kill()
        for watcher in list(self._watchers):
            self._drop(watcher)

    def latest(self) -> Snapshot:
        """What was seen some two seconds ago, or later. Raises Busy."""
        if self._snapshot is None or time.monotonic() - self._looked > self._pause + EVERY:
            self._wanted.set()
            if not self._made.wait(_ANSWER):
                raise Busy("this server is busy")
        assert self._snapshot is not None
        return self._snapshot

    def encoded_nodes(self) -> bytes:
        """The list of nodes as JSON; encoded once for all who ask. Raises Busy."""
        known = self.latest().known
        with self._encoding:
            if self._encoded is None or self._encoded[0] is not known:
                self._encoded = known, in_thread(known.encode)
            return self._encoded[1]

    def node(self, place: int) -> dict[str, Any] | None:
        """All that is known of the node at a place of the map; None if there is none."""
        node, snapshot = self._cells.node(place), self._snapshot
        if node is None or snapshot is None:
            return None
        return {**node.as_json(), "state": node.state, "place": node.place, "share": snapshot.known.share(node)}

    def watch(self) -> Iterator[bytes]:
        """Events for one page: everything first, then what changes. Raises Busy if there are too many pages."""
        self.latest()
        if len(self._watchers) >= WATCHERS:
            raise Busy(f"{WATCHERS} pages are open")
        watcher: Queue[bytes | None] = Queue(_BEHIND)
        self._watchers.add(watcher)
        self._wanted.set()
        first = _event("all", self._everything())
        return self._stream(first, watcher)

    # How it is made.

    def _stream(self, first: bytes, watcher: Queue[bytes | None]) -> Iterator[bytes]:
        try:
            yield first
            while (event := self._next(watcher)) is not None:
                yield event
        finally:
            self._watchers.discard(watcher)

    def _next(self, watcher: Queue[bytes | None]) -> bytes | None:
        """The next event of a page. A page that has gone is noticed when something is sent."""
        try:
            return watcher.get(timeout=IDLE) if watcher in self._watchers or watcher.qsize() else None
        except Empty:
            return b": nothing new\n\n"

    def _drop(self, watcher: Queue[bytes | None]) -> None:
        """End a stream: the page connects again, and gets everything."""
        self._watchers.discard(watcher)
        while watcher.qsize():
            watcher.get_nowait()
        watcher.put_nowait(None)

    def _run(self) -> None:
        while True:
            if not self._watchers:
                self._wanted.wait(IDLE)
            gevent.sleep(max(0.0, self._looked + self._pause - time.monotonic()))
            self._wanted.clear()
            try:
                self._prepare()
                self._round()
            except Exception:
                LOGGER.exception("the status page cannot be made")
                gevent.sleep(IDLE)
                continue
            self._made.set()
            self._made.clear()

    def _round(self) -> None:
        begun = time.process_time()
        former, since = self._snapshot, self._looked
        status, known = self._look()
        gevent.sleep(0)
        summary = status.get("distribution") or summarise(known).as_json()
        self._looked = time.monotonic()
        sent = max(0, status["sent"] - former.status["sent"]) / (self._looked - since) if former is not None else 0.0
        self._snapshot = Snapshot(time.time(), status, summary, known, dict(self._recent.counts))
        if former is not None:
            self._history.append(Sample(round(self._snapshot.time, 1), summary["rate"], round(sent)))
        flows = self._flows
        if self._rounds % _FLOWS_EVERY == 0:
            flows = in_thread(flows_of, known)
        self._publish(self._changes(known, flows))
        self._pause = min(max(EVERY, _SHARE * (time.process_time() - begun)), _PAUSE_MOST)

    def _changes(self, known: Distribution, flows: Flows) -> dict[str, Any]:
        """What is sent to pages that have seen everything else. Nothing waits in here, so that a page that comes
        meanwhile gets either all of it or nothing."""
        cells = self._cells.text
        names = self._cells.update(known)
        change = self._summary()
        if self._history:
            change["sample"] = asdict(self._history[-1])
        if names:
            change["names"] = names
        if self._cells.text != cells:
            change["cells"] = self._cells.text
        if flows != self._flows:
            self._flows = flows
            change["flows"] = asdict(flows)
        self._rounds += 1
        return change

    def _publish(self, change: dict[str, Any]) -> None:
        if not self._watchers:
            return
        event = _event("change", change)
        for watcher in list(self._watchers):
            try:
                watcher.put_nowait(event)
            except Full:
                self._drop(watcher)

    def _summary(self) -> dict[str, Any]:
        """What is sent each time: it is short."""
        snapshot = self._snapshot
        assert snapshot is not None
        return {
            "time": snapshot.time,
            "status": {name: snapshot.status.get(name) for name in _SHOWN},
            "summary": snapshot.summary,
            "problem": snapshot.problem,
            "lines": [asdict(line) for line in self._recent.lines],
        }

    def _everything(self) -> dict[str, Any]:
        history = [(sample.time, sample.fetched, sample.sent) for sample in self._history]
        everything = {"history": history, "names": self._cells.names, "cells": self._cells.text}
        return {**self._summary(), **everything, "flows": asdict(self._flows)}


_SHOWN = (
    *("role", "version", "pid", "path", "port", "seconds", "generation", "files", "bytes", "chunks", "held", "sent"),
    *("problem", "nursery_problem", "serial", "scanned", "notices", "master", "connections", "refused", "host"),
)
"""Fields of the status that the page shows."""


def _event(name: str, facts: dict[str, Any]) -> bytes:
    """As server-sent events are written (the HTML standard, section 9.2)."""
    return f"event: {name}\ndata: {json.dumps(facts, separators=(',', ':'))}\n\n".encode()
