"""A worker: runs the 9P sessions of the connections that the master hands over, and its share of the snapshot.

A plain process, forked by the nursery before gevent was imported; it imports gevent itself. It owns no state that must
survive it: the list of nodes and the offered chunks are the master's, which the worker asks in messages. It ends when
the channel to the master does.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import socket
import stat
import time
from array import array
from collections.abc import Callable, Collection, Sequence
from functools import cache, partial
from io import FileIO
from logging import INFO

import gevent
from gevent import socket as gsocket

from xget_lib import ipc
from xget_lib.config import Config
from xget_lib.dataclass import dataclass
from xget_lib.errors import LinkLost, NinepError, ProtocolViolation, XGetError
from xget_lib.extensions import extensions
from xget_lib.fs.places import marks_of
from xget_lib.fs.private import is_private_at
from xget_lib.fs.rooted import Root
from xget_lib.manifest.bitmap import Bitmap
from xget_lib.manifest.decoding import decode_trusted
from xget_lib.manifest.patterns import NO_PATTERNS, Patterns
from xget_lib.net.blocking import wait_writable
from xget_lib.net.credentials import munge_of
from xget_lib.net.sending_hosts import SendingHosts
from xget_lib.net.server import Client, Server
from xget_lib.net.threads import in_thread, pool
from xget_lib.net.transport import Transport
from xget_lib.ninep.auth import Credentials, Tls
from xget_lib.ninep.budget import Account, Budget
from xget_lib.ninep.file import File
from xget_lib.ninep.session import Session
from xget_lib.process.channel import Channel, close_all
from xget_lib.process.memfd import read_all
from xget_lib.report.log import LOGGER, catch_greenlets
from xget_lib.serve import swarm
from xget_lib.serve.access import Access
from xget_lib.serve.attach import FILES, SWARM
from xget_lib.serve.files import Files
from xget_lib.serve.served import EncodedManifest, LastGenerations, Served
from xget_lib.serve.store import Store
from xget_lib.swarm.hosts import host_of
from xget_lib.worker import jobs
from xget_lib.worker.backend import WorkerBackend
from xget_lib.worker.message_pace import MessagePace
from xget_lib.worker.watcher import DirectoryWatcher

_THREADS = 3
"""Two for jobs, so that one can read while the other computes, and one for everything else."""
_MASTER_SILENT = 8.0
"""Seconds after which a master that sends nothing counts as hung. Only then the --timeout of the clients begins."""
_WAIT = 2.0
"""Seconds of one wait for the master. The silence is counted in such waits, because in one this process itself, or the
whole machine, may have been stopped for any time."""
_PACE = 0.05
"""Seconds between two looks at messages that wait."""
_PROGRESS_EVERY = 1.0
"""Seconds between two messages that say that jobs get on."""
_IDLE_PINGS = 3
"""Times that the master has asked, every other second, and nothing was sent."""
_PATH_LIMIT = 1024
"""Bytes of a path that are sent to the master for its log: a path may be longer than a message."""


def run(
    channel: Channel, number: int, config: Config, sending: SendingHosts | None = None, tls: Tls | None = None
) -> int:
    """Serve until the master ends or sends Stop. The workers of a master share `sending` and `tls`. Returns the exit
    status of the process."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    channel.wait_readable = _wait_for_master
    channel.wait_writable = wait_writable
    catch_greenlets()
    pool().most = _THREADS
    LOGGER.debug("worker %d started", number)
    try:
        # The keys come from the master, which reads them again when the secret changes.
        credentials = Credentials(bool(config.auth), methods=config.auth, munge=munge_of(config), tls=tls)
        access = Access.of(config, credentials)
        hidden = Hidden(config.public_only, Patterns(map(os.fsencode, config.exclude)))
        Worker(channel, config.debug, config.workers, access, sending, number, hidden=hidden).run()
    except LinkLost:
        pass  # the master is gone
    except Exception as error:
        LOGGER.debug("internal error", exc_info=True)
        with contextlib.suppress(LinkLost):
            channel.send(ipc.pack(ipc.WorkerFailed(f"{type(error).__name__}: {error}")))
        return 1
    return 0


def _wait_for_master(channel: socket.socket) -> None:
    """Return when the master has sent something: it asks every other second whether this worker is there.

    Raises LinkLost if it is silent, as a stopped process is. The end of this worker then shows its clients that.
    """
    for _ in range(int(_MASTER_SILENT / _WAIT)):
        with contextlib.suppress(TimeoutError):
            gsocket.wait_read(channel.fileno(), _WAIT)
            return
        # The time may be over although the master has spoken, if this process was stopped.
        if select.select([channel], [], [], 0)[0]:
            return
    LOGGER.error("the master process has sent nothing for %d s; worker %d ends", _MASTER_SILENT, os.getpid())
    raise LinkLost("master process", "nothing received")


@dataclass(frozen=True)
class Hidden:
    """What the namespace `files` of a master does not show, because the snapshot does not have it either."""

    public_only: bool = False
    """What not everybody may read,"""
    exclude: Patterns = NO_PATTERNS
    """and what these match."""

    def matches(self, root: Root, *, single: bool) -> Callable[[bytes, os.stat_result], bool] | None:
        """As in `Files`, which has this root. `single`: one file is served, whatever its name is."""
        exclude = NO_PATTERNS if single else self.exclude
        if not self.public_only and not exclude:
            return None
        return lambda path, status: (
            not (
                (self.public_only and is_private_at(root, path, status))
                or exclude.covers(path, is_directory=stat.S_ISDIR(status.st_mode))
            )
        )


class Worker:
    """Acts on the messages of the master. One in each worker process."""

    def __init__(
        self,
        channel: Channel,
        debug: int,
        workers: int = 1,
        access: Access | None = None,
        sending: SendingHosts | None = None,
        number: int = 0,
        *,
        hidden: Hidden | None = None,
    ) -> None:
        """The master has so many workers, which share `sending`; this is that of this number. `access` gets its keys
        from the master; None: everybody is let in. `hidden`: what is on disk and not shown either."""
        self.debug_level = debug
        self._access = access or Access()
        self._hidden = hidden or Hidden()
        self._pace = MessagePace(workers)
        self._sending: gevent.Greenlet[..., None] | None = None
        """What sends the messages that wait in `_pace`."""
        self.served: Served | None = None
        self._last = LastGenerations()
        self._files: Files | None = None
        self._roots: tuple[Root, ...] = ()
        """The directory that is served, as often as something keeps directories in it open."""
        self._sent_before, self._idle_pings = 0, 0
        """Bytes sent until the last Ping, and for how many nothing was sent."""
        self._channel = channel
        self._adopted: dict[int, Client] = {}
        """By number: the clients that the master handed over, and that have not ended."""
        self._backends: dict[int, WorkerBackend] = {}
        self._watcher = DirectoryWatcher(self.send)
        self._extensions = {aname: extension.worker_side(self) for aname, extension in extensions().items()}
        connects = {aname: extension.connect for aname, extension in self._extensions.items()}
        namespaces = {**connects, SWARM: self._connect, FILES: lambda _: self._files_root}
        self._server = Server(namespaces, INFO, self._access, sending, number)
        self._lobby = self._server.lobby(self._let_in, self._ended)

    def run(self) -> None:
        """Return when the master ends or sends Stop. Raises ProtocolViolation for a message that it may not send."""
        while (received := ipc.receive(self._channel)) is not None:
            message, descriptors = received
            match message:
                case ipc.Stop():
                    for extension in self._extensions.values():
                        extension.drain()
                    return
                case ipc.Ping():
                    self._let_go_if_idle()
                    self.send(ipc.Pong(len(self._server.clients), self._server.sent, self._server.encrypts))
                case ipc.Adopt(number, address, port):
                    self._adopt(Client(number, address, port, Account(host_of(address))), descriptors[0])
                case ipc.Keys(keys):
                    self._access.credentials.keys = keys
                    self._server.secret_changed()
                case ipc.Certificates():
                    self._use_certificates(descriptors)
                case ipc.EndConnection(connection, why):
                    self._end_connection(connection, why)
                case ipc.Serve():
                    self._serve(message, *descriptors)
                case ipc.Job():
                    gevent.spawn(self._perform, message, descriptors)
                case ipc.WatchDirectory():
                    self._watcher.begin(message)
                case ipc.CheckDirectory():
                    gevent.spawn(self._watcher.check)
                case ipc.NewsLine() | ipc.Grant() | ipc.Status():
                    self._answer_read(message, descriptors)
                case _:
                    close_all(descriptors)
                    if not any(extension.handle(message) for extension in self._extensions.values()):
                        raise ProtocolViolation(f"unexpected message {type(message).__name__} from the master")

    def _use_certificates(self, descriptors: Sequence[int]) -> None:
        """Raises UsageError if they cannot be used; but the master has tried that."""
        from xget_lib.process.certificates import TlsFiles, make_tls  # loads OpenSSL: only who wants TLS needs it

        certificate, key, authorities = map(read_all, descriptors)
        close_all(descriptors)
        self._access.credentials.tls = make_tls(TlsFiles(certificate, key, authorities))

    def send(self, message: ipc.Message, descriptors: Sequence[int] = ()) -> None:
        """Send a message to the master, or later if its host has sent too many. If the master is gone, nothing is sent:
        then `run` returns."""
        if self._pace.passes(message, time.monotonic()):
            self._send(message, descriptors)
        elif not self._sending:
            self._sending = gevent.spawn(self._send_waiting)

    def _send(self, message: ipc.Message, descriptors: Sequence[int] = ()) -> None:
        with contextlib.suppress(LinkLost):
            self._channel.send(ipc.pack(message), descriptors)

    def _send_waiting(self) -> None:
        while self._pace.waits:
            gevent.sleep(_PACE)
            for message in self._pace.due(time.monotonic()):
                self._send(message)

    @property
    def manifest(self) -> EncodedManifest | None:
        """See `serve.swarm.SwarmServer`."""
        return self.served.manifest if self.served is not None else None

    @property
    def slots(self) -> Budget:
        """See `worker.backend.WorkerServer`."""
        return self._server.slots

    @property
    def clients(self) -> Collection[Client]:
        return self._server.clients.values()

    def remark(self, client: Client, line: str) -> None:
        """Write a line of a client to the master's log."""
        self.send(ipc.LogLine(client.number, line))

    # Connections.

    def _adopt(self, client: Client, descriptor: int) -> None:
        self._adopted[client.number] = client
        if self._lobby is not None:
            self._lobby.enter(client, socket.socket(fileno=descriptor))
        else:
            gevent.spawn(self._serve_client, client, Transport(socket.socket(fileno=descriptor)))

    def _let_in(self, client: Client, transport: Transport, session: Session | None) -> None:
        self.send(ipc.LetIn(client.number))
        gevent.spawn(self._serve_client, client, transport, session)

    def _serve_client(self, client: Client, transport: Transport, session: Session | None = None) -> None:
        self._pace.connected(client.number, host_of(client.address), time.monotonic())
        try:
            self._server.serve(client, transport, session)
        finally:
            self._backends.pop(client.number, None)
            self._pace.ended(client.number)
            self._ended(client)

    def _ended(self, client: Client) -> None:
        del self._adopted[client.number]
        client.account.close()
        self.send(ipc.ConnectionClosed(client.number))

    def _let_go_if_idle(self) -> None:
        """Close directories that are kept open for speed: they keep file systems from being unmounted."""
        sent = self._server.sent
        self._idle_pings = self._idle_pings + 1 if sent == self._sent_before else 0
        self._sent_before = sent
        if self._idle_pings == _IDLE_PINGS:
            for root in self._roots:
                root.forget()

    def _end_connection(self, number: int, why: str) -> None:
        client = self._adopted.get(number)
        if client is not None:  # else it has ended meanwhile
            gevent.spawn(client.end, why)

    def _connect(self, client: Client) -> Callable[[], File]:
        backend = self._backends[client.number] = WorkerBackend(self, client)
        return cache(partial(swarm.master_tree, backend))

    def _files_root(self) -> File:
        """Raises NinepError until the master has sent what to serve."""
        if self._files is None:
            raise NinepError(errno.EAGAIN)
        return self._files.tree()

    def _answer_read(self, message: ipc.NewsLine | ipc.Grant | ipc.Status, descriptors: list[int]) -> None:
        """A message for a read that waits on one connection. The connection may have ended meanwhile."""
        try:
            backend = self._backends.get(message.connection)
            if backend is not None:
                backend.receive(message, descriptors)
        finally:
            close_all(descriptors)

    # The snapshot.

    def _perform(self, job: ipc.Job, descriptors: list[int]) -> None:
        made: list[int] = []
        reporting = gevent.spawn(self._report_progress)
        try:
            done, made = in_thread(jobs.perform, job, descriptors)
            self.send(done, made)
        except XGetError as error:
            self.send(ipc.JobFailed(job.number, str(error)))
        except Exception as error:
            LOGGER.exception("internal error")
            self.send(ipc.JobFailed(job.number, f"internal error: {type(error).__name__}: {error}"))
        finally:
            reporting.kill(block=False)
            close_all((*descriptors, *made))

    def _report_progress(self) -> None:
        """Tell the master that jobs get on, for as long as they do."""
        done = jobs.STEPS.done
        while True:
            gevent.sleep(_PROGRESS_EVERY)
            if jobs.STEPS.done != done:
                done = jobs.STEPS.done
                self.send(ipc.Progressed())

    def _serve(self, message: ipc.Serve, manifest_descriptor: int, stamps_descriptor: int, base: int) -> None:
        """Serve this generation from now on. Blocks until the manifest is decoded: nothing can be served before."""
        jobs.forget()
        manifest = decode_trusted(read_all(manifest_descriptor))
        stamps = array("q", read_all(stamps_descriptor))
        os.close(stamps_descriptor)
        location = message.location
        self._roots = Root(message.base, base), Root(message.base, base)
        store = Store(
            self._roots[0],
            manifest,
            Bitmap.filled(manifest.layout.chunk_count),
            stamps=stamps,
            locate=(lambda _: location) if location else None,
            on_stale=lambda path: self.send(ipc.Stale(manifest.generation, path[:_PATH_LIMIT])),
        )
        encoded = EncodedManifest(FileIO(manifest_descriptor), os.fstat(manifest_descriptor).st_size)
        marks = () if location else marks_of(message.base, [each.path for each in manifest.omitted if each.expected])
        self.served = Served(encoded, store, marks=tuple(marks))
        self._last.add(self.served)
        files_root = self._roots[1]
        self._files = Files(
            files_root,
            (lambda path: path in (b"", location)) if location else lambda _: True,
            manifest.users,
            manifest.groups,
            self._hidden.matches(files_root, single=bool(location)),
        )
        os.close(base)
        self._server.retry()  # clients that connected before there was anything to serve
