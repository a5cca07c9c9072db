"""The workers as the master sees them: who has how many connections, who is silent, who does which job.

The nursery forks them and says when one has ended; this class hands connections to the least loaded, counts, times
out, and has a worker replaced. A worker that dies costs its connections and nothing else: a job that it had is given
to another.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import gevent
from gevent.event import AsyncResult, Event

from xget_lib import ipc
from xget_lib.errors import Failed, LinkLost, ProtocolViolation
from xget_lib.net.waiting import wait_readable, wait_writable
from xget_lib.process.channel import Channel
from xget_lib.process.nursery import Exited, Nursery, Spawned
from xget_lib.process.nursery import Failed as NotSpawned
from xget_lib.report.log import LOGGER

_PING_EVERY = 2.0
_SILENT = 15.0
"""Seconds after which a worker that says nothing counts as hung."""
_YOUNG = 1.0
"""A worker that did not even live so many seconds is replaced only after as many."""
_JOB_TRIES = 3
_TURN = 64
"""Messages of one worker after which others get their turn, where more come all the time."""


@dataclass(eq=False)
class Worker:
    """One worker process."""

    number: int
    pid: int
    channel: Channel
    connections: set[int] = field(default_factory=set)
    jobs: set[int] = field(default_factory=set)
    started: float = field(default_factory=time.monotonic)
    heard: float = field(default_factory=time.monotonic)
    sent: int = 0


@dataclass
class _Job:
    order: ipc.Job
    descriptors: Sequence[int]
    result: AsyncResult[tuple[ipc.Done, list[int]] | None]


class Pool:
    """A fixed number of workers, kept at that number."""

    def __init__(
        self,
        nursery: Nursery,
        size: int,
        *,
        welcome: Callable[[Worker], None],
        on_message: Callable[[Worker, ipc.Message], None],
        on_closed: Callable[[int], None],
    ) -> None:
        """`welcome` is told of each new worker, `on_closed` of each connection that ended, however it did."""
        self.size = size
        self.lost = Event()
        """Set when the nursery is gone: no worker can be replaced any more."""
        self.gone = Event()
        """Set after `stop` when the last worker has ended."""
        self._stopping = False
        self._nursery = nursery
        self._welcome = welcome
        self._on_message = on_message
        self._on_closed = on_closed
        self._workers: dict[int, Worker] = {}
        self._serving: dict[int, Worker] = {}
        self._some = Event()
        self._heard = Event()
        self._connection_numbers = count(1)
        self._jobs: dict[int, _Job] = {}
        self._job_numbers = count(1)
        self._sent_before = 0
        nursery.channel.wait_readable = wait_readable
        nursery.channel.wait_writable = wait_writable

    def start(self) -> None:
        gevent.spawn(self._attend_nursery)
        gevent.spawn(self._watch)
        for number in range(self.size):
            self._spawn(number)

    @property
    def workers(self) -> list[Worker]:
        return list(self._workers.values())

    @property
    def sent(self) -> int:
        """Bytes of content sent by all workers, past ones included."""
        return self._sent_before + sum(worker.sent for worker in self._workers.values())

    def adopt(self, sock: socket.socket, address: str, port: int) -> int:
        """Hand a connection to the least loaded worker (waits until there is one). Returns its number."""
        number = next(self._connection_numbers)
        while True:
            self._some.wait()
            worker = min(self._workers.values(), key=lambda w: len(w.connections))
            worker.connections.add(number)
            self._serving[number] = worker
            if self.send(worker, ipc.Adopt(number, address, port), [sock.fileno()]):
                return number
            self._serving.pop(number, None)
            gevent.sleep(0.05)

    def tell(self, connection: int, message: ipc.Message) -> None:
        """Send a message to the worker that serves a connection; none if it has ended."""
        worker = self._serving.get(connection)
        if worker is not None:
            self.send(worker, message)

    def work(self, kind: str, arguments: Sequence[Any], descriptors: Sequence[int] = ()) -> tuple[ipc.Done, list[int]]:
        """Have a job done by the worker that has fewest; returns its result and descriptors, which the caller closes.

        Raises Failed when workers keep dying of it.
        """
        for _ in range(_JOB_TRIES):
            self._some.wait()
            worker = min(self._workers.values(), key=lambda w: len(w.jobs))
            job = _Job(ipc.Job(next(self._job_numbers), kind, arguments), descriptors, AsyncResult())
            self._jobs[job.order.number] = job
            worker.jobs.add(job.order.number)
            self.send(worker, job.order, descriptors)
            done = job.result.get()
            if done is not None:
                return done
        raise Failed(f"{kind} of the directory", f"{_JOB_TRIES} workers died of it")

    def refresh(self, seconds: float) -> None:
        """Hear from all workers how much they have sent, as far as they say so in time."""
        asked = time.monotonic()
        for worker in self.workers:
            self.send(worker, ipc.Ping())
        while any(worker.heard < asked for worker in self.workers) and time.monotonic() < asked + seconds:
            self._heard.clear()
            self._heard.wait(seconds)

    def stop(self) -> None:
        """Tell all workers to end; `gone` says when they have."""
        self._stopping = True
        if not self._workers:
            self.gone.set()
        for worker in self.workers:
            self.send(worker, ipc.Stop())

    def send(self, worker: Worker, message: ipc.Message, descriptors: Sequence[int] = ()) -> bool:
        """Send a message to a worker; whether it could be sent."""
        try:
            worker.channel.send(ipc.pack(message), descriptors)
        except LinkLost as error:
            # Its end is noticed, and acted on, where its messages are read.
            LOGGER.debug("worker %d does not take messages: %s", worker.pid, error)
            return False
        return True

    def _attend_nursery(self) -> None:
        while (report := self._nursery.report()) is not None:
            match report:
                case Spawned():
                    self._add(report)
                case Exited():
                    self._replace(report)
                case NotSpawned(number, why):
                    LOGGER.error("cannot start a worker: %s", why)
                    gevent.spawn_later(_YOUNG, self._spawn, number)
        if not self._stopping:
            self.lost.set()

    def _spawn(self, number: int) -> None:
        try:
            self._nursery.spawn(number)
        except LinkLost as error:
            LOGGER.debug("no worker can be started: %s", error)

    def _add(self, spawned: Spawned) -> None:
        spawned.channel.wait_readable = wait_readable
        spawned.channel.wait_writable = wait_writable
        worker = Worker(spawned.number, spawned.pid, spawned.channel)
        self._workers[worker.pid] = worker
        self._welcome(worker)
        self._some.set()
        gevent.spawn(self._attend, worker)

    def _replace(self, exited: Exited) -> None:
        """A worker process has ended: start another in its place."""
        worker = self._workers.get(exited.pid)
        if worker is not None:
            self._bury(worker)
        if self._stopping:
            return
        LOGGER.warning("worker %d ended with status %d; starting another", exited.pid, exited.status)
        young = worker is not None and time.monotonic() - worker.started < _YOUNG
        gevent.spawn_later(_YOUNG if young else 0, self._spawn, exited.number)

    def _attend(self, worker: Worker) -> None:
        """Act on a worker's messages until it is gone."""
        try:
            for turn in count(1):
                received = worker.channel.receive()
                if received is None:
                    break
                if turn % _TURN == 0:
                    gevent.sleep(0)
                packed, descriptors = received
                worker.heard = time.monotonic()
                self._act(worker, ipc.unpack(packed), descriptors)
        except (ProtocolViolation, OSError) as error:
            if worker.pid in self._workers:
                LOGGER.error("worker %d is out of its mind: %s", worker.pid, error)
                self._kill(worker)
        self._bury(worker)

    def _act(self, worker: Worker, message: ipc.Message, descriptors: list[int]) -> None:
        if isinstance(message, ipc.Done):
            worker.jobs.discard(message.number)
            job = self._jobs.pop(message.number, None)
            if job is not None:
                job.result.set((message, descriptors))
                return
        for descriptor in descriptors:
            os.close(descriptor)
        if isinstance(message, ipc.Pong):
            worker.sent = message.sent
            self._heard.set()
        elif isinstance(message, ipc.Closed):
            worker.connections.discard(message.connection)
            self._serving.pop(message.connection, None)
            self._on_closed(message.connection)
        else:
            self._on_message(worker, message)

    def _bury(self, worker: Worker) -> None:
        """Forget a worker; its connections are closed and its jobs are given back. Twice does no harm."""
        if self._workers.pop(worker.pid, None) is None:
            return
        if not self._workers:
            self._some.clear()
            if self._stopping:
                self.gone.set()
        self._sent_before += worker.sent
        worker.channel.close()
        for connection in worker.connections:
            self._serving.pop(connection, None)
            self._on_closed(connection)
        for number in worker.jobs:
            job = self._jobs.pop(number, None)
            if job is not None:
                job.result.set(None)

    def _watch(self) -> None:
        while True:
            gevent.sleep(_PING_EVERY)
            for worker in self.workers:
                if time.monotonic() - worker.heard > _SILENT:
                    LOGGER.error("worker %d has said nothing for %d s", worker.pid, _SILENT)
                    self._kill(worker)
                else:
                    self.send(worker, ipc.Ping())

    def _kill(self, worker: Worker) -> None:
        self._nursery.kill(worker.pid, signal.SIGKILL)
