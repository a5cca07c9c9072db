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
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import gevent
from gevent.queue import Queue

from xget_lib import __version__, ipc
from xget_lib.config import Config
from xget_lib.errors import Exit, Failed, ProtocolViolation, XGetError, printable
from xget_lib.master import commands, events
from xget_lib.master.publisher import Publisher
from xget_lib.master.service_state import ServiceState
from xget_lib.master.tracker_io import TrackerIO
from xget_lib.master.worker_process import WorkerProcess
from xget_lib.master.workers import Vital, WorkerPool
from xget_lib.net import local_commands
from xget_lib.net.accept import Admission, connections
from xget_lib.net.credentials import read_again
from xget_lib.ninep.auth import Credentials
from xget_lib.ninep.budget import Account
from xget_lib.process import rlimit
from xget_lib.process.memfd import memfd
from xget_lib.process.notify import Notifier
from xget_lib.process.nursery import Nursery
from xget_lib.process.runtime_directory import Listening
from xget_lib.report.distribution import Distribution
from xget_lib.report.log import LOGGER, catch_greenlets
from xget_lib.report.rate_limited_log import RateLimitedLog
from xget_lib.signing.keys import SigningKey
from xget_lib.swarm.hosts import host_of

if TYPE_CHECKING:
    from xget_lib.page.server import PageServer

_STATUS_TIMEOUT = 1.0
"""Seconds to wait for workers to say how much they have sent."""
_STATUS_PAUSE = 0.1
"""Seconds between two status texts, at least: anybody may ask."""
_STATUS_SHARE = 5
"""Times that making the last one took, which is the pause too,"""
_STATUS_PAUSE_MOST = 0.5
"""but at most so many seconds."""
_STOP_TIMEOUT = 5.0
"""Seconds that workers have to end."""


class Master:
    """One master. `run` serves until a signal ends it."""

    def __init__(
        self,
        config: Config,
        root: bytes,
        listening: socket.socket,
        nursery: Nursery,
        credentials: Credentials,
        key: SigningKey | None = None,
        control: Listening | None = None,
        page: socket.socket | None = None,
        notifier: Notifier | None = None,
    ) -> None:
        """`credentials`: those of --secret; `key`: that of --sign-key; `control`: where commands come from, if they can
        come; `page`: where browsers do (--http); `notifier`: of a service manager, if there is one."""
        self._config = config
        self._credentials = credentials
        self._root = root
        self._listening = listening
        self._started = time.monotonic()
        self._events: Queue[events.Event] = Queue()
        self._admission = Admission(config.workers * rlimit.part(), proved_first=credentials.guard, allow=config.allow)
        self._strangers: dict[int, str] = {}
        """By connection: the address of a client that has not been let in yet."""
        self._accounts: dict[int, Account] = {}
        """By connection: its place among those that are admitted."""
        self._stale_lines = RateLimitedLog()
        self._control = control
        self._page = page
        self._status_readers: list[tuple[WorkerProcess, int, str]] = []
        """With the connection, and the file that is read."""
        self._status_pause = _STATUS_PAUSE
        self._pool = WorkerPool(nursery, config.workers, self._events)
        if credentials.required:
            self._pool.set_keys(credentials.keys)
        self._tracker = TrackerIO(config.max_direct, self._pool.send_to, nodes_are_open=not credentials.guard)
        self._publisher = Publisher(config, root, self._pool, self._tracker, self._events, key)
        self._service = ServiceState(notifier or Notifier(), self._publisher, self._tracker, self._events)

    def run(self, ready: Callable[[], None]) -> int:
        """Serve; `ready` is called when clients can connect. Returns the exit status. Raises XGetError."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            gevent.signal_handler(number, self._events.put, events.SignalReceived(number))
        catch_greenlets()
        accepting = gevent.spawn(self._accept)
        self._depend_on([*self._pool.start(), accepting, *self._publisher.start(), self._tracker.running])
        if self._control is not None:
            gevent.spawn(local_commands.serve, self._control.sock, self._perform)
        page = self._serve_page(self._page) if self._page is not None else None
        address, port = self._listening.getsockname()[:2]
        LOGGER.info("serving %s on %s port %d", printable(self._root), address, port)
        ready()
        self._service.start()
        failure = self._act_on_events()
        self._service.stops()
        for number in (signal.SIGTERM, signal.SIGINT):
            # A second one ends at once.
            signal.signal(number, lambda number, _: os._exit(128 + number))
        if self._control is not None:
            self._control.close()
        if page is not None:
            page.close()
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
                    self._publisher.worker_started()
                case events.ReloadWanted(reload):
                    self._reload(reload)
                case events.SignalReceived(signal.SIGHUP):
                    self._reload(commands.Reload(force=False))
                case events.StateDue():
                    self._service.tell()
                case events.SignalReceived(signal.SIGUSR1):
                    distribution = self._tracker.distribution(self._publisher.size)
                    LOGGER.warning("status: %s", json.dumps(self._status(distribution)))
                case events.SignalReceived(number):
                    LOGGER.info("stopping: %s", signal.Signals(number).name)
                    return None
                case events.CannotGoOn(error):
                    LOGGER.info("stopping: %s", error)
                    return error
            self._publisher.advance()

    def _perform(self, command: Any) -> Iterator[dict[str, Any]]:
        """A command from this machine."""

        def status() -> dict[str, Any]:
            self._pool.refresh(_STATUS_TIMEOUT)
            return self._status(self._tracker.distribution(self._publisher.size))

        return commands.perform(
            command,
            lambda reload: self._events.put(events.ReloadWanted(reload)),
            status,
            lambda: self._events.put(events.SignalReceived(signal.SIGTERM)),
        )

    def _reload(self, reload: commands.Reload) -> None:
        self._service.reload_begins(reload)
        reload.credentials_problem = self._read_credentials()
        self._publisher.reload(reload)

    def _depend_on(self, vital: Iterable[Vital]) -> None:
        """Without these, clients would wait for ever. If an error ends one, init is to start another master."""

        def cannot_go_on(ended: Vital) -> None:
            error = ended.exception
            why = f"internal error: {type(error).__name__}: {error} (see the log, and start the master again)"
            self._events.put(events.CannotGoOn(Failed("master", why)))

        for each in vital:
            each.link_exception(cannot_go_on)

    # Connections.

    def _accept(self) -> None:
        for accepted in connections(self._listening, self._admission):
            with accepted.sock as sock:
                connection = self._pool.adopt(sock, accepted.address, accepted.port)
            self._accounts[connection] = accepted.account
            accepted.account.end = partial(self._end_connection, connection)
            if self._credentials.guard:
                self._strangers[connection] = accepted.address
            else:
                self._events.put(events.Connected(connection, accepted.address))

    def _let_in(self, connection: int) -> None:
        """The client of a connection has proved that it belongs, or needs no proof."""
        address, account = self._strangers.pop(connection, None), self._accounts.get(connection)
        if address is None or account is None:
            return
        if self._admission.proved(account):
            self._tracker.connected(connection, address)
        else:
            self._end_connection(connection, "connections: this host has its share")

    def _read_credentials(self) -> str:
        """The secret and the certificates may have changed. Returns why they stay as they were, if their files cannot
        be used."""
        changes = read_again(self._config, self._credentials)
        if changes.secret:
            self._pool.set_keys(self._credentials.keys)
        if changes.certificates is not None:
            files = changes.certificates
            self._pool.set_certificates([files.certificate, files.key, files.authorities])
        return changes.problem

    def _end_connection(self, connection: int, why: str) -> None:
        self._pool.send_to(connection, ipc.EndConnection(connection, why))

    def _connection_ended(self, connection: int) -> None:
        self._strangers.pop(connection, None)
        if account := self._accounts.pop(connection, None):
            account.close()
        if self._tracker.address_of(connection):
            self._publisher.left(connection)
            self._tracker.ended(connection)

    def _receive(self, worker: WorkerProcess, message: ipc.Message) -> None:
        """Act on a message of a worker. Raises ProtocolViolation for one that no worker may send."""
        match message:
            case ipc.LetIn(connection):
                self._let_in(connection)
            case ipc.StatusWanted(connection, file):
                self._status_readers.append((worker, connection, file))
                if len(self._status_readers) == 1:
                    gevent.spawn(self._send_status)
            case ipc.Stale(generation, path):
                if self._publisher.is_stale(generation):
                    self._stale_lines.log(
                        logging.INFO, "", "%s changed since the snapshot; rescanning", printable(path)
                    )
            case ipc.Changed() | ipc.Checked() | ipc.WatchFailed():
                self._publisher.watch_reported(worker, message)
            case ipc.Progressed():
                self._publisher.scan_got_on()
            case ipc.PeersOpened(connection):
                self._publisher.arrived(connection)
            case ipc.NodeRegistered(connection, wrong_chunk=wrong) if wrong >= 0:
                host = host_of(self._tracker.address_of(connection))
                self._publisher.wrong_reported(host, message.generation, wrong)
                self._tracker.handle(message)
            case ipc.NodeUnregistered(connection):
                self._publisher.left(connection)
                self._tracker.handle(message)
            case _:
                self._tracker.handle(message)

    # The status.

    def _send_status(self) -> None:
        """Send the status, or the list of nodes, to all who wait for it by now: those that ask meanwhile get the same.
        It takes a small part of the time of this process, also if somebody asks all the time."""
        gevent.sleep(self._status_pause)
        self._pool.refresh(_STATUS_TIMEOUT)
        readers, self._status_readers = self._status_readers, []
        begun = time.monotonic()
        distribution = self._tracker.distribution(self._publisher.size)
        for file, encode in (("status", self._encoded_status), ("nodes", Distribution.encode)):
            wanted = [(worker, connection) for worker, connection, name in readers if name == file]
            if wanted:
                text = memfd(file, encode(distribution))
                try:
                    for worker, connection in wanted:
                        self._pool.send(worker, ipc.Status(connection, file), [text])
                finally:
                    os.close(text)
        took = time.monotonic() - begun
        self._status_pause = min(max(_STATUS_PAUSE, _STATUS_SHARE * took), _STATUS_PAUSE_MOST)

    def _serve_page(self, listening: socket.socket) -> PageServer:
        # Imported only where it is wanted: it brings a web server with it.
        from xget_lib.page import server

        return server.start(listening, self._config, self._look, partial(self._pool.refresh, _STATUS_TIMEOUT))

    def _look(self) -> tuple[dict[str, Any], Distribution]:
        distribution = self._tracker.distribution(self._publisher.size)
        return {**self._status(distribution), "host": os.uname().nodename}, distribution

    def _status(self, distribution: Distribution) -> dict[str, Any]:
        return {
            "role": "master",
            "version": __version__,
            "pid": os.getpid(),
            "path": printable(self._root),
            "port": self._config.port,
            "seconds": round(time.monotonic() - self._started, 1),
            "time": time.time(),
            **self._publisher.status(),
            "nursery_problem": self._pool.problem,
            "sent": self._pool.sent,
            "encrypts": next((worker.encrypts for worker in self._pool.workers if worker.encrypts), ""),
            "refused": self._admission.refused,
            **self._tracker.status(distribution),
            "workers": [
                {"pid": worker.pid, "connections": len(worker.connections), "sent": worker.sent}
                for worker in self._pool.workers
            ],
        }

    def _encoded_status(self, distribution: Distribution) -> bytes:
        return json.dumps(self._status(distribution)).encode() + b"\n"
