"""The master at work: accepts, hands over, keeps the snapshot and answers signals and `status`.

A gevent process that never reads a file of what it serves, so that nothing makes it late: the workers run the
sessions and take the snapshots, the nursery forks. Signal handlers only note; the loop acts.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from logging import ERROR, WARNING

import gevent
from gevent.queue import Queue

from xget_lib import __version__, ipc
from xget_lib.config import Config
from xget_lib.errors import Exit, Failed, XGetError, printable
from xget_lib.master.change_monitor import ChangeMonitor
from xget_lib.master.digest_saver import DigestCacheSaver, place
from xget_lib.master.rescan import RescanSchedule
from xget_lib.master.snapshotter import Snapshot, survey
from xget_lib.master.tracker_io import TrackerIO
from xget_lib.master.workers import Pool, Worker
from xget_lib.net.accept import connections
from xget_lib.net.admission import Admission
from xget_lib.process import rlimit
from xget_lib.process.memfd import memfd
from xget_lib.process.nursery import Nursery
from xget_lib.report.log import LOGGER, catch_greenlets
from xget_lib.report.rate_limited_log import RateLimitedLog

_STATUS_PATIENCE = 1.0
"""Seconds that a status waits for workers to say how much they have sent."""
_STATUS_PAUSE = 0.1
"""Seconds between two: of 2,000 nodes it takes 10 ms, and anybody may ask."""
_FAREWELL = 5.0
"""Seconds that workers have to end."""


class Master:
    """One master. `run` serves until a signal says stop."""

    def __init__(self, config: Config, root: bytes, listening: socket.socket, nursery: Nursery) -> None:
        self._config = config
        self._root = root
        self._listening = listening
        self._started = time.monotonic()
        self._snapshot: Snapshot | None = None
        self._looks = RescanSchedule()
        self._signals: Queue[int] = Queue()
        self._failed: XGetError | None = None
        self._admission = Admission(config.workers * rlimit.part())
        self._hosts: dict[int, str] = {}
        """Where the connections come from."""
        self._refusals = RateLimitedLog(1)
        self._status_readers: list[tuple[Worker, int]] = []
        self._pool = Pool(
            nursery,
            config.workers,
            welcome=self._welcome,
            on_message=self._handle,
            on_closed=self._ended,
        )
        self._vigil = ChangeMonitor(self._pool, self._looks, root, one_file_system=config.one_file_system)
        self._tracker = TrackerIO(config.max_direct, self._pool.tell)
        self._kept = place(config.cache, root)
        self._keeping = DigestCacheSaver(self._pool, self._kept)

    def run(self, ready: Callable[[], None]) -> int:
        """Serve; `ready` is called when clients can connect. Returns the exit status."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            gevent.signal_handler(number, self._signals.put, number)
        catch_greenlets()
        self._pool.start()
        self._accepting = gevent.spawn(self._accept)
        for task in (self._look, self._watch_nursery):
            gevent.spawn(task)
        self._looks.at_once()
        address, port = self._listening.getsockname()[:2]
        LOGGER.info("serving %s on %s port %d", printable(self._root), address, port)
        ready()
        return self._obey()

    def _obey(self) -> int:
        """Act on signals until one (or a failure, number 0) ends the master."""
        while (number := self._signals.get()) in (signal.SIGHUP, signal.SIGUSR1):
            if number == signal.SIGHUP:
                self._looks.at_once()
                self._vigil.again(asked=True)
            else:
                LOGGER.warning("status: %s", self._status().decode().strip())
        for again in (signal.SIGTERM, signal.SIGINT):
            # A second one ends at once.
            signal.signal(again, lambda number, _: os._exit(128 + number))
        LOGGER.info("ending: %s", signal.Signals(number).name if number else self._failed)
        self._accepting.kill()  # first: nothing may wait for a descriptor that is closed
        self._listening.close()
        self._pool.stop()
        self._pool.gone.wait(_FAREWELL)
        if self._failed is not None:
            raise self._failed
        return Exit.OK

    def _fail(self, error: XGetError) -> None:
        """End the master: it can't do its work."""
        self._failed = error
        self._signals.put(0)

    def _watch_nursery(self) -> None:
        self._pool.lost.wait()
        self._fail(Failed("nursery", "ended, so no worker can be replaced"))

    # Connections.

    def _accept(self) -> None:
        for sock, host, port in connections(self._listening, self._admission, self._refuse):
            with sock:
                number = self._pool.adopt(sock, host, port)
            self._hosts[number] = host
            self._tracker.connected(number, host)

    def _refuse(self, host: str, why: str) -> None:
        self._refusals.log(WARNING if host else ERROR, host, "%s%s", f"{host}: " if host else "", why)

    def _ended(self, connection: int) -> None:
        """A connection has ended, or could not be handed over yet."""
        host = self._hosts.pop(connection, None)
        if host is not None:
            self._admission.left(host)
            self._tracker.ended(connection)
            self._vigil.attend(self._tracker.tracker.followed)

    def _welcome(self, worker: Worker) -> None:
        if self._snapshot is not None:
            self._serve(worker, self._snapshot)
        self._vigil.check()

    def _handle(self, worker: Worker, message: ipc.Message) -> None:
        if isinstance(message, ipc.StatusWanted):
            self._status_readers.append((worker, message.connection))
            if len(self._status_readers) == 1:
                gevent.spawn(self._tell_status)
        elif isinstance(message, ipc.Stale):
            if self._snapshot is not None and message.generation == self._snapshot.generation:
                LOGGER.info("%s is not what it was", printable(message.path))
                self._looks.for_stale()
        elif isinstance(message, ipc.Changed | ipc.CannotNotice):
            self._vigil.handle(worker, message)
        else:
            if isinstance(message, ipc.Watch):
                self._looks.for_arrival()
            self._tracker.handle(message)
            self._vigil.attend(self._tracker.tracker.followed)

    # The snapshot.

    def _look(self) -> None:
        """Take a snapshot whenever one is wanted. The first must succeed; later ones leave the former in place."""
        while True:
            self._looks.next()
            begun = time.monotonic()
            try:
                snapshot = survey(
                    self._pool,
                    self._root,
                    one_file_system=self._config.one_file_system,
                    owner_names=not self._config.no_owners,
                    former=self._snapshot,
                    known=b"" if self._config.rehash else self._kept,
                )
            except XGetError as error:
                if self._snapshot is None:
                    self._fail(error)
                    return
                LOGGER.error("the directory cannot be looked at again: %s", error)
                continue
            finally:
                self._looks.done(time.monotonic() - begun)
            if snapshot is not None:
                self._distribute(snapshot, time.monotonic() - begun)
                self._keeping.keep(snapshot)
                self._vigil.again(asked=False)

    def _distribute(self, snapshot: Snapshot, seconds: float) -> None:
        former, self._snapshot = self._snapshot, snapshot
        if former is not None:
            former.close()
        new = former is None or former.generation != snapshot.generation
        LOGGER.log(
            logging.INFO if new else logging.DEBUG,
            "generation %s: %d files, %d bytes, in %.1f s, %d pieces hashed",
            snapshot.generation.hex()[:16],
            snapshot.files,
            snapshot.size,
            seconds,
            snapshot.hashed,
        )
        for worker in self._pool.workers:
            self._serve(worker, snapshot)
        if new:
            self._tracker.published(snapshot.generation, snapshot.manifest_size, snapshot.chunks)

    def _serve(self, worker: Worker, snapshot: Snapshot) -> None:
        order = ipc.Serve(snapshot.base, snapshot.location)
        self._pool.send(worker, order, [snapshot.manifest, snapshot.stamps])

    # The status.

    def _tell_status(self) -> None:
        """Tell the status to all who want it by now: who asks while it is found out hears the same."""
        gevent.sleep(_STATUS_PAUSE)
        self._pool.refresh(_STATUS_PATIENCE)
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
            "generation": snapshot.generation.hex() if snapshot else None,
            "files": snapshot.files if snapshot else None,
            "bytes": snapshot.size if snapshot else None,
            "chunks": snapshot.chunks if snapshot else None,
            "sent": self._pool.sent,
            "notices": self._vigil.notices,
            "offered": self._tracker.tracker.given,
            "workers": [
                {"pid": worker.pid, "connections": len(worker.connections), "sent": worker.sent}
                for worker in self._pool.workers
            ],
            "children": self._tracker.nodes(),
            "c_clients": self._tracker.classic.clients(),
        }
        return json.dumps(status).encode() + b"\n"
