"""Messages between the processes of one server, and open descriptors with them.

Master, nursery and workers are connected by AF_UNIX socket pairs of type SOCK_SEQPACKET: packets stay whole, keep their
order, carry descriptors (SCM_RIGHTS, unix(7)), and an end of file follows when the other process is gone. So a message
is one packet: a msgpack array whose first item is the name of the message, such as `("spawn", 3)`.

Sockets are non-blocking. Plain processes wait in poll(2); code under gevent sets functions of gevent that wait.
"""

from __future__ import annotations

import array
import os
import select
import socket
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import msgpack

from xget_lib.errors import LinkLost, ProtocolViolation

MAX_PACKET = 64 * 1024  # bytes; larger things travel as a descriptor of a memfd
MAX_DESCRIPTORS = 253  # SCM_MAX_FD of Linux, in one packet
# As plain numbers: to combine flags of the enumeration costs a microsecond, for each packet.
_TRUNCATED, _CONTROL_TRUNCATED = int(socket.MSG_TRUNC), int(socket.MSG_CTRUNC)

Message = tuple[Any, ...]
Wait = Callable[[socket.socket], None]


def close_all(descriptors: Iterable[int]) -> None:
    """Close descriptors that came with a message."""
    for descriptor in descriptors:
        os.close(descriptor)


class Channel:
    """One end of a channel. Owns its socket, which must be an AF_UNIX SOCK_SEQPACKET one.

    `wait_readable` and `wait_writable` block until the socket can be read, or takes a packet, or has ended.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self.wait_readable: Wait = partial(_poll, events=select.POLLIN)
        self.wait_writable: Wait = partial(_poll, events=select.POLLOUT)

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        """Close this end. The other side reads what was sent, then the end of file."""
        self._socket.close()

    def send(self, message: Sequence[Any], fds: Sequence[int] = ()) -> None:
        """Send one message, waiting for room if necessary. `fds` are duplicated: the caller still owns its own.

        Raises LinkLost if the other side is gone, ValueError if the message does not fit: a bug of the caller.
        """
        while not self.send_now(message, fds):
            self.wait_for_room()

    def send_now(self, message: Sequence[Any], fds: Sequence[int] = ()) -> bool:
        """As `send`, but never waits. Returns whether there was room."""
        packet = msgpack.packb(message)
        if len(packet) > MAX_PACKET:
            raise ValueError(f"{message[0]!r}: {len(packet)} bytes exceed the packet limit of {MAX_PACKET}")
        try:
            if fds:
                socket.send_fds(self._socket, [packet], fds)
            else:
                self._socket.send(packet)
            return True
        except BlockingIOError:
            return False
        except (BrokenPipeError, ConnectionResetError) as error:
            raise LinkLost("channel", "the process at the other end has exited") from error

    def wait_for_room(self) -> None:
        """Return when `send_now` may send, or the other side is gone."""
        self.wait_writable(self._socket)

    def receive(self) -> tuple[Message, list[int]] | None:
        """Wait for a message. Returns it and its descriptors, which the caller now owns; None at the end of file.

        Arrays inside are tuples. Raises ProtocolViolation for a packet that is not a message, and closes its
        descriptors; the packets after it can still be received.
        """
        packet, fds, flags = self._receive_packet()
        if not packet and not fds:
            return None
        try:
            return _decode(packet, flags), fds
        except ProtocolViolation:
            close_all(fds)
            raise

    def _receive_packet(self) -> tuple[bytes, list[int], int]:
        """An empty packet is the end of file: send() cannot send one."""
        # socket.recv_fds of Python 3.11 would ignore the flag.
        space = socket.CMSG_SPACE(MAX_DESCRIPTORS * array.array("i").itemsize)
        while True:
            try:
                packet, ancillary, flags, _ = self._socket.recvmsg(MAX_PACKET, space, socket.MSG_CMSG_CLOEXEC)
                return packet, _descriptors(ancillary), flags
            except BlockingIOError:
                self.wait_readable(self._socket)
            except ConnectionResetError:
                # Raised once if the other side died with packets of ours unread. What it sent before comes after it.
                continue


def pair() -> tuple[Channel, Channel]:
    """Two connected ends, closed on exec."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return Channel(one), Channel(other)


def _poll(sock: socket.socket, events: int) -> None:
    poller = select.poll()
    poller.register(sock, events)
    poller.poll()


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    fds = array.array("i")
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return list(fds)


def _decode(packet: bytes, flags: int) -> Message:
    if flags & _TRUNCATED:
        raise ProtocolViolation(f"channel: packet larger than {MAX_PACKET} bytes")
    if flags & _CONTROL_TRUNCATED:
        raise ProtocolViolation("channel: descriptors were lost (too many open files?)")
    try:
        message = msgpack.unpackb(packet, use_list=False)
    except ValueError as error:  # all that msgpack raises for bad input, and UnicodeDecodeError
        raise ProtocolViolation(f"channel: invalid message: {error}") from error
    if not isinstance(message, tuple) or not message or not isinstance(message[0], str):
        raise ProtocolViolation("channel: invalid message: not an array that begins with a name")
    return message
