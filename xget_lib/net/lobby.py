"""Connections that have not been let in yet, by a server with a secret or TLS. Each costs next to nothing.

A connection in here has no greenlet, no thread and no file of a tree: only a socket that is watched, and a session from
its first byte on, which answers nothing but the handshake (`ninep.auth`). It may send a few bytes, for a few seconds.
Where there is TLS, its handshake comes before that. Who begins without it gets what is open to strangers.
One greenlet serves all of them, as bytes arrive. When a client attaches to a tree, and may, its connection leaves.
Until then no message to others, no line of the log and no place of those who belong is spent on it.
"""

from __future__ import annotations

import socket
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import gevent
from gevent import get_hub
from gevent.event import Event

from xget_lib.errors import ProtocolViolation
from xget_lib.net.blocking import READ
from xget_lib.net.transport import HELLO, Transport, refuse_tls
from xget_lib.net.turns import Turn
from xget_lib.ninep.auth import Credentials
from xget_lib.ninep.budget import Budget
from xget_lib.ninep.limits import MAX_REQUEST
from xget_lib.ninep.session import Session
from xget_lib.ninep.trace import SENT, frame_line

if TYPE_CHECKING:
    from xget_lib.net.server import Client
    from xget_lib.net.tls import TlsTransport

Admit = Callable[["Client", Transport, Session | None], None]

PROVE_WITHIN = 10.0
"""Seconds from the connection until the client must have attached: two round trips, and a busy server between them."""
RECEIVED_LIMIT = 2048
"""Bytes that a client may send until then. Ours send some 400, with MUNGE 600."""
HANDSHAKES = 1024
"""Connections that began TLS and are in here, at most: OpenSSL takes up to 50 KB for each of them. A further one gets
the place of the oldest one of the host that has most."""
_LONGEST = 512
"""Bytes of one request until then."""


class _Visitor:
    """One connection in the lobby."""

    __slots__ = (
        "_lobby",
        "checking",
        "client",
        "deadline",
        "received",
        "session",
        "shaking",
        "transport",
        "watched",
        "watcher",
    )

    def __init__(self, lobby: Lobby, client: Client, sock: socket.socket) -> None:
        self._lobby = lobby
        self.client = client
        self.transport = Transport(sock)
        self.shaking: TlsTransport | None = None
        """The transport, while its handshake is not over."""
        self.session: Session | None = None
        self.received = 0
        self.deadline = time.monotonic() + PROVE_WITHIN
        """In monotonic seconds."""
        self.checking = False
        """Whether it is told whether its proof is right before more is read."""
        self.watcher = get_hub().loop.io(sock.fileno(), READ)
        self.watched = READ

    def watch(self, direction: int) -> None:
        """Call the lobby when something can be read, or written."""
        if self.watched != direction:
            self.watched = direction
            self.watcher.close()
            self.watcher = get_hub().loop.io(self.transport.sock.fileno(), direction)
        self.watcher.start(self._lobby.hear_soon, self)

    @property
    def round_trip(self) -> float:
        """As of its transport."""
        return self.transport.round_trip

    def end(self, why: str) -> None:
        """See `net.server.Client.end`."""
        self._lobby.end(self, why)

    def retry(self) -> None:
        """What it has proved is known now."""
        self._lobby.hear_soon(self)


class Lobby:
    """Owned by a server. `admit(client, transport, session)` takes over a connection, with requests that are not
    answered yet. `refuse(client, why)` is called when one has ended in here; its socket is closed then."""

    def __init__(
        self,
        session: Callable[[Client], Session],
        admit: Admit,
        refuse: Callable[[Client, str], None],
        credentials: Credentials,
        shaken: Callable[[TlsTransport], None],
    ) -> None:
        """`shaken(transport)` is called when the TLS handshake of a connection is over."""
        self._make_session = session
        self._admit = admit
        self._refuse = refuse
        self._credentials = credentials
        self._shaken = shaken
        self._handshakes = Budget("TLS handshakes", HANDSHAKES, oldest_gives_way=True)
        self._visitors: OrderedDict[int, _Visitor] = OrderedDict()
        """By number of the client, the oldest first."""
        self._ready: deque[_Visitor] = deque()
        """Those of which something can be read."""
        self._wake = Event()
        self._turn = Turn()
        self._buffer = memoryview(bytearray(RECEIVED_LIMIT))
        self._serving: gevent.Greenlet[..., None] | None = None

    def __len__(self) -> int:
        return len(self._visitors)

    def enter(self, client: Client, sock: socket.socket) -> None:
        """A client has connected."""
        visitor = _Visitor(self, client, sock)
        client.connection = visitor
        self._visitors[client.number] = visitor
        visitor.watch(READ)
        if not self._serving:
            self._serving = gevent.spawn(self._serve)

    def end(self, visitor: _Visitor, why: str) -> None:
        """End a connection, if it is still here."""
        if self._remove(visitor):
            if visitor.session is not None:
                visitor.session.close()
            visitor.transport.close()
            self._refuse(visitor.client, why)

    def hear_soon(self, visitor: _Visitor) -> None:
        """Something can be read from this connection, or its proof is checked now."""
        visitor.watcher.stop()
        self._ready.append(visitor)
        self._wake.set()

    def _remove(self, visitor: _Visitor) -> bool:
        """Returns whether it was here."""
        if self._visitors.get(visitor.client.number) is not visitor:
            return False
        del self._visitors[visitor.client.number]
        visitor.watcher.stop()
        visitor.watcher.close()
        visitor.client.connection = None
        self._handshakes.forget(visitor.client.account)
        return True

    def _serve(self) -> None:
        """While somebody is here."""
        while self._visitors:
            oldest = next(iter(self._visitors.values()))
            if not self._ready:
                self._wake.wait(max(0.0, oldest.deadline - time.monotonic()))
            self._wake.clear()
            for _ in range(len(self._ready)):  # who has spoken is heard before he is late
                begun = time.perf_counter()
                self._hear(self._ready.popleft())
                if self._turn.spent_since(begun):
                    self._turn.wait()
            self._end_late()

    def _end_late(self) -> None:
        now = time.monotonic()
        while self._visitors and (oldest := next(iter(self._visitors.values()))).deadline <= now:
            self.end(oldest, f"it proved nothing within {PROVE_WITHIN:.0f} s")

    def _hear(self, visitor: _Visitor) -> None:
        """Read what a client has sent, and answer it."""
        if self._visitors.get(visitor.client.number) is not visitor:
            return  # it was ended meanwhile
        try:
            if visitor.checking:
                visitor.checking = False
                assert visitor.session is not None
                self._converse(visitor, visitor.session)
                return
            if visitor.received == RECEIVED_LIMIT:
                raise OSError("it sent too much before it proved anything")
            try:
                if not self._shake_hands(visitor):
                    return
                count = self._receive(visitor)
            except BlockingIOError:
                if visitor.transport.is_flooded:
                    raise OSError("it sent too much before it proved anything") from None
                visitor.watch(READ)
                return
            if visitor.session is None:
                visitor.session = self._make_session(visitor.client)
                visitor.session.limit_requests(_LONGEST)
            try:
                visitor.session.receive(self._buffer[:count])
            except ProtocolViolation:
                refuse_tls(visitor.transport, self._buffer[:count])
                raise
            self._converse(visitor, visitor.session)
        except (ProtocolViolation, OSError) as error:
            self.end(visitor, getattr(error, "verify_message", None) or getattr(error, "strerror", None) or str(error))

    def _shake_hands(self, visitor: _Visitor) -> bool:
        """Go on with the TLS handshake, if there is one. Returns whether the connection speaks 9P now. Raises OSError,
        also where nothing has arrived."""
        tls = self._credentials.tls
        if visitor.session is None and visitor.shaking is None and tls is not None and not visitor.client.binding:
            if visitor.transport.sock.recv(1, socket.MSG_PEEK) not in (HELLO[:1], b""):
                return True  # it gets the session of a client without TLS
            if not self._handshakes.take(visitor.client.account):
                raise OSError("there are too many TLS handshakes")
            from xget_lib.net.tls import TlsTransport

            visitor.transport = visitor.shaking = TlsTransport(tls.accepted(visitor.transport.sock))
            visitor.transport.binding = tls.binding  # there may be other certificates before the handshake is over
        if visitor.shaking is None:
            return True
        direction = visitor.shaking.handshake()
        if direction is not None:
            visitor.watch(direction)
            return False
        visitor.client.binding = visitor.shaking.binding
        self._shaken(visitor.shaking)
        visitor.shaking = None
        if self._credentials.required:
            return True
        self._remove(visitor)
        self._admit(visitor.client, visitor.transport, None)
        return False

    def _receive(self, visitor: _Visitor) -> int:
        """How many bytes are in the buffer now. Raises OSError."""
        count = visitor.transport.recv_into(self._buffer[: RECEIVED_LIMIT - visitor.received])
        if not count:
            raise OSError("the client has closed the connection")
        visitor.received += count
        return count

    def _converse(self, visitor: _Visitor, session: Session) -> None:
        """Answer what can be answered now. Raises ProtocolViolation, and OSError also where the client does not read
        its replies."""
        replies = b""
        while not (gets_in := session.gets_in) and (reply := session.next_reply()) is not None:
            replies += reply.header  # no reply here has content
            if session.trace is not None:
                session.trace(frame_line(SENT, reply.header, session.dialect))
        if replies and visitor.transport.send(replies, 0) < len(replies):
            raise OSError("it does not read its replies")
        if gets_in:
            self._remove(visitor)
            session.limit_requests(MAX_REQUEST)
            self._admit(visitor.client, visitor.transport, session)
        elif session.is_checking:
            visitor.checking = True  # nothing more is read until `hear_soon`
        else:
            visitor.watch(READ)
