"""The sending half of a connection: the replies of a session go into its transport.

Small replies are gathered into one send. Content that is in files is sent from the page cache (sendfile); Python sees
only its length, if nothing has to be encrypted.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Callable, Iterator
from time import monotonic, perf_counter

import gevent

from xget_lib.errors import XGetError
from xget_lib.net.blocking import WRITE
from xget_lib.net.send_turns import Flow, SendTurns
from xget_lib.net.transport import Transport
from xget_lib.net.turns import Turn
from xget_lib.ninep.file import OpenExtent
from xget_lib.ninep.session import Reply, Session
from xget_lib.ninep.trace import SENT, frame_line
from xget_lib.serve.store import close_extents

_BATCH = 64 * 1024
"""Bytes that are gathered at most before they are sent."""
_YIELD_AFTER = 256 * 1024
"""Bytes sent after which other connections run: a peer that reads fast must not keep them waiting."""
_REPLY_COST = 2 * 1024
"""Bytes that could be sent in the time that it takes to make one reply, whatever is in it."""
_SEND_TIMEOUT = 60.0
"""Seconds in which a peer must make room for more bytes, or this machine for a packet."""
_NO_MEMORY = (errno.ENOMEM, errno.ENOBUFS)
_PAUSE = 0.1
"""Seconds to wait before the next try when this machine has no room for a packet."""

Part = bytes | OpenExtent


class Outgoing:
    """Sends the replies of one session. Owned by its Connection. Errors of the socket are raised as OSError."""

    def __init__(
        self,
        transport: Transport,
        session: Session,
        sent: Callable[[int], None],
        turn: Turn,
        send_turns: SendTurns,
    ) -> None:
        """`sent(bytes)` is called as content goes out. `turn` and `send_turns` are those of the peer's host."""
        self._transport = transport
        self._session = session
        self._sent = sent
        self._turn = turn
        self._send_turns = send_turns
        self._flow = Flow(transport.sock)
        self._closed = False
        self._unsent: bytes | memoryview = b""
        self._parts: list[Part] = []
        """Content to send after `_unsent`."""
        self._counted = 0
        """Bytes of replies that wait for the peer to make room."""
        self._no_memory_since: float | None = None
        """When this machine began to have no room for a packet, in monotonic seconds."""
        self._since_yield = 0
        """Bytes, or their cost in time, since other connections could run."""

    def send_without_waiting(self) -> bool:
        """Send a batch of replies as far as the socket takes them. Returns whether these were all there are.

        If not, send_all() must be called before this is called again.
        """
        whole = self._gather()
        if self._unsent:
            with contextlib.suppress(BlockingIOError):
                sent = self._transport.send(self._unsent, self._flags())
                self._unsent = memoryview(self._unsent)[sent:] if sent < len(self._unsent) else b""
        return whole and not self._unsent and self._since_yield < _YIELD_AFTER and not self._turn.over

    def send_all(self) -> None:
        """Send all replies, waiting for the peer to make room. Raises TimeoutError if it makes none in time."""
        whole = False
        while not whole:
            if not self._unsent and not self._parts:
                whole = self._gather()
            self._send(self._unsent, self._flags())
            self._unsent = b""
            self._send_parts()
            if self._counted:
                self._session.limits.memory.give_back(self._session.account, self._counted)
                self._counted = 0
            if self._since_yield >= _YIELD_AFTER or self._turn.over:
                self._since_yield = 0
                self._turn.wait()

    def close(self) -> None:
        """Nothing more will be sent. May be called while another greenlet is sending: it gets an OSError then."""
        self._closed = True
        self._close_parts()

    # Out of the session.

    def _gather(self) -> bool:
        """Take replies until they fill a batch, or until content must be sent after them. Returns whether there are no
        more replies now."""
        batch: list[bytes] = []
        size = 0
        whole = over = False
        while size < _BATCH and not self._parts and not over:
            begun = perf_counter()
            reply = self._session.next_reply()
            if reply is None:
                whole = True
                break
            header = reply.header
            source = reply.content.source if reply.content is not None else b""
            if not isinstance(source, bytes):
                header, source = self._open(reply, source), b""
            batch.append(header)
            if self._session.trace is not None:
                self._session.trace(frame_line(SENT, header, self._session.dialect))
            if source:
                batch.append(source)
                size += len(source)
                self._sent(len(source))
                self._send_turns.sent(len(source))
            size += _REPLY_COST
            over = self._turn.spent_since(begun)
        self._since_yield += size
        self._unsent = b"".join(batch)
        return whole

    def _open(self, reply: Reply, source: Callable[[], list[Part]]) -> bytes:
        """Open the content, to be sent next. Returns the header to send before it, or the error reply if it cannot be
        opened."""
        try:
            parts = source()
            extents = sum(isinstance(part, OpenExtent) for part in parts)
            if extents and not self._session.limits.extents.take(self._session.account, extents):
                close_extents(parts)
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        except (XGetError, OSError) as error:
            return self._session.refusal(reply.tag, error).header
        self._parts = parts
        return reply.header

    def _close_parts(self) -> None:
        """Close the open files of content, and give back what they took of the shared limit."""
        parts, self._parts = self._parts, []
        close_extents(parts)
        extents = sum(isinstance(part, OpenExtent) for part in parts)
        self._session.limits.extents.give_back(self._session.account, extents)

    # Into the socket.

    def _flags(self) -> int:
        return socket.MSG_MORE if self._parts else 0

    def _send(self, data: bytes | memoryview, flags: int = 0) -> None:
        while data:
            try:
                sent = self._transport.send(data, flags)
            except OSError as error:
                self._wait_for_room(error)
            else:
                data = memoryview(data)[sent:]
                self._no_memory_since = None

    def _wait_for_room(self, error: OSError) -> None:
        """The socket did not take more: return when it may. Raises OSError if that will not help, if there is no room
        in time, and after close()."""
        if not isinstance(error, BlockingIOError):
            if error.errno not in _NO_MEMORY:
                raise error
            now = monotonic()
            self._no_memory_since = self._no_memory_since or now
            if now - self._no_memory_since > _SEND_TIMEOUT:
                raise error
            gevent.sleep(_PAUSE)
        else:
            self._count_unsent()
            self._transport.wait(WRITE, _SEND_TIMEOUT)
        if self._closed:
            raise ConnectionAbortedError("closed")

    def _count_unsent(self) -> None:
        """Count the memory of replies while they wait. Raises OSError if this host may not have so much."""
        if not self._counted:
            kept = len(self._unsent) + sum(len(part) for part in self._parts if isinstance(part, bytes))
            if not self._session.limits.memory.take(self._session.account, kept):
                raise OSError("the replies that wait for this host take too much memory")
            self._counted = kept

    def _send_parts(self) -> None:
        if not self._parts:
            return
        try:
            with self._corked() if len(self._parts) > 1 else contextlib.nullcontext():
                for part in self._parts:
                    if isinstance(part, OpenExtent):
                        self._send_file(part)
                    else:
                        self._wait_for_turn()
                        self._send(part)
                        self._count(len(part))
        finally:
            self._flow.sending = False
            self._close_parts()

    @contextlib.contextmanager
    def _corked(self) -> Iterator[None]:
        """Send many small files in full packets."""
        if self._transport.sock.family == socket.AF_UNIX:
            yield  # it has none
            return
        self._transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        try:
            yield
        finally:
            self._transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)

    def _wait_for_turn(self) -> int:
        """Return when content may be sent, and how many bytes. Raises OSError after close(): the files of the content
        are closed then, and their numbers may mean others."""
        most = self._send_turns.wait(self._flow)
        if self._closed:
            raise ConnectionAbortedError("closed")
        return most

    def _send_file(self, extent: OpenExtent) -> None:
        offset, end = extent.offset, extent.offset + extent.length
        while offset < end:
            most = self._wait_for_turn()
            try:
                count = self._transport.send_file(extent.fd, offset, min(end - offset, most))
            except OSError as error:
                self._wait_for_room(error)
                continue
            if not count:
                # The header that was sent announced more bytes than there are: the connection cannot go on.
                raise ConnectionAbortedError("a file was truncated while it was sent")
            offset += count
            self._no_memory_since = None
            self._count(count)

    def _count(self, sent: int) -> None:
        self._since_yield += sent
        self._sent(sent)
        self._send_turns.sent(sent)
