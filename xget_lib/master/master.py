"""The master at work: accepts connections, hands them to workers, publishes snapshots, answers `status`.

A gevent process that never reads a file that it serves, so that nothing delays it: workers run the sessions and take
the snapshots, the nursery forks. Everything that happens becomes an event (`master.events`) in one queue, and `run`
acts on one after the other. Other greenlets wait: for connections, for workers, for the time of the next scan.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import time
from collections.abc import Callable

import gevent
from gevent.queue import Queue

from xget_lib import __version__, ipc
from xget_lib.config import Config
from xget_lib.errors import Exit, ProtocolViolation, XGetError, printable
from xget_lib.ipc.jobs import ScanTree
from xget_lib.master import events
from xget_lib.master.digest_saver import DigestCacheSaver, cache_path
from xget_lib.master.rescan import ChangeMonitor, RescanSchedule, ScanReason
from xget_lib.master.snapshotter import Snapshot, take_snapshot
from xget_lib.master.tracker_io import TrackerIO
from xget_lib.master.worker_process import WorkerProcess
from xget_lib.master.workers import WorkerPool
from xget_lib.net.accept import Admission, connections
from xget_lib.process import rlimit
from xget_lib.process.memfd import memfd
from xget_lib.process.nursery import Nursery
from xget_lib.report.log import LOGGER, catch_greenlets

_STATUS_TIMEOUT = 1.0
"""Seconds to wait for workers to say how much they have sent."""
_STATUS_PAUSE = 0.1
"""Seconds between two status texts: one of 2,000 nodes takes 10 ms, and anybody may ask."""
_STOP_TIMEOUT = 5.0
"""Seconds that workers have to end."""


class Master:
    """One master. `run` serves until a signal ends it."""

    def __init__(self, config: Config, root: bytes, listening: socket.socket, nursery: Nursery) -> None:
        self._config = config
        self._root = root
        self._listening = listening
        self._started = time.monotonic()
        self._events: Queue[events.Event] = Queue()
        self._snapshot: Snapshot | None = None
        self._admission = Admission(config.workers * rlimit.part())
        self._status_readers: list[tuple[WorkerProcess, int]] = []
        self._pool = WorkerPool(nursery, config.workers, self._events)
        self._tracker = TrackerIO(config.max_direct, self._pool.send_to)
        self._schedule = RescanSchedule()
        self._monitor = ChangeMonitor(self._pool, self._schedule, root, one_file_system=config.one_file_system)
        self._cache_path = cache_path(config.cache, root)
        self._digest_saver = DigestCacheSaver(self._pool, self._cache_path)

    def run(self, ready: Callable[[], None]) -> int:
        """Serve; `ready` is called when clients can connect. Returns the exit status. Raises XGetError."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            gevent.signal_handler(number, self._events.put, events.SignalReceived(number))
        catch_greenlets()
        self._pool.start()
        accepting = gevent.spawn(self._accept)
        gevent.spawn(self._scan_when_due)
        self._schedule.request(ScanReason.REQUEST)
        address, port = self._listening.getsockname()[:2]
        LOGGER.info("serving %s on %s port %d", printable(self._root), address, port)
        ready()
        failure = self._act_on_events()
        for number in (signal.SIGTERM, signal.SIGINT):
            # A second one ends at once.
            signal.signal(number, lambda number, _: os._exit(128 + number))
        accepting.kill()  # first: nothing may wait for a descriptor that is closed
        self._listening.close()
        self._pool.stop(_STOP_TIMEOUT)
        if failure is not None:
            raise failure
        return Exit.OK

    def _act_on_events(self) -> XGetError | None:
        """Act on what happens until a signal ends the master, or an error, which is returned."""
        while True:
            match self._events.get():
                case events.Received(worker, message):
                    try:
                        self._receive(worker, message)
                    except ProtocolViolation as error:
                        self._pool.protocol_error(worker, error)
                case events.Connected(connection, address):
                    self._tracker.connected(connection, address)
                case events.ConnectionEnded(connection):
                    self._connection_ended(connection)
                case events.WorkerStarted():
                    self._monitor.worker_started()
                case events.SignalReceived(signal.SIGHUP):
                    self._schedule.request(ScanReason.REQUEST)
                    self._monitor.retry(asked=True)
                case events.SignalReceived(signal.SIGUSR1):
                    LOGGER.warning("status: %s", self._status().decode().strip())
                case events.SignalReceived(number):
                    LOGGER.info("stopping: %s", signal.Signals(number).name)
                    return None
                case events.CannotGoOn(error):
                    LOGGER.info("stopping: %s", error)
                    return error
            self._monitor.set_followed(self._tracker.followed)

    # Connections.

    def _accept(self) -> None:
        for sock, address, port in connections(self._listening, self._admission):
            with sock:
                connection = self._pool.adopt(sock, address, port)
            self._events.put(events.Connected(connection, address))

    def _connection_ended(self, connection: int) -> None:
        if address := self._tracker.address_of(connection):
            self._admission.release(address)
            self._tracker.ended(connection)

    def _receive(self, worker: WorkerProcess, message: ipc.Message) -> None:
        """Act on a message of a worker. Raises ProtocolViolation for one that no worker may send."""
        match message:
            case ipc.StatusWanted(connection):
                self._status_readers.append((worker, connection))
                if len(self._status_readers) == 1:
                    gevent.spawn(self._send_status)
            case ipc.Stale(generation, path):
                if self._snapshot is not None and generation == self._snapshot.facts.generation:
                    LOGGER.info("%s changed since the snapshot; rescanning", printable(path))
                    self._schedule.request(ScanReason.FILE_CHANGED)
            case ipc.Changed():
                self._monitor.changed(worker)
            case ipc.WatchFailed(why):
                self._monitor.failed(worker, why)
            case _:
                if isinstance(message, ipc.PeersOpened):
                    self._schedule.request(ScanReason.NODE_JOINED)
                self._tracker.handle(message)

    # The snapshot.

    def _scan_when_due(self) -> None:
        """Take a snapshot whenever one is due. The first must succeed; if a later one fails, the former stays."""
        scan = ScanTree(self._root, self._config.one_file_system, not self._config.no_owners)
        saved = b"" if self._config.rehash else self._cache_path
        while True:
            self._schedule.wait()
            begun = time.monotonic()
            try:
                snapshot = take_snapshot(self._pool, scan, self._snapshot, saved)
            except XGetError as error:
                if self._snapshot is None:
                    self._events.put(events.CannotGoOn(error))
                    return
                LOGGER.error("cannot rescan the directory: %s", error)
                continue
            finally:
                self._schedule.done(time.monotonic() - begun)
            if snapshot is not None:
                self._publish(snapshot, time.monotonic() - begun)
                self._digest_saver.save(snapshot.digest_cache)
                self._monitor.retry(asked=False)

    def _publish(self, snapshot: Snapshot, seconds: float) -> None:
        facts, former, self._snapshot = snapshot.facts, self._snapshot, snapshot
        is_new = former is None or former.facts.generation != facts.generation
        LOGGER.log(
            logging.INFO if is_new else logging.DEBUG,
            "generation %s: %d files, %d bytes, in %.1f s, %d pieces hashed",
            facts.generation.hex()[:16],
            facts.files,
            facts.size,
            seconds,
            snapshot.hashed,
        )
        self._pool.serve(ipc.Serve(facts.base, facts.location), [snapshot.manifest, snapshot.stamps])
        if former is not None:
            former.close()
        if is_new:
            self._tracker.published(facts.generation, os.fstat(snapshot.manifest).st_size, facts.chunks)

    # The status.

    def _send_status(self) -> None:
        """Send the status to all who wait for it by now: clients that ask meanwhile get the same."""
        gevent.sleep(_STATUS_PAUSE)
        self._pool.refresh(_STATUS_TIMEOUT)
        readers, self._status_readers = self._status_readers, []
        text = memfd("status", self._status())
        try:
            for worker, connection in readers:
                self._pool.send(worker, ipc.Status(connection), [text])
        finally:
            os.close(text)

    def _status(self) -> bytes:
        snapshot = self._snapshot
        status = {
            "role": "master",
            "version": __version__,
            "pid": os.getpid(),
            "path": printable(self._root),
            "seconds": round(time.monotonic() - self._started, 1),
            "generation": snapshot.facts.generation.hex() if snapshot else None,
            "files": snapshot.facts.files if snapshot else None,
            "bytes": snapshot.facts.size if snapshot else None,
            "chunks": snapshot.facts.chunks if snapshot else None,
            "sent": self._pool.sent,
            "notices": self._monitor.watching,
            **self._tracker.status(),
            "workers": [
                {"pid": worker.pid, "connections": len(worker.connections), "sent": worker.sent}
                for worker in self._pool.workers
            ],
        }
        return json.dumps(status).encode() + b"\n"
