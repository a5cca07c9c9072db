"""Links: how long a transfer takes when many connections share the links at both ends.

Each machine has a link with a rate for each direction, into a network that is never the bottleneck. A sender's link
serves its connections in turn and sends one block of each; a receiver's link takes blocks in the order in which they
arrive. A connection has at most `WINDOW` blocks that wait for the receiver's link: at a busy receiver it stops, and the
sender's link serves the other connections. Blocks that are only far away do not count, since TCP widens its window to
what the distance needs. So links are shared as by TCP under fair queueing: no link is idle while a connection
could use both its ends, and connections that share a link get equal parts of it. A block is a part of a chunk, not a
packet: that makes ten thousand nodes possible, and results change little when blocks are halved (`--blocks`).

A block passes through both links at once, so a chunk on two idle links takes its size / rate. Small messages do not
queue behind blocks: real networks, and the benchmark, give them a class of their own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from test.sim.clock import Clock

WINDOW = 2
"""Blocks of one connection that wait for the receiver's link."""


class Port:
    """One machine's link. Rates in bytes a second."""

    __slots__ = ("alive", "busy", "down", "down_free", "ready", "sent", "up")

    def __init__(self, up: float, down: float) -> None:
        self.up = up
        self.down = down
        self.sent = 0
        self.alive = True
        self.busy = False
        self.down_free = 0.0
        """When everything that is on its way to this machine will have arrived."""
        self.ready: deque[Connection] = deque()
        """Connections that have a block to send."""


class Request:
    """Bytes requested over a connection. `arrived` is called when all have arrived, unless it was cancelled."""

    __slots__ = ("arrived", "begun", "cancelled", "chunk", "left")

    def __init__(self, chunk: int, size: int, arrived: Callable[[Request], None]) -> None:
        self.chunk = chunk
        self.left = size
        self.arrived = arrived
        self.begun = False
        self.cancelled = False


class Connection:
    """From one sender to one receiver: requests are served one after the other."""

    __slots__ = ("arrivals", "queue", "receiver", "sender", "waiting")

    def __init__(self, sender: Port, receiver: Port) -> None:
        self.sender = sender
        self.receiver = receiver
        self.queue: deque[Request] = deque()
        self.arrivals: deque[float] = deque()
        """When the last blocks have passed the receiver's link, if they had no way to go before."""
        self.waiting = False
        """Whether it is in the sender's `ready`, or will come back there when its window opens."""


class Network:
    """Moves blocks between ports."""

    def __init__(self, clock: Clock, latency: float, block: int) -> None:
        """`latency` is seconds one way; `block` is bytes."""
        self._clock = clock
        self._block = block
        self.latency = latency

    def send(self, connection: Connection, request: Request) -> None:
        """The request reaches the sender now."""
        if not request.cancelled and connection.sender.alive and connection.receiver.alive:
            connection.queue.append(request)
            self._wake(connection)

    def cancel(self, connection: Connection, request: Request) -> None:
        """Cancel a request. A block that is being sent is still sent, and wasted."""
        request.cancelled = True
        if not request.begun and request in connection.queue:
            connection.queue.remove(request)

    def _wake(self, connection: Connection) -> None:
        if not connection.waiting:
            connection.waiting = True
            self._open(connection)

    def _open(self, connection: Connection) -> None:
        port = connection.sender
        port.ready.append(connection)
        if not port.busy:
            self._next(port)

    def _next(self, port: Port) -> None:
        """The sender's link is free: send a block of the next connection whose window is open."""
        clock, ready = self._clock, port.ready
        now = clock.now
        port.busy = False
        while ready and port.alive:
            connection = ready.popleft()
            if not connection.queue or not connection.receiver.alive:
                connection.waiting = False
                continue
            arrivals = connection.arrivals
            while arrivals and arrivals[0] <= now:
                arrivals.popleft()
            if len(arrivals) >= WINDOW:
                clock.at(arrivals[0], self._open, connection)
                continue
            self._send_block(port, connection, now)
            return

    def _send_block(self, port: Port, connection: Connection, now: float) -> None:
        request = connection.queue[0]
        request.begun = True
        size = min(self._block, request.left)
        request.left -= size
        port.sent += size
        gone = now + size / port.up
        receiver = connection.receiver
        # A block from a slow sender leaves room for blocks from other senders.
        receiver.down_free = max(receiver.down_free, now) + size / receiver.down
        passed = max(gone, receiver.down_free)
        connection.arrivals.append(passed)
        if not request.left:
            connection.queue.popleft()
            self._clock.at(passed + self.latency, self._arrive, connection, request)
        if connection.queue:
            port.ready.append(connection)
        else:
            connection.waiting = False
        port.busy = True
        self._clock.at(gone, self._next, port)

    def _arrive(self, connection: Connection, request: Request) -> None:
        if not request.cancelled and connection.sender.alive and connection.receiver.alive:
            request.arrived(request)
