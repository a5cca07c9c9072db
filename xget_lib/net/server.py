"""A 9P server: the connections of one process, and a session for each.

A worker of a master adopts connections that the master accepted; a child accepts its own. What clients see is a table
of namespaces: the server knows none of them.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from weakref import WeakValueDictionary

import gevent

from xget_lib.net.accept import PER_PEER, Admission, connections
from xget_lib.net.connection import Connection
from xget_lib.net.listen import prepare
from xget_lib.net.send_turns import SendTurns
from xget_lib.net.sending_hosts import SendingHosts
from xget_lib.net.tracing import tracer
from xget_lib.net.turns import Turn
from xget_lib.ninep.budget import Account, Budget
from xget_lib.ninep.file import File
from xget_lib.ninep.limits import (
    MEMORY,
    MEMORY_OF_HOST,
    SLOTS_OF_HOST,
    SLOTS_OF_PROCESS,
    WAITING_OF_HOST,
    WAITING_OF_PROCESS,
    Limits,
)
from xget_lib.ninep.session import Session
from xget_lib.process import rlimit
from xget_lib.report.rate_limited_log import RateLimitedLog
from xget_lib.serve.attach import attach


@dataclass(eq=False)
class Client:
    """The client at the other end of a connection, as the namespaces know it. Owned by the server."""

    number: int
    """Unique among the connections of a server; in a worker, the master's number of the connection."""
    address: str
    port: int
    account: Account = field(default_factory=Account)
    """What it has of the budgets of this process."""
    connection: Connection | None = None
    """None until the session begins."""

    def __post_init__(self) -> None:
        self.account.end = self.end

    def end(self, why: str) -> None:
        """End the connection now."""
        self.account.close()
        if self.connection is not None:
            self.connection.end(why)

    def retry(self) -> None:
        """Answer the reads that wait on this connection, as far as there is an answer now."""
        if self.connection is not None:
            self.connection.retry()


Namespace = Callable[[Client], Callable[[], File]]
"""Called once for each connection. What it returns gives each Tattach its root, or raises NinepError."""


class Server:
    """Serves 9P on connections. Owned by a worker or a child, which has one."""

    def __init__(
        self, namespaces: Mapping[str, Namespace], log_level: int, sending: SendingHosts | None = None, process: int = 0
    ) -> None:
        """`namespaces` are keyed by the aname of Tattach. Why a connection ended is logged at `log_level`. `process` is
        the number of this process in `sending`, which it shares with others."""
        self.clients: dict[int, Client] = {}
        """By number: those that are connected."""
        self.sent = 0
        """Bytes of content."""
        self.last_sent = time.monotonic()
        self._namespaces = namespaces
        self._log_level = log_level
        self._limits = Limits(
            memory=Budget("memory", MEMORY, MEMORY_OF_HOST),
            waiting=Budget("waiting reads", WAITING_OF_PROCESS, WAITING_OF_HOST),
            open_files=Budget("open files", rlimit.part()),
            extents=Budget("files being sent", rlimit.part()),
        )
        self._turns: WeakValueDictionary[Hashable, Turn] = WeakValueDictionary()
        """By host, while it is connected."""
        self._send_turns: WeakValueDictionary[Hashable, SendTurns] = WeakValueDictionary()
        self._new_send_turns = partial(SendTurns, hosts=sending or SendingHosts(), process=process)
        self.slots = Budget("slots", SLOTS_OF_PROCESS, SLOTS_OF_HOST)
        """Those that clients have requested."""
        self._ends = RateLimitedLog()
        self._accepting: gevent.Greenlet[..., None] | None = None

    def accept(self, listening: socket.socket) -> None:
        """Serve all clients that connect to a socket, in the background, until `stop_accepting`."""
        self._accepting = gevent.spawn(self._accept, listening)

    def stop_accepting(self) -> None:
        """Accept no more connections; those that are there go on. After this the listening socket can be closed."""
        if self._accepting is not None:
            self._accepting.kill()

    def serve(self, client: Client, sock: socket.socket) -> None:
        """Run the session of a connection until it ends. The socket and the account of the client are closed then."""
        try:
            if not client.account.closed:  # else it was ended before this
                self._serve(client, sock)
        finally:
            client.account.close()
            sock.close()

    def _serve(self, client: Client, sock: socket.socket) -> None:
        prepare(sock)
        roots = {name: connect(client) for name, connect in self._namespaces.items()}
        session = Session(attach(roots), limits=self._limits, account=client.account)
        session.trace = tracer(f"{client.address}:{client.port}")
        host = client.account.host
        turn = self._turns.setdefault(host, Turn())
        send_turns = self._send_turns.setdefault(host, self._new_send_turns(host))
        client.connection = Connection(sock, session, self._count, turn, send_turns)
        self.clients[client.number] = client
        try:
            reason = client.connection.run()
            if reason is not None:
                where = client.address, client.port
                self._ends.log(self._log_level, client.address, "%s:%d: connection closed: %s", *where, reason)
        finally:
            del self.clients[client.number]
            client.connection = None  # its files know the client: the memory of such a cycle is freed late

    def retry(self) -> None:
        """Answer the reads that wait on all connections, as far as there is an answer now."""
        for client in list(self.clients.values()):
            client.retry()

    def _accept(self, listening: socket.socket) -> None:
        numbers = count(1)
        for accepted in connections(listening, Admission(rlimit.part(), PER_PEER)):
            client = Client(next(numbers), accepted.address, accepted.port, accepted.account)
            gevent.spawn(self.serve, client, accepted.sock)

    def _count(self, sent: int) -> None:
        self.sent += sent
        self.last_sent = time.monotonic()
