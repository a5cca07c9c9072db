"""Accepting connections: which are refused, and that many at once do not keep others waiting."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import gevent
import pytest

from test.support.network import quiet_hub, until
from xget_lib.net import accept
from xget_lib.net.accept import PER_ADDRESS, Admission, connections
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


# Limits.


def test_an_address_over_its_limit_is_refused_and_others_are_not() -> None:
    admission = Admission(100, per_address=2)
    assert [admission.admit("10.0.0.1") for _ in range(2)] == [None, None]
    assert admission.admit("10.0.0.1") == "this address has reached its limit of 2 connections"
    assert admission.admit("10.0.0.2") is None
    admission.release("10.0.0.1")
    assert admission.admit("10.0.0.1") is None


def test_connections_are_limited_in_all() -> None:
    admission = Admission(3)
    assert [admission.admit(f"10.0.0.{n}") for n in range(3)] == [None] * 3
    assert admission.admit("10.0.0.9") == "the server has reached its limit of 3 connections"
    admission.release("10.0.0.0")
    assert admission.admit("10.0.0.9") is None


def test_one_address_gets_at_most_half_of_all_connections() -> None:
    admission = Admission(10)
    refused = [admission.admit("10.0.0.1") for _ in range(10)]
    assert refused == [None] * 5 + ["this address has reached its limit of 5 connections"] * 5
    assert admission.admit("10.0.0.2") is None


def test_two_thousand_nodes_behind_one_address_are_admitted() -> None:
    assert PER_ADDRESS >= 2 * 2000


def test_an_address_without_connections_is_forgotten() -> None:
    admission = Admission(10)
    for number in range(1000):
        assert admission.admit(f"10.0.{number // 250}.{number % 250}") is None
        admission.release(f"10.0.{number // 250}.{number % 250}")
    assert not admission._by_address
