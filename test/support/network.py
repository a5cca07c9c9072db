"""Servers and peers on loopback, in greenlets of one process: real sockets, whose buffers are as small as wanted.

What a greenlet dies of is printed by gevent and fails nothing; `quiet_hub` turns it into a failure of the test.
"""

from __future__ import annotations

import io
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import gevent
from gevent import get_hub
from gevent import socket as gsocket

from test.support.memory_tree import MemoryFile, MemoryHandle, MemoryTree
from xget_lib.net.connection import Connection
from xget_lib.net.listen import listen
from xget_lib.net.tracing import tracer
from xget_lib.net.transport import Transport
from xget_lib.ninep.dialect import NINEP2000, decode, encode
from xget_lib.ninep.file import Content, OpenExtent
from xget_lib.ninep.messages import Message, Tattach, TMessage, Tversion
from xget_lib.ninep.session import Session
from xget_lib.ninep.wire import NOFID, NOTAG

PATIENCE = 20.0  # seconds after which a test that waits has failed


@contextmanager
def quiet_hub() -> Iterator[io.StringIO]:
    """Fails when a greenlet dies of an exception, or the test takes too long. A test may clear what it expects."""
    printed = io.StringIO()
    hub = get_hub()
    former, hub.exception_stream = hub.exception_stream, printed
    try:
        with gevent.Timeout(PATIENCE, AssertionError(f"not done within {PATIENCE} s")):
            yield printed
            gevent.sleep(0)
    finally:
        hub.exception_stream = former
    assert not printed.getvalue()


class Server:
    """Serves a MemoryTree on a free port of the loopback. `ended` is what each connection's run gave."""

    def __init__(self, *, send_buffer: int | None = None, max_msize: int = 1 << 20) -> None:
        self.tree = MemoryTree()
        self.connections: list[Connection] = []
        self.sessions: list[Session] = []
        self.ended: list[str | None] = []
        self.sent = 0
        self._listening = listen("127.0.0.1", 0)
        self.port: int = self._listening.getsockname()[1]
        self._send_buffer = send_buffer
        self._max_msize = max_msize
        self._greenlets: list[gevent.Greenlet[..., None]] = [gevent.spawn(self._accept)]

    def add(self, *files: MemoryFile) -> None:
        """More files for the root directory."""
        root = self.tree.root
        self.tree.root = MemoryFile(self.tree, 1, "/", children=(*(root.children or ()), *files))

    def wait_ended(self) -> str | None:
        """What the first connection's run gave, when it has."""
        until(lambda: self.ended)
        return self.ended[0]

    def close(self) -> None:
        self._listening.close()
        gevent.killall(self._greenlets)

    def _accept(self) -> None:
        while True:
            gsocket.wait_read(self._listening.fileno())
            sock, (host, port, *_) = self._listening.accept()
            if self._send_buffer:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._send_buffer)
            session = Session(self.tree.attach, max_msize=self._max_msize)
            session.trace = tracer(f"{host}:{port}")
            connection = Connection(Transport(sock), session, self._count)
            self.sessions.append(session)
            self.connections.append(connection)
            self._greenlets.append(gevent.spawn(self._run, connection))

    def _run(self, connection: Connection) -> None:
        self.ended.append(connection.run())

    def _count(self, sent: int) -> None:
        self.sent += sent


class Peer:
    """The other side of a connection, byte by byte."""

    def __init__(self, port: int, *, receive_buffer: int | None = None) -> None:
        self.sock = gsocket.socket()
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.connect(("127.0.0.1", port))

    def say(self, *messages: TMessage, first_tag: int = 0) -> None:
        """Sends messages together, with tags from `first_tag` on."""
        tags = (NOTAG if isinstance(each, Tversion) else first_tag + at for at, each in enumerate(messages))
        self.sock.sendall(b"".join(encode(tag, each, NINEP2000) for tag, each in zip(tags, messages, strict=True)))

    def hear(self) -> tuple[int, Message]:
        """The next reply and its tag. Raises EOFError at the end of the connection."""
        size = int.from_bytes(self.take(4), "little")
        return decode(size.to_bytes(4, "little") + self.take(size - 4), NINEP2000)

    def take(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self.sock.recv(count - len(data))
            if not part:
                raise EOFError(data)
            data += part
        return data

    def rest(self) -> bytes:
        """All that still comes."""
        data = b""
        try:
            while part := self.sock.recv(1 << 20):
                data += part
        except ConnectionResetError:
            pass
        return data

    def attach(self, msize: int = 1 << 20) -> None:
        """Tversion, and Tattach of the root as fid 0."""
        self.say(Tversion(msize, "9P2000"), Tattach(0, NOFID, "glenda", ""))
        self.hear()
        self.hear()

    def close(self) -> None:
        self.sock.close()

    def vanish(self) -> None:
        """End without a good-bye: a reset, as from a machine that has started anew."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.sock.close()


def until(true: Callable[[], object]) -> None:
    """Lets the other greenlets run until something is true; `quiet_hub` bounds it."""
    while not true():
        gevent.sleep(0.001)


Parts = Callable[[int, int], list[bytes | OpenExtent]]


def file_parts(path: Path) -> Parts:
    """A file on disk, opened when the reply is sent."""
    return lambda offset, length: [OpenExtent(os.open(path, os.O_RDONLY | os.O_CLOEXEC), offset, length)]


@dataclass(frozen=True)
class Sent(MemoryFile):
    """A file of `size` bytes, whose reads are content that the connection sends."""

    size: int = 0
    parts: Parts = lambda offset, length: [bytes(length)]

    def open(self, mode: int) -> MemoryHandle:
        return self._opened(_SentHandle(self, self))


class _SentHandle(MemoryHandle):
    def __init__(self, file: MemoryFile, sent: Sent) -> None:
        super().__init__(file)
        self._sent = sent

    def read(self, offset: int, count: int) -> bytes | Content:
        length = max(0, min(count, self._sent.size - offset))
        return Content(length, partial(self._sent.parts, offset, length)) if length else b""
