"""What the kernel knows of a TCP connection: struct tcp_info in linux/tcp.h, tcp(7)."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

_SIZE = 232
"""Bytes of what is used here. An older kernel has fewer; what it lacks is 0."""
_WORDS = {
    "sends": 16,
    "receives": 20,
    "path": 60,
    "rtt": 68,
    "offers": 84,
    "space": 96,
    "retransmitted": 100,
    "out_of_order": 224,
}
"""Offsets of tcpi_snd_mss, rcv_mss, pmtu, rtt, advmss, rcv_space, total_retrans, rcv_ooopack."""
_RECEIVED = 128
"""That of tcpi_bytes_received, which has 8 bytes."""


@dataclass(frozen=True)
class TcpInfo:
    """Of one connection, as it was at one moment."""

    sends: int
    """Bytes of content in the largest packet that is sent."""
    receives: int
    """The same of packets that arrive, as the kernel estimates it from those that have arrived."""
    path: int
    """MTU of the path, as far as this machine knows it: in the direction to the other side."""
    rtt: float
    """Seconds of a round trip."""
    offers: int
    """Bytes of content in a packet that this machine would take."""
    space: int
    """Bytes that the receiver has room for, as the kernel has tuned it."""
    retransmitted: int
    """Packets that this machine has sent again."""
    out_of_order: int
    """Packets that arrived before others that were sent earlier: these were lost, or overtaken."""
    received: int
    """Bytes."""

    @classmethod
    def of(cls, sock: socket.socket) -> TcpInfo:
        """Raises OSError."""
        return cls.decode(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _SIZE))

    @classmethod
    def decode(cls, data: bytes) -> TcpInfo:
        data = data.ljust(_SIZE, b"\0")
        words = {name: struct.unpack_from("=I", data, offset)[0] for name, offset in _WORDS.items()}
        return cls(**words | {"rtt": words["rtt"] / 1e6, "received": struct.unpack_from("=Q", data, _RECEIVED)[0]})
