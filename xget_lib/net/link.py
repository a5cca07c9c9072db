"""A client's side of one connection: requests out, answers back, file content straight into the caller's buffer.

One greenlet reads the socket and calls back for each answer. `start` does not wait, so that several reads can be in
flight; `call` does. When the connection ends, every request without an answer gets LinkLost.
"""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
import termios
import time
from collections.abc import Callable
from dataclasses import dataclass

import gevent
from gevent.event import AsyncResult

from xget_lib.errors import LinkLost, NinepError, ProtocolViolation, printable
from xget_lib.net.blocking import READ, WRITE
from xget_lib.net.connect import connect, resolve
from xget_lib.net.enter import AFID, ROOT, enter, unless_refused
from xget_lib.net.receive_limit import ReceiveLimit
from xget_lib.net.tcp_info import TcpInfo
from xget_lib.net.tracing import tracer
from xget_lib.net.transport import TlsError, Transport
from xget_lib.ninep import messages
from xget_lib.ninep.auth import Credentials
from xget_lib.ninep.messages import IOHDRSZ, Message, TMessage
from xget_lib.ninep.requests import Requests

MAX_READ = 1024 * 1024
"""Bytes of data in one read, at most."""
_YIELD_AFTER = MAX_READ
"""Bytes after which other greenlets run, if there is always more to read."""
_WAKE_BYTES = 128 * 1024
"""Bytes of content to wait for at least: on a slow link they arrive a packet at a time."""
_SEND_TIMEOUT = 60.0
"""Seconds in which a server must make room for a request."""

FLUSHES_LIMIT = 4096
"""Requests that were given up and whose end the server has not confirmed, at most: each keeps two tags in use."""
_STRANGER = "something that is not XGet answers there"
_STRANGER_ANSWERS = 0.5
"""Seconds to find out whether a silent server speaks another protocol."""

_NOTHING_ASKED = Credentials()

OnAnswer = Callable[[Message | LinkLost], None]
"""Called once, from the reading greenlet: with the reply (Rerror included), or with why there is none."""


@dataclass(frozen=True, slots=True)
class Remote:
    """An open file of the server."""

    link: Link
    fid: int

    def read(self, offset: int, count: int, seconds: float | None) -> bytes:
        """One read; fewer bytes than `count` are normal, none means the end of the file."""
        reply = self.link.call(messages.Tread(self.fid, offset, count), seconds)
        assert isinstance(reply, messages.Rread)
        return bytes(reply.data)

    def write(self, offset: int, data: bytes, seconds: float) -> None:
        self.link.call(messages.Twrite(self.fid, offset, data), seconds)

    def close(self, seconds: float) -> None:
        self.link.call(messages.Tclunk(self.fid), seconds)


class Link:
    """A connection to a server, attached to one namespace, whose root is fid 0. Owns the transport."""

    def __init__(self, transport: Transport, name: str, limit: ReceiveLimit | None = None) -> None:
        """Takes over a transport. `name` is the peer's name in messages. `limit`: of what is received."""
        self.name = name
        self._limit = limit
        self.last_received = time.monotonic()
        """When bytes arrived last, in monotonic seconds."""
        self._received = 0
        self._transport = transport
        self._requests = Requests(MAX_READ + IOHDRSZ)
        self._requests.trace = tracer(name)
        self._callbacks: dict[int, OnAnswer] = {}
        self._next_fid = AFID + 1
        self.session_key: bytes | None = None
        """As `enter` returns it,"""
        self.key = b""
        """and the key of the secret with which it was proved; empty if nothing had to be proved."""
        self._low_water = 1
        """SO_RCVLOWAT of the socket."""
        self._outgoing = bytearray()
        self._writer: gevent.Greenlet[[], None] | None = None
        """Set while something is left to send."""
        self._lost: LinkLost | None = None
        self.agreed = False
        """Whether the server has shown that it speaks 9P."""
        self._reader = gevent.spawn(self._read)

    @staticmethod
    def connect(
        host: str,
        port: int,
        aname: str,
        seconds: float,
        credentials: Credentials = _NOTHING_ASKED,
        server: str = "",
        limit: ReceiveLimit | None = None,
    ) -> Link:
        """Connect, agree on 9P2000, prove to each other what the `credentials` ask for, attach to a namespace: all
        within `seconds`. `server` is as in `enter`. `limit`: of what is received. Raises LinkLost, NotAdmitted where
        one side refuses the other, and NinepError."""
        name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        waiting_for = f"host name {printable(host)} is not known: no name server answers"
        link = None
        try:
            with gevent.Timeout(seconds, _Late()):
                endpoints = resolve(host, port)
                waiting_for = "no answer"
                sock = connect(endpoints)
                waiting_for = "it accepts connections, but does not answer"
                if limit is not None:
                    limit.prepare(sock)
                link = Link(_transport(sock, host, port, name, credentials), name, limit)
                link.session_key = enter(link, aname, credentials, server)
                return link
        except _Late:
            if link is not None and link._is_stranger():
                waiting_for = _STRANGER
            raise _closed(link, LinkLost(name, waiting_for)) from None
        except OSError as error:
            raise _closed(link, LinkLost(name, error.strerror or str(error))) from None
        except BaseException as error:
            raise _closed(link, error) from None

    def _is_stranger(self) -> bool:
        """Whether a server that has not answered in 9P answers to two empty lines, as one of HTTP does."""
        self._send(b"\r\n\r\n")
        self._reader.join(_STRANGER_ANSWERS)
        return self._lost is not None and self._lost.why == _STRANGER

    @property
    def binding(self) -> bytes:
        """Of the connection: see `ninep.auth`."""
        return self._transport.binding

    @property
    def max_message(self) -> int:
        """Bytes of a message: what is offered, and later what both sides have agreed on."""
        return self._requests.msize

    @property
    def max_read(self) -> int:
        """Bytes of data in one read, at most, on this connection."""
        return min(MAX_READ, self._requests.msize - IOHDRSZ)

    @property
    def hosts(self) -> tuple[str, str]:
        """The addresses of this machine and of the server, as both see them. Raises LinkLost."""
        try:
            return self._transport.sock.getsockname()[0], self._transport.sock.getpeername()[0]
        except OSError as error:
            raise LinkLost(self.name, error.strerror or str(error)) from None

    @property
    def tcp(self) -> TcpInfo:
        """What the kernel knows of the connection. Raises LinkLost."""
        try:
            return TcpInfo.of(self._transport.sock)
        except OSError as error:
            raise LinkLost(self.name, error.strerror or str(error)) from None

    @property
    def certificate_ends(self) -> str:
        """Until when the server's certificate is valid, as OpenSSL writes it; empty without TLS, and for a certificate
        that was not checked."""
        return self._transport.certificate_ends

    @property
    def received(self) -> int:
        """Bytes that have arrived so far. Those that wait in the socket count too: see `_wait_for_more`."""
        if self._lost is not None:
            return self._received
        (waiting,) = struct.unpack("i", fcntl.ioctl(self._transport.sock.fileno(), termios.FIONREAD, bytes(4)))
        return self._received + int(waiting)

    @property
    def lost(self) -> bool:
        return self._lost is not None

    def open(self, name: str, seconds: float, mode: int = 0) -> Remote:
        """Open a file of the namespace. Raises NinepError, LinkLost."""
        fid = self._next_fid
        self._next_fid += 1
        names = tuple(part for part in name.split("/") if part)
        walk_tag, walked = self.ask(messages.Twalk(ROOT, fid, names))
        open_tag, opened = self.ask(messages.Topen(fid, mode))
        try:
            with gevent.Timeout(seconds, self._late(seconds)):
                reply = unless_refused(walked.get())
                if isinstance(reply, messages.Rwalk) and len(reply.wqid) < len(names):
                    raise NinepError(errno.ENOENT, f"{name}: not served")
                unless_refused(opened.get())
        except BaseException:
            self.flush(walk_tag)
            self.flush(open_tag)
            if not self.lost:  # the server may have the fid
                self.start(messages.Tclunk(fid), lambda answer: None)
            raise
        return Remote(self, fid)

    def call(self, message: TMessage, seconds: float | None) -> Message:
        """Send a request and wait for its reply, at most this many seconds (None: no limit). Raises NinepError for an
        Rerror, and LinkLost if the link ends or the time is over; in the latter case the link may still be good."""
        tag, result = self.ask(message)
        try:
            with gevent.Timeout(seconds, self._late(seconds)):
                reply = result.get()
        except BaseException:
            self.flush(tag)
            raise
        return unless_refused(reply)

    def ask(self, message: TMessage) -> tuple[int, AsyncResult[Message | LinkLost]]:
        """Send a request without waiting: its tag, and where its reply will be."""
        result: AsyncResult[Message | LinkLost] = AsyncResult()
        return self.start(message, result.set), result

    def _late(self, seconds: float | None) -> LinkLost:
        return LinkLost(self.name, f"no answer within {seconds:g} s" if seconds is not None else "no answer")

    def start(self, message: TMessage, on_answer: OnAnswer, into: memoryview | None = None) -> int:
        """Send a request and return its tag without waiting. Raises LinkLost if the connection has ended already."""
        if self._lost is not None:
            raise self._lost
        try:
            tag, frame = self._requests.submit(message, into)
        except NinepError as error:
            if error.errno != errno.EAGAIN:
                raise
            lost = LinkLost(self.name, "requests are not answered")  # 65535 of them
            self._end(lost)
            raise lost from None
        self._callbacks[tag] = on_answer
        self._send(frame)
        return tag

    def flush(self, tag: int) -> None:
        """Forget a request: its answer, should it still arrive, is dropped, and its buffer left alone. A server that
        never confirms it loses the connection."""
        if self._callbacks.pop(tag, None) is None or self._lost is not None:
            return
        if self._requests.flushed < FLUSHES_LIMIT:
            self._send(self._requests.flush(tag))
        else:
            self._end(LinkLost(self.name, "requests are not answered"))

    def close(self) -> None:
        """End the connection. Requests without an answer get LinkLost."""
        self._end(LinkLost(self.name, "connection closed"))

    def _end(self, why: LinkLost) -> None:
        if self._lost is not None:
            return
        self._lost = why
        for greenlet in (self._reader, self._writer):
            if greenlet is not None and gevent.getcurrent() is not greenlet:
                greenlet.kill()
        self._transport.close()
        callbacks, self._callbacks = self._callbacks, {}
        for on_answer in callbacks.values():
            on_answer(why)

    def _read(self) -> None:
        since_yield = 0
        try:
            while True:
                most = self._limit.wait() if self._limit is not None else None
                buffer = self._requests.buffer()[:most]
                try:
                    count = self._transport.recv_into(buffer)
                except BlockingIOError:
                    self._wait_for_more()
                    since_yield = 0
                    continue
                self.last_received = time.monotonic()
                self._received += count
                if self._limit is not None:
                    self._limit.received(count)
                if not count:
                    raise LinkLost(self.name, "connection closed by the server")
                for answer in self._requests.received(count):
                    on_answer = self._callbacks.pop(answer.tag, None)
                    if on_answer is not None:
                        on_answer(answer.reply)
                since_yield += count
                if count < len(buffer):
                    # Nothing more has arrived.
                    self._wait_for_more()
                    since_yield = 0
                elif since_yield >= _YIELD_AFTER:
                    gevent.sleep(0)
                    since_yield = 0
        except LinkLost as error:
            self._end(error)
        except ProtocolViolation as error:
            self._end(LinkLost(self.name, str(error) if self.agreed else _STRANGER))
        except OSError as error:
            self._end(_lost(self.name, error))
        finally:
            # Also for an unexpected exception: without a reader no request would ever get an answer.
            self._end(LinkLost(self.name, "internal error"))

    def _wait_for_more(self) -> None:
        """Wait for bytes. In the middle of content wait for many of them, or for the rest, and not for every packet."""
        low_water = max(1, min(self._requests.missing - self._transport.held_back, _WAKE_BYTES))
        if low_water != self._low_water:
            self._transport.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, low_water)
            self._low_water = low_water
        self._transport.wait(READ, None)

    def _send(self, frame: bytes) -> None:
        """Send in the next pass of the event loop: requests until then go in one packet and wake the server once."""
        if not self._outgoing and self._writer is None:
            gevent.get_hub().loop.run_callback(self._begin_sending)
        self._outgoing += frame

    def _begin_sending(self) -> None:
        """Send as much as possible without waiting, the rest in a greenlet."""
        if self._lost is None and self._send_some():
            self._writer = gevent.spawn(self._send_rest)

    def _send_some(self) -> bool:
        """Send as much as the socket takes. Returns whether something is left to send."""
        try:
            while self._outgoing:
                del self._outgoing[: self._transport.send(self._outgoing, 0)]
        except BlockingIOError:
            return True
        except OSError:
            # The reading greenlet gets the same error and ends the link.
            self._outgoing.clear()
        return False

    def _send_rest(self) -> None:
        try:
            while self._send_some():
                self._transport.wait(WRITE, _SEND_TIMEOUT)
        except TimeoutError as error:
            self._end(LinkLost(self.name, str(error)))
        finally:
            self._writer = None


def _transport(sock: socket.socket, host: str, port: int, name: str, credentials: Credentials) -> Transport:
    """What carries the bytes of a connected socket. Raises LinkLost, NotAdmitted, OSError."""
    if credentials.tls is None:
        return Transport(sock)
    from xget_lib.net.tls import connect_tls  # loads OpenSSL: only who wants TLS needs it

    return connect_tls(credentials.tls, sock, host, port, name)


class _Late(Exception):
    """The time to connect is over."""


def _lost(name: str, error: OSError) -> LinkLost:
    """What an error of the transport means. A server that does not accept a certificate says so after the handshake."""
    return error.for_client(name) if isinstance(error, TlsError) else LinkLost(name, error.strerror or str(error))


def _closed(link: Link | None, error: BaseException) -> BaseException:
    """An error after which a connection, if there is one, is closed."""
    if link is not None:
        link.close()
    return error
