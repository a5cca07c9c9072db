"""The gevent shell around `swarm.tracker.Tracker`: messages of workers become its events, its actions become messages.

The Tracker decides. This class has the clock, sends messages, and tells extensions, such as the C program's clients,
which nodes are complete.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from logging import INFO
from typing import Any

import gevent
from gevent.event import Event

from xget_lib import ipc
from xget_lib.errors import ProtocolViolation
from xget_lib.extensions import extensions
from xget_lib.report.log import LOGGER
from xget_lib.report.rate_limited_log import RateLimitedLog
from xget_lib.swarm.messages import Registration
from xget_lib.swarm.tracker import NodeComplete, NodeIncomplete, NodeJoined, NodeLeft, SendGrant, SendNews, Tracker
from xget_lib.swarm.tuning import TUNING


class TrackerIO:
    """The nodes of one master, owned by it. `send(connection, message)` reaches the worker that has the connection."""

    def __init__(self, max_direct: int, send: Callable[[int, ipc.Message], None]) -> None:
        self.tracker = Tracker(max_direct, TUNING, random.Random())
        self._send = send
        self._happened = Event()
        self._client_lines, self._complete_lines = RateLimitedLog(), RateLimitedLog()
        self.extensions = [each.master_side(self, max_direct) for each in extensions().values()]
        gevent.spawn(self._run)

    def published(self, generation: bytes, manifest_size: int, chunk_count: int) -> None:
        """The master serves another generation from now on."""
        self.tracker.published(generation, manifest_size, chunk_count, time.monotonic())
        self._happened.set()

    def scanned(self, at: float, *, watched: bool, problem: str, settled: float) -> None:
        """As `Tracker.scanned`."""
        self.tracker.scanned(at, time.monotonic(), watched=watched, problem=problem, settled=settled)
        self._happened.set()

    def connected(self, connection: int, address: str) -> None:
        """A client connected from this address."""
        self.tracker.connected(connection, address)

    def address_of(self, connection: int) -> str:
        """See `extensions.MasterHost`."""
        return self.tracker.address(connection)

    def send(self, connection: int, message: ipc.Message) -> None:
        """See `extensions.MasterHost`."""
        self._send(connection, message)

    def peers_opened(self, connection: int) -> None:
        """A client waits for news, and may have it."""
        self.tracker.peers_opened(connection, time.monotonic())
        self._happened.set()

    def ended(self, connection: int) -> None:
        """A connection has ended, and everything that depended on it."""
        for extension in self.extensions:
            extension.ended(connection)
        self.tracker.ended(connection, time.monotonic())
        self._happened.set()

    def handle(self, message: ipc.Message) -> None:
        """Act on what a worker reports of a connection. Raises ProtocolViolation for any other message."""
        now = time.monotonic()
        match message:
            case ipc.SlotAsked(connection, slot):
                self.tracker.slot_asked(connection, slot, now)
            case ipc.Wants(connection, chunks):
                self.tracker.wants(connection, int.from_bytes(chunks, "little"))
            case ipc.SlotClosed(connection, slot):
                self.tracker.slot_closed(connection, slot)
            case ipc.NodeRegistered(connection, port, generation, held, follows):
                self.tracker.registered(connection, Registration(port, generation, held, follows), now)
            case ipc.NodeUnregistered(connection):
                self.tracker.unregistered(connection, now)
            case ipc.LogLine(connection, text):
                address = self.tracker.address(connection) or "?"
                self._client_lines.log(INFO, address, "message from %s: %s", address, text)
            case _:
                if not any(extension.handle(message) for extension in self.extensions):
                    raise ProtocolViolation(f"unexpected message {type(message).__name__} from a worker")
                return
        self._happened.set()

    @property
    def followed(self) -> bool:
        """Whether some node wants each new generation as soon as there is one."""
        return self.tracker.followed

    def status(self) -> dict[str, Any]:
        """The part of the master's status about nodes, the oldest first, and about clients of extensions."""
        now = time.monotonic()
        children = [
            {
                "address": address,
                "port": registration.port,
                "held": registration.held,
                "generation": registration.generation.hex(),
                "seconds": round(now - joined, 1),
                "follows": registration.follows,
            }
            for address, registration, joined in sorted(self.tracker.nodes(), key=lambda node: node[2])
        ]
        status: dict[str, Any] = {"offered": self.tracker.granted_count, "children": children}
        for extension in self.extensions:
            status |= extension.status()
        return status

    def _run(self) -> None:
        """Tick after events, once for all that arrived together, and when the tracker's wait is over."""
        while True:
            self._happened.wait(self.tracker.wait(time.monotonic()))
            self._happened.clear()
            self.tick()

    def tick(self) -> None:
        """Carry out what the tracker decides now."""
        for action in self.tracker.tick(time.monotonic()):
            match action:
                case SendGrant(connection, slot, chunk):
                    self._send(connection, ipc.Grant(connection, slot, chunk))
                case SendNews(connection, news):
                    self._send(connection, ipc.NewsLine(connection, news.encode()))
                case NodeJoined(address, port):
                    LOGGER.debug("%s port %d: registered", address, port)
                case NodeLeft(address, port):
                    LOGGER.debug("%s port %d: unregistered", address, port)
                case NodeComplete(connection, address, port, seconds):
                    text = "%s port %d: complete, %.1f s after it registered"
                    self._complete_lines.log(INFO, address, text, address, port, seconds)
                    for extension in self.extensions:
                        extension.node(connection, address, port, whole=True)
                case NodeIncomplete(connection):
                    for extension in self.extensions:
                        extension.node(connection, "", 0, whole=False)
