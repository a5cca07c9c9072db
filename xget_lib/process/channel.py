"""Messages between the processes of one server, and open descriptors with them.

Master, nursery and workers share no memory. They talk over AF_UNIX socket pairs of type SOCK_SEQPACKET, because its
packets stay whole, keep their order, carry descriptors (SCM_RIGHTS, unix(7)), and end with an end of file when the
other process is gone. So a message is one packet and needs no framing: a msgpack array whose first item is the name of
the message, such as `("spawn", 3)`.

Sockets are non-blocking. Plain processes wait in poll(2); code under gevent passes the functions of gevent that wait.
"""

from __future__ import annotations

import array
import os
import select
import socket
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import msgpack

from xget_lib.errors import LinkLost, ProtocolViolation

MAX_PACKET = 64 * 1024  # bytes; larger things travel as a descriptor of a memfd
MAX_DESCRIPTORS = 253  # SCM_MAX_FD of Linux, in one packet
# As plain numbers: to combine flags of the enumeration costs a microsecond, for each packet.
_TRUNCATED, _CONTROL_TRUNCATED = int(socket.MSG_TRUNC), int(socket.MSG_CTRUNC)

Message = tuple[Any, ...]
Wait = Callable[[socket.socket], None]


class MessageTooLarge(ValueError):
    """A message that does not fit a packet: a bug of the sender, which should have passed a descriptor."""


def poll_readable(sock: socket.socket) -> None:
    """Block this process until `sock` can be read or has ended."""
    _poll(sock, select.POLLIN)


def poll_writable(sock: socket.socket) -> None:
    """Block this process until `sock` takes a packet or has ended."""
    _poll(sock, select.POLLOUT)


def _poll(sock: socket.socket, events: int) -> None:
    poller = select.poll()
    poller.register(sock, events)
    poller.poll()


class Channel:
    """One end of a channel. Owns its socket, which must be an AF_UNIX SOCK_SEQPACKET one."""

    def __init__(
        self, sock: socket.socket, wait_readable: Wait = poll_readable, wait_writable: Wait = poll_writable
    ) -> None:
        sock.setblocking(False)
        self._socket = sock
        self.wait_readable = wait_readable
        self.wait_writable = wait_writable

    @classmethod
    def adopt(cls, fd: int) -> Channel:
        """The channel on the descriptor `fd`, which it owns from now on."""
        return cls(socket.socket(fileno=fd))

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        """Close this end. The other side reads what was sent, then the end of file."""
        self._socket.close()

    def __enter__(self) -> Channel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def send(self, message: Sequence[Any], fds: Sequence[int] = ()) -> None:
        """Send one message, waiting for room if need be. `fds` are duplicated: the caller still owns its own.

        Raises LinkLost if the other side is gone, MessageTooLarge if the message does not fit.
        """
        packet = msgpack.packb(message)
        if len(packet) > MAX_PACKET:
            raise MessageTooLarge(f"{message[0]!r}: {len(packet)} bytes exceed the packet limit of {MAX_PACKET}")
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        while True:
            try:
                self._socket.sendmsg([packet], rights)
                return
            except BlockingIOError:
                self.wait_writable(self._socket)
            except (BrokenPipeError, ConnectionResetError) as error:
                raise LinkLost("channel", "the process at the other end has exited") from error

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
            for fd in fds:
                os.close(fd)
            raise

    def _receive_packet(self) -> tuple[bytes, list[int], int]:
        """An empty packet is the end of file: send() cannot send one."""
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
