"""What carries the bytes of a connection: here a TCP or Unix socket as it is, in `net.tls` one with TLS over it.

Nothing else knows which of them it has. Both behave as a socket that does not block: what cannot be done now raises
BlockingIOError, and `wait` says when to try again.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
from collections.abc import Callable

from xget_lib.errors import LinkLost, NotAdmitted, ProtocolViolation
from xget_lib.net.blocking import DescriptorWaiter
from xget_lib.net.listen import prepare
from xget_lib.ninep.wire import Buffer

_MIN_RTT = slice(148, 152)
"""Of struct tcp_info (linux/tcp.h): tcpi_min_rtt, in microseconds."""
_NO_RTT = 0xFFFFFFFF
HELLO = b"\x16\x03"
"""How the first record of TLS begins. No 9P request does: it would have more than 64 KiB."""
_ALERT = b"\x15\x03\x03\x00\x02\x02\x46"
"""The alert protocol_version, before anything is encrypted."""
TLS_ENDED = "the connection was closed during the handshake"
_NO_TLS = ("WRONG_VERSION_NUMBER", "UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION", "HTTP_REQUEST")
"""What OpenSSL calls an answer that is not TLS 1.3."""
_REFUSALS = (
    *("BAD_CERTIFICATE", "UNSUPPORTED_CERTIFICATE", "CERTIFICATE_REVOKED", "CERTIFICATE_EXPIRED"),
    *("CERTIFICATE_UNKNOWN", "UNKNOWN_CA", "ACCESS_DENIED", "CERTIFICATE_REQUIRED"),
)
"""The alerts (RFC 8446, section 6.2) by which a server says that it does not accept a certificate. Any other is a
failure of this connection: whoever changes a byte on the way gets one."""


class TlsError(ConnectionAbortedError):
    """TLS has failed. `reason` is what OpenSSL calls it."""

    def __init__(self, reason: str) -> None:
        super().__init__(errno.EPROTO, f"TLS: {reason.lower().replace('_', ' ')}")
        self.reason = reason

    def for_client(self, server: str) -> LinkLost:
        """What this means to a client."""
        if self.reason == TLS_ENDED:
            return LinkLost(server, TLS_ENDED)
        if self.reason in _NO_TLS:
            return NotAdmitted(server, "it speaks no TLS 1.3")
        if (alert := self.reason.partition("_ALERT_")[2]) in _REFUSALS:
            words = alert.lower().replace("_", " ")
            return NotAdmitted(server, f"it refuses the certificate of this node ({words})")
        return LinkLost(server, str(self.strerror))


class Transport:
    """A connected socket, which it owns."""

    binding = b""
    """Of the connection: see `ninep.auth`."""
    held_back = 0
    """When `recv_into` has no more: how many bytes may have arrived that are not in the socket any more, at most."""
    recv_into: Callable[[Buffer], int]
    """Receive into a buffer. Returns 0 at the end of the connection. Where it does not fill the buffer, nothing more
    has arrived."""
    send: Callable[[Buffer, int], int]
    """Send what can be sent now; returns how many bytes. With the flag MSG_MORE, more must follow at once. After
    BlockingIOError, the next bytes must be the same."""

    def __init__(self, sock: socket.socket) -> None:
        """Sets the options of the socket."""
        prepare(sock)
        self.sock = sock
        self._waiter: DescriptorWaiter | None = None
        self.recv_into = sock.recv_into
        self.send = sock.send

    def send_file(self, descriptor: int, offset: int, count: int) -> int:
        """Send a part of a file, as `send` does. Returns 0 if the file ends before it."""
        return os.sendfile(self.sock.fileno(), descriptor, offset, count)

    @property
    def round_trip(self) -> float:
        """Seconds that a packet and its acknowledgement take at least, as TCP has seen lately; 0 where nobody knows."""
        try:
            microseconds = self.tcp_info(_MIN_RTT)
        except OSError:
            return 0.0  # a Unix socket, or the connection has ended
        return microseconds / 1e6 if microseconds < _NO_RTT else 0.0

    def tcp_info(self, part: slice) -> int:
        """A number of struct tcp_info (linux/tcp.h); 0 where this kernel has none there. Raises OSError."""
        info = self.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, part.stop)
        return int.from_bytes(info[part], sys.byteorder) if len(info) == part.stop else 0

    @property
    def certificate_ends(self) -> str:
        """Until when the other side's certificate is valid; empty if it has shown none that was checked."""
        return ""

    @property
    def is_flooded(self) -> bool:
        """Whether more has arrived than a handshake and a few requests take, whatever of it was content."""
        return False

    def wait(self, direction: int, seconds: float | None) -> None:
        """Return when it is worth trying again to receive (READ) or to send (WRITE). One greenlet may wait for each.
        Raises TimeoutError."""
        if self._waiter is None:
            self._waiter = DescriptorWaiter(self.sock.fileno())
        self._waiter.wait(direction, seconds)

    def shutdown(self) -> None:
        """End both directions: who waits for one of them gets the end, or an error. Raises OSError."""
        # Not the method of ssl.SSLSocket: it goes on without TLS.
        socket.socket.shutdown(self.sock, socket.SHUT_RDWR)

    def close(self) -> None:
        if self._waiter is not None:
            self._waiter.close()
            self._waiter = None
        self.sock.close()


def refuse_tls(transport: Transport, data: Buffer) -> None:
    """To be called with the first bytes that are no 9P. If a client wants TLS, tell it that there is none: otherwise it
    could not know that from a server that fails. Raises ProtocolViolation for such a client."""
    if bytes(data[:2]) == HELLO:
        with contextlib.suppress(OSError):
            transport.send(_ALERT, 0)
        raise ProtocolViolation("it wants TLS, and this server has none (--tls)")
