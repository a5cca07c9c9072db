"""A server of the swarm namespace on loopback, whose backend is the test's."""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial
from itertools import count
from logging import DEBUG

import gevent
from gevent import socket as gsocket

from test.support.backends import RecordingBackend
from test.support.network import until
from xget_lib.net.listen import listen
from xget_lib.net.server import Client, Server
from xget_lib.net.transport import Transport
from xget_lib.ninep.file import File
from xget_lib.serve.attach import SWARM
from xget_lib.serve.swarm import master_tree
from xget_lib.swarm.messages import Address


class SwarmServer:
    """All connections have the same backend. `accepted` counts them."""

    def __init__(
        self,
        backend: RecordingBackend | None = None,
        tree: Callable[[RecordingBackend], File] = master_tree,
        port: int = 0,
    ) -> None:
        """`tree` makes the root of the namespace: `master_tree`, `child_tree`, or another."""
        self.backend = backend or RecordingBackend()
        self.accepted = 0
        self._tree = tree
        self._sockets: list[socket.socket] = []
        self._server = Server({SWARM: lambda client: partial(self._tree, self.backend)}, DEBUG)
        self._listening = listen("127.0.0.1", port)
        self.address: Address = ("127.0.0.1", self._listening.getsockname()[1])
        self._accepting = gevent.spawn(self._accept)

    @property
    def connected(self) -> int:
        """How many connections there are now."""
        return len(self._server.clients)

    def retry(self) -> None:
        """Answer the reads that wait, as far as there is an answer now."""
        self._server.retry()

    def answer_slot(self, line: bytes) -> None:
        """Answer the slot that was requested last, as soon as there is one."""
        until(lambda: self.backend.requests)
        _, answers = self.backend.requests.popitem()
        answers.put(line)
        self.retry()

    def drop_connections(self) -> None:
        """End all connections, as a process that exits."""
        for sock in self._sockets:
            if sock.fileno() >= 0:
                sock.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        for number in count(1):
            gsocket.wait_read(self._listening.fileno())
            sock, (host, port, *_) = self._listening.accept()
            self.accepted += 1
            self._sockets.append(sock)
            gevent.spawn(self._server.serve, Client(number, host, port), Transport(sock))


def unused_address() -> Address:
    """An address of this machine where nothing listens."""
    with listen("127.0.0.1", 0) as listening:
        return "127.0.0.1", listening.getsockname()[1]
