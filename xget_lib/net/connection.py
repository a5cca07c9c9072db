"""A server's side of one connection: bytes from the socket to the session, its replies back (`outgoing`).

Two greenlets share the work. The reader passes bytes to the session as fast as they arrive, so that a Tflush is seen
while replies are still waiting to be sent. It also answers what can be answered without waiting, which saves two
switches for each request of a client that sends one at a time. Everything else is sent by the writer.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from time import perf_counter

import gevent
from gevent.event import Event
from gevent.lock import BoundedSemaphore

from xget_lib.errors import ProtocolViolation
from xget_lib.net.blocking import READ
from xget_lib.net.outgoing import Outgoing
from xget_lib.net.send_turns import SendTurns
from xget_lib.net.transport import Transport, refuse_tls
from xget_lib.net.turns import Turn
from xget_lib.ninep.session import Session

_READ_SIZE = 64 * 1024
_buffers: list[bytearray] = []
"""Buffers to receive into, which no connection uses now. Most of the time one is enough: a connection has one until all
requests in it are decoded. With a new one for each read, memory would be fragmented."""
_SPARE_BUFFERS = 8
_FID_TIMEOUT = 30.0
"""Seconds for which a peer may have no fid: a peer connects in order to attach, and without a fid it does not use the
connection. A peer with a fid may be silent without limit, as mounted file systems and readers of news are. This costs
little, and the kernel detects when the machine of the peer is gone."""
_MESSAGE_TIMEOUT = 60.0
"""Seconds in which a message must arrive whole, from its first byte: 17 KB/s for the largest."""


class Connection:
    """Serves one client until either side ends the connection. Owns the transport and the session."""

    def __init__(
        self,
        transport: Transport,
        session: Session,
        sent: Callable[[int], None],
        turn: Turn | None = None,
        send_turns: SendTurns | None = None,
    ) -> None:
        """`sent(bytes)` is called as content goes out. `turn` and `send_turns` are those of the peer's host."""
        self._transport = transport
        self._session = session
        self._turn = turn or Turn()
        self._outgoing = Outgoing(transport, session, sent, self._turn, send_turns or SendTurns())
        self._ready = Event()
        """Set when the writer has something to do."""
        self._writer_waits = False
        """Whether the writer waits for `_ready`."""
        self._answering = BoundedSemaphore(1)
        """Held while replies are made and sent: making one may send a message to another process, and so switch."""
        self._failure: Exception | None = None
        """What failed in the reader while it answered, for the writer to raise."""
        self._all_answered = Event()
        self._ending = False
        self._write_error: str | None = None
        self._writer_ended = False
        self._ended: str | None = None
        """Why `end` was called."""
        self._fid_deadline: float | None = None
        """While the peer has no fid: when it must have one, in monotonic seconds."""
        self._message: int | None = None
        """The number of the message that has arrived in part."""
        self._message_deadline = 0.0
        """When that message must be whole."""

    @property
    def round_trip(self) -> float:
        """As of its transport."""
        return self._transport.round_trip

    def run(self) -> str | None:
        """Serve to the end. Returns None if the peer closed the connection, otherwise why it was ended.

        Requests that arrived before the end, or before a protocol violation, are answered.
        """
        if self._session.is_asked:
            self._ready.set()  # while its client was let in
        writer = gevent.spawn(self._write)
        why: str | None = None
        try:
            try:
                self._read()
            except ProtocolViolation as error:
                why = str(error)
            self._ending = True
            self._ready.set()
            writer.join()
        except OSError as error:
            why = str(error)
        finally:
            writer.kill()
            self._outgoing.close()
            self._session.close()
            self._transport.close()
        return self._ended or self._write_error or why

    def end(self, why: str) -> None:
        """End the connection now. All that it has open is closed when this returns, and `run` returns soon."""
        self._ended = why
        self._outgoing.close()
        self._session.close()
        with contextlib.suppress(OSError):  # the peer may have ended it
            self._transport.shutdown()

    def retry(self) -> None:
        """Ask every waiting read again: what it waits for may have changed."""
        if self._session.retry():
            self._ready.set()

    def _read(self) -> None:
        """Pass bytes to the session until the peer has sent everything. Raises ProtocolViolation, OSError."""
        while self._ended is None:
            if self._turn.over:
                self._turn.wait()
            buffer = _buffers.pop() if _buffers else bytearray(_READ_SIZE)
            try:
                count = self._transport.recv_into(buffer)
            except BlockingIOError:
                _keep(buffer)
                self._wait_for_more()
                continue
            if not count:
                _keep(buffer)
                return
            begun = perf_counter()
            try:
                self._session.receive(memoryview(buffer)[:count])
            except ProtocolViolation:
                refuse_tls(self._transport, memoryview(buffer)[:count])
                raise
            self._turn.spent_since(begun)  # `outgoing` counts the time for the answers
            answered = self._answer()
            while self._session.full:
                self._count_memory()
                if not answered:
                    self._all_answered.wait()
                if self._writer_ended:
                    return
                begun = perf_counter()
                self._session.receive_rest()
                self._turn.spent_since(begun)
                answered = self._answer()
            self._count_memory()
            _keep(buffer)
            if count == _READ_SIZE:
                gevent.sleep(0)  # there is probably more: let other connections run
            else:
                self._wait_for_more()

    def _count_memory(self) -> None:
        """Raises OSError if the requests of this host take too much memory."""
        if not self._session.count_memory():
            raise OSError("the requests of this host take too much memory")

    def _answer(self) -> bool:
        """Answer what can be answered without waiting. Returns whether that was everything; if not, the writer does the
        rest, and sets `_all_answered`. Raises OSError."""
        if self._writer_waits and not self._ready.is_set():
            try:
                with self._answering:
                    if self._outgoing.send_without_waiting():
                        return True
            except OSError:
                raise
            except Exception as error:
                self._failure = error
        if not self._writer_ended:
            self._all_answered.clear()
        self._ready.set()
        return False

    def _wait_for_more(self) -> None:
        """Wait until the peer sends more. Raises TimeoutError when a deadline is over."""
        while (deadline := self._deadline()) is not None:
            try:
                return self._transport.wait(READ, max(0.0, deadline - time.monotonic()))
            except TimeoutError:
                # A request that was answered meanwhile may have changed the deadline.
                if self._deadline() == deadline:
                    raise
        self._transport.wait(READ, None)

    def _deadline(self) -> float | None:
        """When the peer must have sent more, in monotonic seconds; None if there is no limit."""
        message, has_fid = self._session.partial_message, self._session.fid_count > 0
        if has_fid and message is None:
            self._fid_deadline = None
            return None
        now = time.monotonic()
        if has_fid:
            self._fid_deadline = None
        elif self._fid_deadline is None:
            self._fid_deadline = now + _FID_TIMEOUT
        if message != self._message:
            self._message, self._message_deadline = message, now + _MESSAGE_TIMEOUT
        deadlines = [self._fid_deadline, self._message_deadline if message is not None else None]
        return min(deadline for deadline in deadlines if deadline is not None)

    def _write(self) -> None:
        """Send replies whenever there are some. If that fails, the shutdown in the end lets the reader end too."""
        try:
            while not self._ending or self._ready.is_set():
                self._writer_waits = True
                self._ready.wait()
                self._writer_waits = False
                self._ready.clear()
                if self._failure is not None:
                    raise self._failure
                with self._answering:
                    self._outgoing.send_all()
                self._session.count_memory()  # it is less than it was
                self._all_answered.set()
        except OSError as error:
            self._write_error = None if self._ending else str(error)
        except Exception:
            self._write_error = "internal error"
            raise
        finally:
            self._writer_ended = True
            self._all_answered.set()
            with contextlib.suppress(OSError):
                self._transport.shutdown()


def _keep(buffer: bytearray) -> None:
    """A buffer is not used any more."""
    if len(_buffers) < _SPARE_BUFFERS:
        _buffers.append(buffer)
