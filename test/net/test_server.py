"""The server of a process: its connections, what they share, and how they end."""

from __future__ import annotations

import gc
import logging
import socket
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import gevent
import pytest

from test.support.memory_tree import MemoryFile, MemoryTree
from test.support.network import Peer, Sent, file_parts, quiet_hub, until
from xget_lib.net.connection import Connection
from xget_lib.net.listen import listen
from xget_lib.net.sending_hosts import SendingHosts
from xget_lib.net.server import Client, Server
from xget_lib.net.transport import Transport
from xget_lib.ninep.budget import Account
from xget_lib.ninep.file import File
from xget_lib.ninep.messages import (
    Rattach,
    Rerror,
    Ropen,
    Rread,
    Rversion,
    Rwalk,
    Tattach,
    Topen,
    Tread,
    Tversion,
    Twalk,
)
from xget_lib.ninep.wire import NOFID

LARGE = 16 << 20
"""Bytes: more than the kernel takes at once."""


class Served:
    """A server of one namespace, `tree`, on a free port. `connected` are the clients that it was made for."""

    def __init__(self) -> None:
        self.tree = MemoryTree()
        root = self.tree.root
        content = Sent(self.tree, 20, "content", size=500)
        self.tree.root = MemoryFile(self.tree, 1, "/", children=(*(root.children or ()), content))
        self.connected: list[Client] = []
        self.sending = SendingHosts(2)
        self.server = Server({"tree": self._connect}, logging.INFO, sending=self.sending)
        self.listening = listen("127.0.0.1", 0)
        self.port: int = self.listening.getsockname()[1]
        self.server.accept(self.listening)

    def _connect(self, client: Client) -> Callable[[], File]:
        self.connected.append(client)
        return lambda: self.tree.root


@pytest.fixture
def served() -> Iterator[Served]:
    with quiet_hub():
        made = Served()
        yield made
        made.server.stop_accepting()
        made.listening.close()


def attach(peer: Peer, aname: str = "tree") -> object:
    peer.say(Tversion(8192, "9P2000"), Tattach(0, NOFID, "glenda", aname))
    assert isinstance(peer.hear()[1], Rversion)
    return peer.hear()[1]


def test_a_client_gets_the_namespace_that_it_names(served: Served) -> None:
    peer = Peer(served.port)
    assert isinstance(attach(peer), Rattach)
    peer.say(Tattach(1, NOFID, "glenda", "another"))
    assert isinstance(peer.hear()[1], Rerror)
    (client,) = served.connected
    assert served.server.clients == {client.number: client}
    assert (client.address, client.port) == peer.sock.getsockname()
    peer.close()


def test_content_is_counted_and_its_time_noted(served: Served) -> None:
    before = served.server.last_sent
    peer = Peer(served.port)
    attach(peer)
    peer.say(Twalk(0, 1, ("content",)), Topen(1, 0), Tread(1, 0, 100))
    replies = [peer.hear()[1] for _ in range(3)]
    assert [type(reply) for reply in replies] == [Rwalk, Ropen, Rread]
    read = replies[-1]
    assert isinstance(read, Rread)
    assert served.server.sent == len(read.data) == 100
    assert served.server.last_sent >= before
    peer.close()


def waits(client: Client) -> bool:
    return isinstance(client.connection, Connection) and client.connection._session.waiting > 0


def test_waiting_reads_of_all_clients_are_retried(served: Served) -> None:
    peers = [Peer(served.port) for _ in range(2)]
    for peer in peers:
        attach(peer)
        peer.say(Twalk(0, 1, ("news",)), Topen(1, 0), Tread(1, 0, 100))
        assert [type(peer.hear()[1]) for _ in range(3)] == [Rwalk, Ropen, Rread]
        peer.say(Tread(1, 0, 100))
    until(lambda: all(waits(client) for client in served.connected))
    served.tree.tell(b"it happened")
    served.server.retry()
    for peer in peers:
        reply = peer.hear()[1]
        assert isinstance(reply, Rread) and reply.data == b"it happened"
        peer.close()


def test_a_client_that_speaks_no_9p_is_closed_and_the_reason_logged(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "xget")
    peer = Peer(served.port)
    peer.sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
    assert peer.rest() == b""
    until(lambda: not served.server.clients)
    (line,) = caplog.messages
    assert line.startswith("127.0.0.1:") and "connection closed: " in line
    peer.close()


def test_an_adopted_connection_is_served_until_it_ends(served: Served) -> None:
    ours, theirs = socket.socketpair()
    ended: list[int] = []

    def serve() -> None:
        served.server.serve(Client(4711, "10.0.0.1", 1), Transport(theirs))
        ended.append(4711)

    gevent.spawn(serve)
    until(lambda: 4711 in served.server.clients)
    assert ended == []
    ours.close()
    until(lambda: ended)
    assert theirs.fileno() == -1


def test_a_server_that_stops_accepting_keeps_its_clients(served: Served) -> None:
    peer = Peer(served.port)
    attach(peer)
    served.server.stop_accepting()
    late = Peer(served.port)  # it waits in the backlog of the kernel
    peer.say(Tattach(1, NOFID, "glenda", "tree"))
    assert isinstance(peer.hear()[1], Rattach)
    assert len(served.server.clients) == 1
    peer.close()
    late.close()


def test_a_connection_that_has_ended_is_freed_at_once(served: Served) -> None:
    """Its files know their client: the garbage collector would find such a cycle late, and its memory is not counted
    any more."""
    gc.collect()
    gc.disable()
    try:
        peer = Peer(served.port)
        attach(peer)
        (client,) = served.connected
        peer.say(Twalk(0, 1, ("news",)), Topen(1, 0), Tread(1, 0, 100))
        for _ in range(3):
            peer.hear()
        ended = weakref.ref(client.connection)
        assert ended() is not None
        peer.close()
        until(lambda: ended() is None)
    finally:
        gc.enable()


def test_the_account_of_a_connection_is_closed_with_it(served: Served) -> None:
    peer = Peer(served.port)
    attach(peer)
    (client,) = served.connected
    assert client.account.host == "127.0.0.1" and not client.account.closed
    assert served.server._limits.memory.used > 0
    peer.close()
    until(lambda: client.account.closed)
    assert served.server._limits.memory.used == 0
    assert not served.server._turns and not served.server._send_turns


def test_a_client_that_takes_nothing_does_not_hold_up_another_one_of_its_host(served: Served, tmp_path: Path) -> None:
    """While another process sends to another host, so that they have turns."""
    (tmp_path / "file").write_bytes(bytes(LARGE))
    content = Sent(served.tree, 30, "large", size=LARGE, parts=file_parts(tmp_path / "file"))
    served.tree.root = MemoryFile(served.tree, 1, "/", children=(content,))
    peers = [Peer(served.port, receive_buffer=4096) for _ in range(2)]
    over = False

    def elsewhere() -> None:
        while not over:
            served.sending.sent(1, "10.0.0.9", time.monotonic())
            gevent.sleep(0.01)

    sending = gevent.spawn(elsewhere)
    for peer in peers:
        attach(peer)
        peer.say(Twalk(0, 1, ("large",)), Topen(1, 0), Tread(1, 0, LARGE))
    for peer in reversed(peers):  # the first takes nothing until the second has everything
        while not isinstance(peer.hear()[1], Ropen):
            pass
        read = peer.hear()[1]
        assert isinstance(read, Rread) and read.data
        peer.close()
    over = True
    sending.join()


def test_a_connection_that_was_ended_before_it_is_served_is_closed(served: Served) -> None:
    ours, theirs = socket.socketpair()
    client = Client(4711, "10.0.0.1", 1)
    client.end("another host needs it")
    served.server.serve(client, Transport(theirs))
    assert theirs.fileno() == -1 and ours.recv(1) == b""
    ours.close()


def test_a_host_that_has_most_loses_a_connection_and_the_log_says_why(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "xget")
    peer = Peer(served.port)
    attach(peer)
    memory = served.server._limits.memory
    memory.limit = memory.used + 1
    other = Account("10.0.0.9")
    assert memory.take(other, 100)
    assert peer.rest() == b""
    until(lambda: not served.server.clients)
    (line,) = caplog.messages
    assert line.endswith("connection closed: memory: all are in use, and this host has most of them")
    peer.close()
