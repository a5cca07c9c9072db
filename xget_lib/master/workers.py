"""The workers as the master sees them: the connections and jobs of each, and whether it is alive.

The nursery forks workers and reports when they end. The pool passes each connection to the least loaded worker, kills
workers that do not respond, and replaces workers that ended. What happens goes into the master's queue of events. When
a worker dies, only its connections are lost: its jobs are given to another worker.
"""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Sequence
from itertools import count
from typing import TypeAlias, TypeVar

import gevent
from gevent.event import AsyncResult, Event
from gevent.queue import Queue

from xget_lib import ipc
from xget_lib.errors import Failed, LinkLost, ProtocolViolation, printable
from xget_lib.ipc.jobs import Request, Result
from xget_lib.master import events
from xget_lib.master.nursery_watch import NurseryWatch
from xget_lib.master.worker_process import WorkerProcess
from xget_lib.master.worker_restarts import WorkerRestarts
from xget_lib.net.blocking import wait_readable, wait_writable
from xget_lib.process.channel import close_all
from xget_lib.process.memfd import memfd
from xget_lib.process.nursery import Exited, NotSpawned, Nursery, Pong, Spawned
from xget_lib.report.log import LOGGER
from xget_lib.swarm.hosts import host_of

_PING_EVERY = 2.0
"""Seconds."""
_SILENT_PINGS = 8
"""A worker counts as hung when it has sent nothing since so many pings: 16 seconds in which this process ran. When the
master itself was stopped, or the whole machine, no ping was sent meanwhile, and nobody can have answered one."""
_KILL_AGAIN = 30
"""Pauses between two pings after which a hung worker that did not end is killed again, and a line says so: a process
that waits for a disk ends when the disk answers."""
_LAST_WORDS = 1.0
"""Seconds to wait for what a worker sent before it ended."""
_JOB_ATTEMPTS = 3
_WORKERS_OF_HOST = 2
_ADOPT_AGAIN = 0.02
"""Seconds before the next try to hand over a connection, if no worker takes it."""
_YIELD_AFTER = 64
"""Messages of one worker after which other greenlets run, even if more are there already."""

R = TypeVar("R", bound=Result)
Vital: TypeAlias = "gevent.Greenlet[..., None]"
"""Without which a master cannot do its work. It raises nothing."""


class WorkerPool:
    """A fixed number of workers, kept at that number. Owned by the master."""

    def __init__(self, nursery: Nursery, size: int, queue: Queue[events.Event]) -> None:
        """What happens is put into `queue`."""
        self.size = size
        self._events = queue
        self._stopping = False
        self._nursery = nursery
        self._nursery_watch = NurseryWatch(nursery, _PING_EVERY)
        self._started: dict[int, float] = {}
        """By pid: when the process was started."""
        self._workers: dict[int, WorkerProcess] = {}
        """By pid: those whose messages are read."""
        self._ending: dict[int, int] = {}
        """By pid: those whose channels have ended, and pauses between two pings since then."""
        self._serving: dict[int, WorkerProcess] = {}
        """By connection."""
        self._serve: tuple[ipc.Serve, Sequence[int]] | None = None
        """What all workers serve, and its descriptors."""
        self._keys: ipc.Keys | None = None
        """Of the secret; None if there is none."""
        self._certificates: list[int] = []
        """Descriptors of `ipc.Certificates`, if they have been replaced."""
        self._available = Event()
        """Set while there is a worker."""
        self._gone = Event()
        """Set after `stop` when the last worker has ended."""
        self._ponged = Event()
        self._restarts = WorkerRestarts()
        self._readers: dict[int, gevent.Greenlet[..., str]] = {}
        """By pid: what reads the messages of each worker."""
        self._connection_numbers = count(1)
        self._job_numbers = count(1)
        self._sent_before = 0
        """Bytes of content that workers sent which have ended."""
        nursery.channel.wait_readable = wait_readable
        nursery.channel.wait_writable = wait_writable

    def start(self) -> list[Vital]:
        """Start the workers. The greenlets are vital as long as the nursery lives."""
        vital = [gevent.spawn(self._watch_nursery), gevent.spawn(self._watch_silence)]
        for number in range(self.size):
            self._spawn(number)
        return vital

    @property
    def workers(self) -> list[WorkerProcess]:
        return list(self._workers.values())

    @property
    def sent(self) -> int:
        """Bytes of content sent by all workers, also by those that have ended."""
        return self._sent_before + sum(worker.sent for worker in self._workers.values())

    @property
    def problem(self) -> str | None:
        """Why workers that end are not replaced; None if they are."""
        return self._nursery_watch.problem

    def others_answer(self, worker: WorkerProcess) -> bool:
        """Whether this worker is late, and another one is not."""
        return worker.is_late and self._some_answer

    @property
    def _some_answer(self) -> bool:
        return any(not each.is_late for each in self._workers.values())

    def serve(self, message: ipc.Serve, descriptors: Sequence[int]) -> None:
        """Have all workers, also those to come, serve this. The descriptors must stay open until the next call."""
        self._serve = message, descriptors
        for worker in self.workers:
            self.send(worker, message, descriptors)

    def set_keys(self, keys: Sequence[bytes]) -> None:
        """Have all workers, also those to come, accept these keys of the secret."""
        self._keys = ipc.Keys(tuple(keys))
        for worker in self.workers:
            self.send(worker, self._keys)

    def set_certificates(self, files: Sequence[bytes]) -> None:
        """Have all workers, also those to come, use these for TLS: those of `ipc.Certificates`."""
        close_all(self._certificates)
        self._certificates = [memfd("certificates", content) for content in files]
        for worker in self.workers:
            self.send(worker, ipc.Certificates(), self._certificates)

    def adopt(self, sock: socket.socket, address: str, port: int) -> int:
        """Hand a connection to the least loaded worker (waits until there is one), of those that its host may have.
        Returns its number."""
        host = host_of(address)
        while True:
            self._available.wait()
            worker = self._worker_for(host)
            if worker is not None:
                number = next(self._connection_numbers)
                worker.connected(number, host)
                self._serving[number] = worker
                if self.send(worker, ipc.Adopt(number, address, port), [sock.fileno()]):
                    return number
                worker.ended(number)
                self._serving.pop(number, None)
            gevent.sleep(_ADOPT_AGAIN)

    def send_to(self, connection: int, message: ipc.Message) -> None:
        """Send a message to the worker that serves a connection; nothing is sent if it has ended."""
        worker = self._serving.get(connection)
        if worker is not None:
            self.send(worker, message)

    def send(self, worker: WorkerProcess, message: ipc.Message, descriptors: Sequence[int] = ()) -> bool:
        """Send a message to a worker, which may take it later (`outbox`). Returns False if it will never get it."""
        if self._workers.get(worker.pid) is not worker:
            return False  # it has ended meanwhile, and its channel is closed
        try:
            worker.outbox.send(message, descriptors)
        except LinkLost as error:
            # `_read` notices its end, and acts on it.
            LOGGER.debug("cannot send to worker %d: %s", worker.pid, error)
            return False
        except OSError as error:
            LOGGER.error("cannot send to worker %d: %s; killing it", worker.pid, error.strerror or error)
            self._kill(worker.pid)
            return False
        return True

    def work(
        self, what: str, request: Request, expected: type[R], descriptors: Sequence[int] = ()
    ) -> tuple[R, list[int]]:
        """Have a job done by the worker that has fewest. Returns the result, and descriptors that the caller closes.

        Raises Failed(what) if it cannot be done, or if several workers died of it, or hung.
        """
        for _ in range(_JOB_ATTEMPTS):
            self._available.wait()
            worker = min(self._workers.values(), key=lambda each: (each.is_late, each.outbox.waits, len(each.jobs)))
            number = next(self._job_numbers)
            answered = worker.jobs[number] = AsyncResult()
            self.send(worker, ipc.Job(number, request), descriptors)
            while not answered.ready() and not self.others_answer(worker):
                answered.wait(_PING_EVERY)
            answer = answered.get() if answered.ready() else None
            if answer is None:
                worker.jobs.pop(number, None)
                continue
            message, received = answer
            if isinstance(message, ipc.JobFailed):
                raise Failed(what, message.error)
            if isinstance(message.result, expected):
                return message.result, received
            close_all(received)
            raise ProtocolViolation(f"{type(request).__name__} was answered with {type(message.result).__name__}")
        raise Failed(what, f"{_JOB_ATTEMPTS} workers died or hung during {type(request).__name__} (see the log)")

    def refresh(self, seconds: float) -> None:
        """Ask all workers how much they have sent; wait at most this many seconds for their answers."""
        asked = time.monotonic()
        for worker in self.workers:
            self.send(worker, ipc.Ping())
        while any(worker.last_message < asked for worker in self.workers) and time.monotonic() < asked + seconds:
            self._ponged.clear()
            self._ponged.wait(seconds)

    def protocol_error(self, worker: WorkerProcess, error: Exception) -> None:
        """A worker sent something that breaks the protocol: kill it. The nursery reports its end."""
        LOGGER.error("worker %d: protocol error; killing it: %s", worker.pid, error)
        self._kill(worker.pid)

    def stop(self, seconds: float) -> None:
        """Tell all workers to end. Returns when they have, or after this many seconds."""
        self._stopping = True
        if not self._workers:
            self._gone.set()
        for worker in self.workers:
            self.send(worker, ipc.Stop())
        self._gone.wait(seconds)

    def _worker_for(self, host: str) -> WorkerProcess | None:
        """The least loaded worker for a connection of a host; None if none takes one now. A host with enough workers
        gets no further one, unless these do not answer, or take nothing: what a worker gives to each host would be
        multiplied by the number of workers."""
        answering = [worker for worker in self._workers.values() if not worker.is_late] or self.workers
        its = [worker for worker in answering if host in worker.hosts]
        for fit in (its if len(its) >= _WORKERS_OF_HOST else answering, self.workers):
            able = [worker for worker in fit if not worker.outbox.waits]
            if able:
                return min(able, key=lambda worker: len(worker.connections))
        return None

    # The nursery.

    def _watch_nursery(self) -> None:
        while (report := self._nursery.report()) is not None:
            match report:
                case Spawned(_, pid, channel):
                    self._add(WorkerProcess(pid, channel))
                case Exited(pid, number, status):
                    gevent.spawn(self._replace, pid, number, status)
                case Pong():
                    self._nursery_watch.answered()
                case NotSpawned(number, why):
                    if self._restarts.should_log(number, why, 0.0, time.monotonic()):
                        LOGGER.error("cannot start a worker: %s", why)
                    gevent.spawn_later(self._restarts.pause(number, 0.0), self._spawn, number)
        if not self._stopping:
            self._cannot_go_on("has died")

    def _cannot_go_on(self, why: str) -> None:
        problem = Failed("nursery", f"the process that starts workers {why} (start the master again)")
        self._events.put(events.CannotGoOn(problem))

    def _spawn(self, number: int) -> None:
        try:
            self._nursery.spawn(number)
        except LinkLost as error:
            LOGGER.debug("cannot start a worker: %s", error)

    def _kill(self, pid: int) -> None:
        try:
            self._nursery.kill(pid, signal.SIGKILL)
        except LinkLost as error:
            LOGGER.debug("cannot kill worker %d: %s", pid, error)  # the nursery is gone, and its workers with it

    def _add(self, worker: WorkerProcess) -> None:
        worker.channel.wait_readable = wait_readable
        worker.channel.wait_writable = wait_writable
        self._started[worker.pid] = time.monotonic()
        self._workers[worker.pid] = worker
        if self._keys is not None:
            self.send(worker, self._keys)
        if self._certificates:
            self.send(worker, ipc.Certificates(), self._certificates)
        if self._serve is not None:
            self.send(worker, *self._serve)  # before any connection: what it serves must be there for the first
        self._available.set()
        self._events.put(events.WorkerStarted())
        self._readers[worker.pid] = gevent.spawn(self._read, worker)

    def _replace(self, pid: int, number: int, status: int) -> None:
        """A worker process has ended: start another in its place."""
        lived = time.monotonic() - self._started.pop(pid, 0.0)
        self._ending.pop(pid, None)
        reader = self._readers.pop(pid, None)
        if self._stopping:
            return
        why = f"status {status}"
        if reader is not None:
            reader.join(_LAST_WORDS)
            if reader.value:
                why += f" ({reader.value})"
        pause = self._restarts.pause(number, lived)
        if self._restarts.should_log(number, why, lived, time.monotonic()):
            LOGGER.warning("worker %d ended with %s; starting another%s", pid, why, f" in {pause:g} s" if pause else "")
        gevent.spawn_later(pause, self._spawn, number)

    def _watch_silence(self) -> None:
        while True:
            gevent.sleep(_PING_EVERY)
            for worker in self.workers:
                if worker.pings < _SILENT_PINGS:
                    self.send(worker, ipc.Ping())
                elif (worker.pings - _SILENT_PINGS) % _KILL_AGAIN == 0:
                    LOGGER.error(
                        "worker %d has sent nothing for %d s; killing it", worker.pid, worker.pings * _PING_EVERY
                    )
                    self._kill(worker.pid)
                worker.pings += 1
            for pid, pauses in () if self._nursery_watch.is_late else list(self._ending.items()):
                self._ending[pid] = pauses + 1
                if pauses % _KILL_AGAIN == _SILENT_PINGS:
                    seconds = pauses * _PING_EVERY
                    LOGGER.error("worker %d has closed its channel, but not ended, for %d s; killing it", pid, seconds)
                    self._kill(pid)
            try:
                hangs = not self._stopping and self._nursery_watch.tick(some_worker_answers=self._some_answer)
            except LinkLost:
                return  # `_watch_nursery` notices its end, and acts on it
            if hangs:
                self._cannot_go_on("does not answer")
                return

    # One worker.

    def _read(self, worker: WorkerProcess) -> str:
        """Act on a worker's messages until its channel ends, as it does when the process ends. Returns why it ended, if
        it said so."""
        try:
            for number in count(1):
                received = ipc.receive(worker.channel)
                if received is None:
                    break
                if number % _YIELD_AFTER == 0:
                    gevent.sleep(0)
                worker.last_message, worker.pings = time.monotonic(), 0
                self._receive(worker, *received)
        except (ProtocolViolation, OSError) as error:
            self.protocol_error(worker, error)
        self._remove(worker)
        return worker.last_words

    def _receive(self, worker: WorkerProcess, message: ipc.Message, descriptors: list[int]) -> None:
        if isinstance(message, ipc.Done | ipc.JobFailed):
            answered = worker.jobs.pop(message.number, None)
            if answered is None:
                close_all(descriptors)
            else:
                answered.set((message, descriptors))
        elif isinstance(message, ipc.WorkerFailed):
            worker.last_words = printable(message.why)
        elif isinstance(message, ipc.Pong):
            worker.sent, worker.encrypts = message.sent, message.encrypts
            self._ponged.set()
        elif isinstance(message, ipc.ConnectionClosed):
            worker.ended(message.connection)
            self._serving.pop(message.connection, None)
            self._events.put(events.ConnectionEnded(message.connection))
        else:
            # No other message that the master expects has descriptors.
            close_all(descriptors)
            self._events.put(events.Received(worker, message))

    def _remove(self, worker: WorkerProcess) -> None:
        """A worker is gone: its connections have ended, and its jobs are given to others."""
        del self._workers[worker.pid]
        if worker.pid in self._started:
            self._ending[worker.pid] = 0
        if not self._workers:
            self._available.clear()
            if self._stopping:
                self._gone.set()
        self._sent_before += worker.sent
        for connection in worker.connections:
            self._serving.pop(connection, None)
            self._events.put(events.ConnectionEnded(connection))
        for answered in worker.jobs.values():
            answered.set(None)
        worker.close()
