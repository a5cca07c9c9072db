"""Accepting connections: who is refused, and that many at once do not keep others waiting."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import gevent
import pytest

from test.support.network import quiet_hub, until
from xget_lib.net import accept
from xget_lib.net.accept import connections
from xget_lib.net.admission import Admission
from xget_lib.net.listen import listen


class Door:
    """A port where two connections are admitted from one address."""

    def __init__(self) -> None:
        self.admitted: list[socket.socket] = []
        self._listening = listen("127.0.0.1", 0)
        self.port = self._listening.getsockname()[1]
        self._greenlet = gevent.spawn(self._accept)

    def close(self) -> None:
        self._greenlet.kill()
        self._listening.close()
        for sock in self.admitted:
            sock.close()

    def _accept(self) -> None:
        for sock, address, _ in connections(self._listening, Admission(100, per_address=2)):
            assert address == "127.0.0.1"
            self.admitted.append(sock)


@pytest.fixture
def door() -> Iterator[Door]:
    with quiet_hub():
        made = Door()
        yield made
        made.close()


def test_a_refused_connection_is_closed_at_once_and_logged_once(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "xget")
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", door.port))) for _ in range(5)]
        for client in clients:
            client.setblocking(False)
        until(lambda: sum(map(closed, clients)) == 3)
        assert len(door.admitted) == 2 and all(map(closed, clients[2:]))
    assert caplog.messages == ["127.0.0.1: connection refused: this address has reached its limit of 2 connections"]


def closed(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False


def test_many_connections_at_once_do_not_keep_other_greenlets_waiting(
    monkeypatch: pytest.MonkeyPatch, door: Door
) -> None:
    monkeypatch.setattr(accept, "_BURST", 4)
    asked: list[str] = []

    def refuse(admission: Admission, address: str) -> str:
        asked.append(address)
        return "no more"

    monkeypatch.setattr(Admission, "admit", refuse)
    seen: list[int] = []
    with ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(socket.create_connection(("127.0.0.1", door.port)))

        def look() -> None:
            while len(asked) < 20:
                seen.append(len(asked))
                gevent.sleep(0)

        gevent.spawn(look).join()
    assert len(set(seen)) >= 4, seen
