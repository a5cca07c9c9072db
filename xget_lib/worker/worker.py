"""A worker: runs the 9P sessions of the connections that the master hands over, and its share of the snapshot.

A plain process forked by the nursery before gevent was imported; it imports gevent itself. It owns nothing that must
survive it: what the master has to know (who serves what, which chunk was given out) is asked of the master in
messages. It ends when the master's channel does.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
from array import array
from collections.abc import Callable, Sequence
from io import FileIO
from logging import INFO

import gevent
from gevent import get_hub

from xget_lib import ipc
from xget_lib.classic import drain, tree
from xget_lib.classic.checksums import Checksums
from xget_lib.errors import LinkLost, NinepError, printable
from xget_lib.fs.rooted import Root
from xget_lib.manifest.bitmap import Bitmap
from xget_lib.manifest.decoding import read
from xget_lib.net.connection import Connection
from xget_lib.net.listen import prepare
from xget_lib.net.waiting import in_thread, wait_readable, wait_writable
from xget_lib.ninep.limits import ALL_PLACES, Budget, Shared
from xget_lib.ninep.session import File, Session
from xget_lib.process import rlimit
from xget_lib.process.channel import Channel
from xget_lib.process.memfd import read_all
from xget_lib.report.log import LOGGER, catch_greenlets
from xget_lib.report.rate_limited_log import RateLimitedLog
from xget_lib.serve import swarm
from xget_lib.serve.attach import CLASSIC, FILES, SWARM, attach
from xget_lib.serve.files import Files
from xget_lib.serve.served import Encoded, Served
from xget_lib.serve.store import Store
from xget_lib.worker import jobs
from xget_lib.worker.backend import Desk
from xget_lib.worker.watcher import DirectoryWatcher

_THREADS = 3
"""Two for jobs, so that one can read while the other computes, and one for what cannot wait for them."""
_PATH_TOLD = 1024
"""Bytes of a path that the master is told, for its log: a path may be longer than a message."""


def run(channel: Channel, number: int, debug: int) -> int:
    """Serve until the master ends or says so. Returns the exit status of the process."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    channel.wait_readable = wait_readable
    channel.wait_writable = wait_writable
    catch_greenlets()
    get_hub().threadpool.maxsize = _THREADS
    LOGGER.debug("worker %d starts", number)
    with contextlib.suppress(LinkLost):  # the master is gone, and so is the reason to be here
        Worker(channel, debug).run()
    return 0


class Worker:
    """The connections of this process and what they are served."""

    def __init__(self, channel: Channel, debug: int) -> None:
        self.debug = debug
        self.served: Served | None = None
        self.files: Files | None = None
        self.checksums = Checksums()
        self.ending = False
        self._hidden: set[bytes] = set()
        self._channel = channel
        self._desks: dict[int, Desk] = {}
        self._sent = 0
        self._shared = Shared(Budget(ALL_PLACES), Budget(rlimit.part()), Budget(rlimit.part()))
        self._endings = RateLimitedLog()
        self._noticing = DirectoryWatcher(self.tell)

    def run(self) -> None:
        while (received := self._channel.receive()) is not None:
            packed, passed = received
            message = ipc.unpack(packed)
            if isinstance(message, ipc.Stop):
                self._farewell()
                return
            if isinstance(message, ipc.Job):
                gevent.spawn(self._perform, message, passed)
            elif isinstance(message, ipc.Serve):
                self._serve(message, *passed)
            elif isinstance(message, ipc.Adopt):
                self._adopt(message, socket.socket(fileno=passed[0]))
            elif isinstance(message, ipc.Status):
                self._tell_status(message, *passed)
            else:
                self._pass_on(message)

    def tell(self, message: ipc.Message, descriptors: Sequence[int] = ()) -> None:
        """Send a message to the master."""
        self._channel.send(ipc.pack(message), descriptors)

    def hides(self, path: bytes) -> None:
        """Something is not shown to C clients; said once for each generation."""
        if path not in self._hidden:
            self._hidden.add(path)
            LOGGER.warning("%s is not shown to C clients: they cannot do with that name", printable(path))

    def _pass_on(self, message: ipc.Message) -> None:
        if isinstance(message, ipc.Ping):
            self.tell(ipc.Pong(len(self._desks), self._sent))
        elif isinstance(message, ipc.WatchDirectory):
            self._noticing.begin(message)
        elif isinstance(message, ipc.StopWatching):
            self._noticing.end()
        elif isinstance(message, ipc.News | ipc.Grant | ipc.Redirected):
            # A connection may have ended while the message was on its way.
            desk = self._desks.get(message.connection)
            if desk is not None:
                desk.receive(message)

    def _tell_status(self, message: ipc.Status, text: int) -> None:
        desk = self._desks.get(message.connection)
        try:
            if desk is not None:
                desk.tell_status(read_all(text))
        finally:
            os.close(text)

    def _perform(self, job: ipc.Job, descriptors: list[int]) -> None:
        done, made = in_thread(jobs.perform, job, descriptors)
        try:
            self.tell(done, made)
        finally:
            for descriptor in (*descriptors, *made):
                os.close(descriptor)

    def _serve(self, message: ipc.Serve, manifest_descriptor: int, stamps_descriptor: int) -> None:
        """Blocks until the manifest is decoded: nothing can be served before anyway."""
        jobs.forget()
        self._hidden.clear()
        file = FileIO(manifest_descriptor)
        manifest = read(read_all(manifest_descriptor))
        stamps = array("q", read_all(stamps_descriptor))
        os.close(stamps_descriptor)
        root = Root(message.base)
        location = message.location
        held = Bitmap.filled(manifest.layout.chunk_count)
        store = Store(root, manifest, held, stamps=stamps, locate=(lambda _: location) if location else None)
        generation = manifest.generation
        self.served = Served(
            generation,
            Encoded(file, os.fstat(manifest_descriptor).st_size),
            store,
            lambda path: self.tell(ipc.Stale(generation, path[:_PATH_TOLD])),
        )
        self.files = Files(
            Root(message.base),
            (lambda path: path in (b"", location)) if location else lambda _: True,
            manifest.users,
            manifest.groups,
        )
        for desk in self._desks.values():
            desk.retry()  # who has come before there was anything reads now

    def _adopt(self, message: ipc.Adopt, sock: socket.socket) -> None:
        prepare(sock)
        desk = Desk(self, message.connection)
        self._desks[message.connection] = desk
        trees: dict[str, Callable[[], File]] = {
            CLASSIC: lambda: tree.tree(desk),
            SWARM: lambda: swarm.tree(desk),
            FILES: self._files,
        }
        desk.connection = Connection(sock, Session(attach(trees), shared=self._shared), self._count)
        gevent.spawn(self._run, desk, desk.connection, message.address, message.port)

    def _files(self) -> File:
        """The root of `files`. Raises NinepError as long as it is not known what is served."""
        if self.files is None:
            raise NinepError(errno.EAGAIN)
        return self.files.tree()

    def _run(self, desk: Desk, connection: Connection, address: str, port: int) -> None:
        try:
            why = connection.run()
            if why is not None:
                self._endings.log(INFO, address, "%s:%d: connection ended: %s", address, port, why)
        finally:
            del self._desks[desk.number]
            self.tell(ipc.Closed(desk.number))

    def _farewell(self) -> None:
        """Tell C clients that the rest of their files does not come."""
        self.ending = True
        drain.tell(self._desks.values(), lambda: any(desk.downloading for desk in self._desks.values()))

    def _count(self, sent: int) -> None:
        self._sent += sent
