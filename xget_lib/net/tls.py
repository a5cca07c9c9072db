"""TLS over a connected socket: a transport as any other (`net.transport`), once its handshake is over.

Where the kernel encrypts (kTLS), content leaves by sendfile as on a plain connection. Otherwise it is read into a
buffer and encrypted here, so many bytes at a time that other connections are not kept waiting.

An end of the connection without TLS's good-bye (close_notify) counts as an end, as with plain TCP, and none is sent. It
matters where an end says that everything has arrived. Here messages have lengths, and one that is cut is lost.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from typing import NoReturn

from xget_lib.errors import NotAdmitted
from xget_lib.net.blocking import READ, WRITE, DescriptorWaiter
from xget_lib.net.transport import TLS_ENDED, TlsError, Transport
from xget_lib.ninep.auth import Tls
from xget_lib.ninep.wire import Buffer
from xget_lib.process.certificates import binding_of
from xget_lib.process.ktls import encrypts_in_kernel
from xget_lib.process.one_record import return_after_each_record

RECORD = 16 * 1024 + 261
"""Bytes of a record, at most: 5 of header, and 256 besides its content (RFC 8446, section 5.2)."""
_SLICE = 128 * 1024
"""Bytes that are encrypted at once."""
_HOLD = 4 * 1024
"""Bytes that wait for those that follow, at most. More are worth a record of their own."""
_buffer = memoryview(bytearray(_SLICE))
"""What content is read into. One for all: when a call ends, what it left there is not needed any more."""
HANDSHAKE_LIMIT = 32 * 1024
"""Bytes that the other side may send before the handshake is over: chains of certificates are shorter."""
_RECEIVED = slice(128, 136)
"""Of struct tcp_info in linux/tcp.h: tcpi_bytes_received."""

_BLOCKED = ssl.SSLWantReadError, ssl.SSLWantWriteError


class TlsTransport(Transport):
    """One end of TLS. What fails in it is raised as TlsError."""

    held_back = RECORD
    sock: ssl.SSLSocket

    def __init__(self, sock: ssl.SSLSocket) -> None:
        super().__init__(sock)
        return_after_each_record(sock)
        self.recv_into = self._receive
        self.send = self._send
        self.in_kernel = False
        """Whether the kernel encrypts what is sent."""
        self._ended = False
        self._needs = {READ: READ, WRITE: WRITE}
        """What TLS waits for when it receives, and when it sends: each may need the other direction."""
        self._send_waiter: DescriptorWaiter | None = None
        self._held = b""
        """Bytes to be sent together with those that follow."""
        self._tried = 0
        """Bytes of content that could not be sent, and must be tried again."""

    def handshake(self) -> int | None:
        """Go on with the handshake. Returns what to wait for before the next call; None when it is over. Raises
        OSError, of which ssl.SSLCertVerificationError is for a certificate that is not accepted."""
        try:
            self.sock.do_handshake()
        except _BLOCKED as error:
            if self._arrived() > HANDSHAKE_LIMIT:
                raise TlsError("the handshake is too long") from None
            return WRITE if isinstance(error, ssl.SSLWantWriteError) else READ
        except ssl.SSLCertVerificationError:
            raise
        except ssl.SSLError as error:
            _fail(error)
        self.in_kernel = encrypts_in_kernel(self.sock)
        return None

    def send_file(self, descriptor: int, offset: int, count: int) -> int:
        if self.in_kernel:
            if self._held:
                self._encrypt(self._held)
                self._held = b""
            return super().send_file(descriptor, offset, count)
        begin = len(self._held)
        wanted = self._tried or min(count, _SLICE - begin)
        _buffer[:begin] = self._held
        got = os.preadv(descriptor, [_buffer[begin : begin + wanted]], offset)
        if got:
            self._tried = got
            self._encrypt(_buffer[: begin + got])
            self._tried, self._held = 0, b""
        return got

    def wait(self, direction: int, seconds: float | None) -> None:
        if direction == READ:
            super().wait(self._needs[READ], seconds)
            return
        # Not the same one: receiving may wait for the direction that sending waits for.
        if self._send_waiter is None:
            self._send_waiter = DescriptorWaiter(self.sock.fileno())
        self._send_waiter.wait(self._needs[WRITE], seconds)

    def close(self) -> None:
        if self._send_waiter is not None:
            self._send_waiter.close()
            self._send_waiter = None
        super().close()

    def _receive(self, buffer: Buffer) -> int:
        view, filled = memoryview(buffer), 0
        try:
            while filled < len(view) and not self._ended:  # each call gives one record at most
                count = self.sock.read(len(view) - filled, view[filled:])
                self._ended = not count
                filled += int(count)
        except _BLOCKED as error:
            self._needs[READ] = WRITE if isinstance(error, ssl.SSLWantWriteError) else READ
            if not filled:
                raise BlockingIOError(errno.EAGAIN, "") from None
        except ssl.SSLError as error:
            _fail(error)
        return filled

    def _send(self, data: Buffer, flags: int = 0) -> int:
        if flags & socket.MSG_MORE and len(self._held) + len(data) <= _HOLD:
            self._held += bytes(data)
            return len(data)
        part = memoryview(data)[:_SLICE]
        self._encrypt(self._held + bytes(part) if self._held else part)
        self._held = b""
        return len(part)

    def _encrypt(self, data: Buffer) -> None:
        """Send all of it, or nothing. Raises BlockingIOError: then these bytes must come next; more may follow them."""
        try:
            self.sock.write(data)
        except _BLOCKED as error:
            self._needs[WRITE] = READ if isinstance(error, ssl.SSLWantReadError) else WRITE
            raise BlockingIOError(errno.EAGAIN, "") from None
        except ssl.SSLError as error:
            _fail(error)

    @property
    def certificate_ends(self) -> str:
        return str((self.sock.getpeercert() or {}).get("notAfter", ""))

    @property
    def is_flooded(self) -> bool:
        return self._arrived() > 2 * HANDSHAKE_LIMIT

    def _arrived(self) -> int:
        """Bytes, on this connection, encrypted."""
        return self.tcp_info(_RECEIVED)


def connect_tls(tls: Tls, sock: socket.socket, host: str, port: int, name: str) -> TlsTransport:
    """Do the handshake of a client with the server at an address. `name` is for messages. Takes over the socket. The
    time is for the caller to limit. Raises LinkLost, NotAdmitted, OSError."""
    sock.setblocking(False)
    transport = TlsTransport(tls.connected(sock, (host, port)))
    try:
        while (direction := transport.handshake()) is not None:
            transport.wait(direction, None)
        transport.binding = binding_of(transport.sock.getpeercert(binary_form=True) or b"")
        return transport
    except BaseException as error:
        transport.close()
        if isinstance(error, ssl.SSLCertVerificationError):
            why = error.verify_message.rstrip(".")
            raise NotAdmitted(name, f"refused by this node: its certificate is not accepted: {why}") from None
        if isinstance(error, TlsError):
            raise error.for_client(name) from None
        raise


def _fail(error: ssl.SSLError) -> NoReturn:
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        raise TlsError(TLS_ENDED) from None
    raise TlsError(error.reason or error.strerror or str(error)) from None
