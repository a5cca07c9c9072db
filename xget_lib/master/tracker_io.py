"""The gevent shell around `swarm.tracker.Tracker`: messages of workers become its events, its actions become messages.

The Tracker decides. This class has the clock, sends messages, and tells extensions, such as the C program's clients,
which nodes are complete.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from heapq import nsmallest
from logging import INFO, WARNING
from typing import Any

import gevent
from gevent.event import Event

from xget_lib import ipc
from xget_lib.dataclass import astuple
from xget_lib.errors import ProtocolViolation
from xget_lib.extensions import extensions
from xget_lib.manifest.signature import Signature
from xget_lib.master.node_states import distribution_of, lag_text
from xget_lib.report.distribution import Distribution, NodeStatus
from xget_lib.report.distribution_summary import summarise
from xget_lib.report.events import size
from xget_lib.report.log import LOGGER
from xget_lib.report.log_formats import about
from xget_lib.report.rate_limited_log import RateLimitedLog
from xget_lib.swarm.hosts import host_of
from xget_lib.swarm.messages import FAILED, Registration
from xget_lib.swarm.recent import RecentByHost
from xget_lib.swarm.tracker import (
    NodeComplete,
    NodeEnded,
    NodeIncomplete,
    NodeJoined,
    NodeLags,
    NodeLeft,
    SendGrant,
    SendNews,
    Tracker,
)
from xget_lib.swarm.tuning import TUNING

_ENDED_SHOWN = 100
"""Nodes in the status whose runs have ended."""
_CHILDREN_SHOWN = 200
"""Nodes in the status that serve. All of them are in the file `nodes`."""


class TrackerIO:
    """The nodes of one master, owned by it. `send(connection, message)` reaches the worker that has the connection."""

    def __init__(
        self, max_direct: int, send: Callable[[int, ipc.Message], None], *, nodes_are_open: bool = True
    ) -> None:
        """`nodes_are_open`: whether nodes serve those who have no secret. Extensions hear only of such nodes."""
        self._nodes_are_open = nodes_are_open
        self.tracker = Tracker(max_direct, TUNING, random.Random())
        self._send = send
        self._happened = Event()
        self._client_lines, self._end_lines, self._lag_lines = RateLimitedLog(), RateLimitedLog(), RateLimitedLog()
        self._ended: RecentByHost[tuple[float, dict[str, Any]]] = RecentByHost(_ENDED_SHOWN)
        """The nodes whose runs ended last: when, and what the status says of them."""
        self.extensions = [each.master_side(self, max_direct) for each in extensions().values()]
        self.running = gevent.spawn(self._run)
        """Never ends. Without it no node would get anything."""

    def published(
        self, generation: bytes, manifest_size: int, chunk_count: int, signature: Signature | None = None
    ) -> None:
        """The master serves another generation from now on."""
        self.tracker.published(generation, manifest_size, chunk_count, time.monotonic(), signature)
        self._happened.set()

    def signed(self, signature: Signature | None) -> None:
        """What it serves has another signature from now on, or none."""
        self.tracker.signed(signature, time.monotonic())
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
            case ipc.SlotAsked(connection, slot, round_trip):
                self.tracker.slot_asked(connection, slot, now, round_trip)
            case ipc.Wants(connection, chunks):
                self.tracker.wants(connection, int.from_bytes(chunks, "little"))
            case ipc.SlotClosed(connection, slot):
                self.tracker.slot_closed(connection, slot, now)
            case ipc.NodeRegistered():
                connection, *fields = astuple(message)
                self.tracker.registered(connection, Registration(*fields), now)
            case ipc.PeersReached(connection, peers):
                self.tracker.peers_reached(connection, peers, now)
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

    def distribution(self, size: int) -> Distribution:
        """All nodes, also those that have left. `size`: bytes of the published generation."""
        now, tracker = time.monotonic(), self.tracker
        published, chunks = tracker.published_generation, tracker.chunk_count
        return distribution_of(published, chunks, size, tracker.nodes(now), tracker.former_nodes(), now)

    def status(self, distribution: Distribution) -> dict[str, Any]:
        """The part of the master's status about nodes, and about clients of extensions. It is not longer with 100,000
        nodes than with 1,000: of those that serve, the ones that need a look most."""
        now = time.monotonic()
        present = [node for node in distribution.nodes if node.left is None]
        if len(present) > _CHILDREN_SHOWN:
            present = nsmallest(_CHILDREN_SHOWN, present, key=lambda node: _urgency(node, distribution))
        status: dict[str, Any] = {
            "offered": self.tracker.granted_count,
            "totals": self.tracker.totals.as_json(),
            "distribution": summarise(distribution).as_json(),
            "children": [_child(node) for node in present],
            "ended": [{**fields, "seconds_ago": round(now - at, 1)} for at, fields in self._ended],
        }
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
                case NodeLeft(address, last, whole):
                    self._node_left(address, last, whole=whole)
                case NodeEnded(address, registration):
                    self._node_ended(address, registration)
                case NodeLags(address, registration, held, chunks, lag):
                    who, why = _who(address, registration), lag_text(lag)
                    text = "%s: lags behind, with %d of %d chunks: %s"
                    extra = _about("lags", address, registration)
                    self._lag_lines.log(WARNING, address, text, who, held, chunks, why, cause=why, extra=extra)
                case NodeComplete(connection, address, port, seconds):
                    LOGGER.debug("%s port %d: complete, %.1f s after it registered", address, port, seconds)
                    for extension in self.extensions if self._nodes_are_open else ():
                        extension.node(connection, address, port, whole=True)
                case NodeIncomplete(connection):
                    for extension in self.extensions:
                        extension.node(connection, "", 0, whole=False)

    # How nodes end.

    def _node_ended(self, address: str, registration: Registration) -> None:
        """The run of a node has ended. It may go on to serve."""
        who, extra = _who(address, registration), _about(registration.ended, address, registration)
        seconds, fetched = registration.milliseconds / 1000, size(registration.fetched)
        if registration.ended == FAILED:
            text, why = "%s: failed after %.1f s: %s", registration.why
            self._end_lines.log(WARNING, address, text, who, seconds, why, cause=why, extra=extra)
        else:
            text = "%s: %s, after %.1f s, %s fetched"
            self._end_lines.log(INFO, address, text, who, registration.ended, seconds, fetched, extra=extra)
        self._remember_end(address, registration, registration.ended)

    def _node_left(self, address: str, last: Registration, *, whole: bool) -> None:
        """A node that had registered is gone. If it did not say how its run ended, it may have died."""
        LOGGER.debug("%s port %d: unregistered", address, last.port)
        if not last.ended and not whole:
            text = "%s: the connection ended during the download (it last reported %d chunks)"
            who, extra = _who(address, last), _about("lost", address, last)
            self._end_lines.log(WARNING, address, text, who, last.held, cause="lost", extra=extra)
            self._remember_end(address, last, "lost")

    def _remember_end(self, address: str, last: Registration, ended: str) -> None:
        fields = {
            "address": address,
            "port": last.port,
            "state": ended,
            "held": last.held,
            "seconds": last.milliseconds / 1000,
            "fetched": last.fetched,
            "why": last.why,
        }
        self._ended.add(host_of(address), (time.monotonic(), fields))


def _who(address: str, registration: Registration) -> str:
    """A node and its generation, in the log."""
    where = f"{address} port {registration.port}"
    where = f"{registration.name} ({where})" if registration.name else where
    return f"{where}, generation {registration.generation.hex()[:16]}" if registration.generation else where


def _about(event: str, address: str, registration: Registration) -> Mapping[str, Any]:
    node, port, generation = registration.name, registration.port, registration.generation.hex()
    return about(event=event, node=node, address=address, port=port, generation=generation)


_SHOWN_IF_GIVEN = ("name", "why", "changed", "lagging")


def _child(node: NodeStatus) -> dict[str, Any]:
    """What the status says of a node that serves."""
    always = ("address", "port", "state", "held", "generation", "seconds", "follows")
    given = [name for name in _SHOWN_IF_GIVEN if getattr(node, name) not in ("", None)]
    return {name: getattr(node, name) for name in (*always, *given)}


def _urgency(node: NodeStatus, distribution: Distribution) -> tuple[bool, bool, float]:
    """Less is more urgent."""
    return node.state != FAILED, not node.lagging, distribution.share(node)
