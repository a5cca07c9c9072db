"""A master without processes: the backends of a real worker, whose messages go straight to a real tracker and back.

Nothing here waits: what the master does now and then, it does when `happen` says so.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Hashable, Sequence
from itertools import count
from typing import Any

import msgpack

from test.fuzz.choices import Choices
from test.fuzz.grounds import Grounds
from xget_lib import ipc
from xget_lib.classic.files import Regular
from xget_lib.classic.worker import ClassicWorkerBackend, WorkerNamespace
from xget_lib.master.tracker_io import TrackerIO
from xget_lib.net.server import Client
from xget_lib.ninep.session import Session
from xget_lib.process.channel import MAX_PACKET
from xget_lib.process.memfd import memfd
from xget_lib.serve import swarm
from xget_lib.serve.attach import Attach, attach
from xget_lib.serve.synthetic import DeferredText
from xget_lib.worker.backend import WorkerBackend
from xget_lib.worker.worker import Worker

ADDRESSES = ("10.0.0.1", "10.0.0.2", "127.0.0.1", "::1", "fe80::1")


def carried(message: ipc.Message) -> ipc.Message:
    """The message as it comes out of a channel."""
    packet = msgpack.packb(ipc.pack(message))
    assert len(packet) <= MAX_PACKET, f"{type(message).__name__} of {len(packet)} bytes"
    return ipc.unpack(msgpack.unpackb(packet, use_list=False))


class Master:
    """The worker and the tracker."""

    def __init__(self, grounds: Grounds) -> None:
        self.grounds = grounds
        self.worker = Worker(self, 0)  # type: ignore[arg-type]  # we are the channel that it sends through
        classic = self.worker._extensions["classic"]
        assert isinstance(classic, WorkerNamespace)
        self.classic = classic
        self.classic.checksums = self  # type: ignore[assignment]  # and compute no checksum
        self.tracker = TrackerIO(3, self._tell)
        self.guests: dict[int, WorkersGuest] = {}
        self._numbers = count(1)

    def guest(self, choices: Choices) -> WorkersGuest:
        return WorkersGuest(self, next(self._numbers), choices)

    def change(self, choices: Choices) -> None:
        """Something else is served, or nothing."""
        served = self.worker.served = self.grounds.generation(choices)
        if served is not None:
            chunks = served.store.layout.chunk_count
            self.tracker.published(served.generation, served.manifest.size, chunks)

    def ask(self, host: Hashable, file: Regular, answer: DeferredText, retry: Callable[[], None]) -> None:
        """For a checksum, which reading the file would take time."""
        answer.put(b"1")

    def send(self, packed: Sequence[Any], descriptors: Sequence[int] = ()) -> None:
        """What the worker says to its master."""
        message = carried(ipc.unpack(packed))
        if isinstance(message, ipc.StatusWanted):
            text = memfd("status", b"{}\n")
            self.guests[message.connection].backend.receive(ipc.Status(message.connection, message.file), [text])
            os.close(text)
        elif not isinstance(message, ipc.Stale):
            self.tracker.handle(message)

    def _tell(self, connection: int, message: ipc.Message) -> None:
        guest = self.guests.get(connection)
        if guest is not None:
            reply = carried(message)
            if isinstance(reply, ipc.NewsLine | ipc.Grant):
                guest.backend.receive(reply, [])
            else:
                self.classic.handle(reply)


class WorkersGuest:
    """A guest (see `server.Guest`) of a worker, whose backends take it for its connection."""

    round_trip = 0.0

    def __init__(self, master: Master, number: int, choices: Choices) -> None:
        client = Client(number, "10.0.0.1", 1, connection=self)  # type: ignore[arg-type]
        self.backend = WorkerBackend(master.worker, client)
        self.classic = ClassicWorkerBackend(master.classic, client)
        master.classic._backends[number] = self.classic
        self._master = master
        self._number = number
        self._choices = choices
        self._session: Session | None = None
        master.worker._pace.connected(number, f"guest {number}", time.monotonic())  # no other uses its share
        master.guests[number] = self
        master.tracker.connected(number, choices.pick(ADDRESSES))

    @property
    def attach(self) -> Attach:
        return attach(self._master.grounds.trees(lambda: swarm.master_tree(self.backend), self.classic))

    def meet(self, session: Session) -> None:
        self._session = session

    def retry(self) -> None:
        """A backend has something for a read that waits."""
        assert self._session is not None
        self._session.retry()

    def happen(self) -> None:
        if self._choices.chance(0.1):
            self._master.change(self._choices)
        self._master.tracker.tick()
        self._master.grounds.change(self._choices)
        self.retry()

    def end(self) -> None:
        tracker = self._master.tracker
        tracker.ended(self._number)
        tracker.tick()
        self._master.worker._pace.ended(self._number)
        del self._master.guests[self._number]
        assert not self.backend._news and not self.backend._slots
        known = tracker.tracker
        assert self._number not in known._clients and self._number not in known._offers._nodes
        assert self._number not in known._graph
        if not self._master.guests:
            assert not known._offers.asked and not known._offers._nodes and not known._offers._on_way
            assert not known._clients and not known._followers
            assert not self._master.classic.downloads
            (classic,) = tracker.extensions
            assert not classic.status()["c_clients"] and not classic._since  # type: ignore[attr-defined]
