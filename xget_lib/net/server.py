"""A 9P server: the connections of one process, and a session for each.

A worker of a master adopts connections that the master accepted; a child accepts its own. What clients see is a table
of namespaces: the server knows none of them.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Hashable, Mapping
from functools import partial
from itertools import count
from logging import INFO
from typing import TYPE_CHECKING, Protocol
from weakref import WeakValueDictionary

import gevent
from gevent.lock import BoundedSemaphore

from xget_lib.dataclass import dataclass, field
from xget_lib.errors import NinepError
from xget_lib.net.accept import PER_PEER, Admission, connections
from xget_lib.net.connection import Connection
from xget_lib.net.listen import LOCAL
from xget_lib.net.lobby import Admit, Lobby
from xget_lib.net.send_turns import SendTurns
from xget_lib.net.sending_hosts import SendingHosts
from xget_lib.net.tracing import tracer
from xget_lib.net.transport import Transport
from xget_lib.net.turns import Turn
from xget_lib.ninep.auth import AUTHENTICATION_REQUIRED, NONCE_SIZE, TLS_REQUIRED, ServerHandshake
from xget_lib.ninep.budget import Account, Budget
from xget_lib.ninep.dialect import NINEP2000
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
from xget_lib.report.log import LOGGER
from xget_lib.report.rate_limited_log import RateLimitedLog
from xget_lib.serve.access import Access
from xget_lib.serve.attach import Attach, attach, tree_of
from xget_lib.swarm.seal import Seal

if TYPE_CHECKING:
    from xget_lib.net.tls import TlsTransport


class Ends(Protocol):
    """A connection, whether its client has been let in or not."""

    def end(self, why: str) -> None: ...

    def retry(self) -> None: ...

    @property
    def round_trip(self) -> float: ...


@dataclass(eq=False)
class Client:
    """The client at the other end of a connection, as the namespaces know it. Owned by the server."""

    number: int
    """Unique among the connections of a server; in a worker, the master's number of the connection."""
    address: str
    port: int
    account: Account = field(default_factory=Account)
    """What it has of the budgets of this process."""
    connection: Ends | None = None
    """None until the session begins."""
    handshake: ServerHandshake | None = None
    """The last that it has begun."""
    binding: bytes = b""
    """Of its connection (`ninep.auth`); empty without TLS."""
    proof: ServerHandshake | None = None
    """What it attached with last; None if it did not prove that it has the secret."""
    seal: Seal | None = None
    """What seals the news for this client, since its `proof`."""

    def __post_init__(self) -> None:
        self.account.end = self.end

    def end(self, why: str) -> None:
        """End the connection now."""
        self.account.close()
        if self.connection is not None:
            self.connection.end(why)

    def sealed(self, line: bytes) -> bytes:
        """A line of news as it is sent to this client."""
        return line if self.seal is None else self.seal.put_on(line)

    @property
    def round_trip(self) -> float:
        """Seconds that a packet to the client and its acknowledgement take at least; 0 if that is not known."""
        return self.connection.round_trip if self.connection is not None else 0.0

    def retry(self) -> None:
        """Answer the reads that wait on this connection, as far as there is an answer now."""
        if self.connection is not None:
            self.connection.retry()


IN_KERNEL, IN_PROCESS = "the kernel", "user space"

Namespace = Callable[[Client], Callable[[], File]]
"""Called once for each connection. What it returns gives each Tattach its root, or raises NinepError."""


class Server:
    """Serves 9P on connections. Owned by a worker or a child, which has one."""

    def __init__(
        self,
        namespaces: Mapping[str, Namespace],
        log_level: int,
        access: Access | None = None,
        sending: SendingHosts | None = None,
        process: int = 0,
    ) -> None:
        """`namespaces` are keyed by the aname of Tattach. Why a connection ended is logged at `log_level`. Without
        `access`, everybody is let in. `process` is the number of this process in `sending`, which it shares with
        others."""
        self.clients: dict[int, Client] = {}
        """By number: those that are connected."""
        self.sent = 0
        """Bytes of content."""
        self.last_sent = time.monotonic()
        self.encrypts = ""
        """Where the content of TLS connections is encrypted; empty before the first."""
        self._namespaces = namespaces
        self._log_level = log_level
        self._access = access or Access()
        self._limits = Limits(
            memory=Budget("memory", MEMORY, MEMORY_OF_HOST),
            waiting=Budget("waiting reads", WAITING_OF_PROCESS, WAITING_OF_HOST),
            open_files=Budget("open files", rlimit.part()),
            extents=Budget("files being sent", rlimit.part()),
        )
        self._turns: WeakValueDictionary[Hashable, Turn] = WeakValueDictionary()
        """By host, while it is connected."""
        self._send_turns: WeakValueDictionary[Hashable, SendTurns] = WeakValueDictionary()
        self._new_send_turns = partial(
            SendTurns, hosts=sending or SendingHosts(), process=process, rate_queue=BoundedSemaphore(1)
        )
        self.slots = Budget("slots", SLOTS_OF_PROCESS, SLOTS_OF_HOST)
        """Those that clients have requested."""
        self._ends, self._refusals, self._wrong_proofs = RateLimitedLog(), RateLimitedLog(1), RateLimitedLog(1)
        self._accepting: list[gevent.Greenlet[..., None]] = []
        self._admissions: list[Admission] = []
        self._numbers = count(1)
        """Of the clients that this server accepts itself."""

    def accept(self, listening: socket.socket) -> None:
        """Serve all clients that connect to a socket, in the background, until `stop_accepting`. Who reaches a Unix
        socket is let in: its mode says who does."""
        self._accepting.append(gevent.spawn(self._accept, listening))

    @property
    def refused(self) -> int:
        """Connections that were closed as soon as they were accepted."""
        return sum(admission.refused for admission in self._admissions)

    def stop_accepting(self) -> None:
        """Accept no more connections; those that are there go on. After this the listening sockets can be closed."""
        gevent.killall(self._accepting)

    def lobby(self, admit: Admit, refused: Callable[[Client], None]) -> Lobby | None:
        """Where connections wait until they may be served: see `Lobby`. None if everybody is let in."""

        def refuse(client: Client, why: str) -> None:
            log = self._refusals
            if client.handshake is not None and client.handshake.refused:
                why, log = client.handshake.refused, self._wrong_proofs  # nothing else may hide it
            log.log(INFO, client.address, "%s: not let in: %s", client.address, why)
            refused(client)

        credentials = self._access.credentials
        return Lobby(self.session, admit, refuse, credentials, self._shaken) if credentials.guard else None

    def session(self, client: Client) -> Session:
        """A new one."""
        gate = _Gate(self._access, self._namespaces, client) if self._must_prove(client) else None
        trees = _Trees(self._namespaces, client)
        session = Session(trees.attach, limits=self._limits, account=client.account, gate=gate)
        session.trace = tracer(f"{client.address}:{client.port}")
        return session

    def _must_prove(self, client: Client) -> bool:
        """Whether a client gets nothing without a proof."""
        credentials = self._access.credentials
        return client.address != LOCAL and (
            credentials.required or (credentials.tls is not None and not client.binding)
        )

    def _shaken(self, transport: TlsTransport) -> None:
        """A TLS handshake is over."""
        if not self.encrypts:
            self.encrypts = IN_KERNEL if transport.in_kernel else IN_PROCESS
            LOGGER.info("TLS: content is encrypted in %s", self.encrypts)

    def serve(self, client: Client, transport: Transport, session: Session | None = None) -> None:
        """Run the session of a connection until it ends. Transport and account of the client are closed then."""
        try:
            if not client.account.closed:  # else it was ended before this
                self._serve(client, transport, session or self.session(client))
        finally:
            client.account.close()
            transport.close()

    def _serve(self, client: Client, transport: Transport, session: Session) -> None:
        host = client.account.host
        turn = self._turns.setdefault(host, Turn())
        send_turns = self._send_turns.setdefault(host, self._new_send_turns(host))
        client.connection = connection = Connection(transport, session, self._count, turn, send_turns)
        self.clients[client.number] = client
        try:
            reason = connection.run()
            if reason is not None:
                where = client.address, client.port
                self._ends.log(self._log_level, client.address, "%s:%d: connection closed: %s", *where, reason)
        finally:
            del self.clients[client.number]
            client.connection = None  # its files know the client: the memory of such a cycle is freed late

    def secret_changed(self) -> None:
        """End the connections of clients whose key is none any more. They come again with another one if they have it;
        else the key was stolen."""
        for client in list(self.clients.values()):
            if client.proof is not None and not client.proof.is_valid:
                client.end("its key was removed from the secret")

    def retry(self) -> None:
        """Answer the reads that wait on all connections, as far as there is an answer now."""
        for client in list(self.clients.values()):
            client.retry()

    def _accept(self, listening: socket.socket) -> None:
        guarded = self._access.credentials.guard and listening.family != socket.AF_UNIX
        allow = self._access.allow if listening.family != socket.AF_UNIX else ()
        admission = Admission(rlimit.part(), PER_PEER, proved_first=guarded, allow=allow)
        self._admissions.append(admission)

        def admit(client: Client, transport: Transport, session: Session | None) -> None:
            if not admission.proved(client.account):
                client.account.close()  # `serve` ends it
            gevent.spawn(self.serve, client, transport, session)

        lobby = self.lobby(admit, lambda client: client.account.close()) if guarded else None
        for accepted in connections(listening, admission):
            client = Client(next(self._numbers), accepted.address, accepted.port, accepted.account)
            if lobby is not None:
                lobby.enter(client, accepted.sock)
            else:
                gevent.spawn(self.serve, client, Transport(accepted.sock))

    def _count(self, sent: int) -> None:
        self.sent += sent
        self.last_sent = time.monotonic()


class _Trees:
    """The namespaces for one connection. They hear of its client when it attaches for the first time."""

    __slots__ = ("_attach", "_client", "_known")

    def __init__(self, known: Mapping[str, Namespace], client: Client) -> None:
        self._known = known
        self._client = client
        self._attach: Attach | None = None

    def attach(self, dialect: str, uname: str, aname: str) -> File:
        if self._attach is None:
            self._attach = attach({name: connect(self._client) for name, connect in self._known.items()})
        return self._attach(dialect, uname, aname)


@dataclass(frozen=True, slots=True)
class _Gate:
    """`ninep.auth.Gate` of one connection."""

    access: Access
    known: Mapping[str, Namespace]
    client: Client

    @property
    def refusal(self) -> tuple[int, str]:
        return TLS_REQUIRED if self._is_plain else AUTHENTICATION_REQUIRED

    @property
    def _is_plain(self) -> bool:
        return self.access.credentials.tls is not None and not self.client.binding

    def begin(self, uname: str, aname: str) -> ServerHandshake:
        # A member may have no TLS yet, while that is introduced. Only our clients prove something, in this dialect.
        may_prove = self.access.credentials.required and self.is_open(NINEP2000, aname)
        if self._is_plain and not may_prove:
            raise NinepError(*TLS_REQUIRED)
        nonce, binding = os.urandom(NONCE_SIZE), self.client.binding
        self.client.handshake = ServerHandshake(
            self.access.credentials, nonce, uname, aname, binding, self.client.retry
        )
        return self.client.handshake

    def is_open(self, dialect: str, aname: str) -> bool:
        return self.access.is_open(self.client.address, tree_of(dialect, aname, self.known))

    def admitted(self, proof: ServerHandshake | None) -> None:
        # With a second Tattach the numbers of the seal go on: an earlier line must never be good again.
        if proof is not None and proof is not self.client.proof:
            assert proof.session_key is not None
            self.client.proof, self.client.seal = proof, Seal(proof.session_key)
