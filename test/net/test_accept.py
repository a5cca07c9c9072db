"""Accepting connections: which are refused, and that many at once do not keep others waiting."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import ip_network

import gevent
import pytest

from test.support.network import quiet_hub, until
from xget_lib.net import accept
from xget_lib.net.accept import PER_HOST, Admission, connections
from xget_lib.net.listen import listen
from xget_lib.ninep.budget import Account


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
        for accepted in connections(self._listening, Admission(100, per_host=2)):
            assert accepted.address == accepted.account.host == "127.0.0.1"
            self.admitted.append(accepted.sock)


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
    assert caplog.messages == ["127.0.0.1: connection refused: this host has reached its limit of 2 connections"]


def test_an_address_that_may_not_connect_is_refused_and_counted() -> None:
    admission = Admission(100, per_host=2, allow=(ip_network("10.0.0.0/8"), ip_network("::1")))
    assert admission.admit("192.0.2.1") is None and admission.admit("fe80::1%eth0") is None
    assert admission.why_refused("192.0.2.1") == "this address is not among those of --allow"
    for address in ("10.1.2.3", "::1", "::ffff:10.0.0.1"):
        assert admission.admit(address) is not None
    assert admission.refused == 2


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

    def refuse(admission: Admission, address: str) -> None:
        asked.append(address)

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


class Connected:
    """Connections that are admitted, and why they ended."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.ended: list[Account] = []

    def connect(self, address: str) -> Account | None:
        account = self._admission.admit(address)
        if account is not None:
            account.end = lambda why: self.ended.append(account)
        return account


def test_a_host_over_its_limit_is_refused_and_others_are_not() -> None:
    admission = Admission(100, per_host=2)
    first = admission.admit("10.0.0.1")
    assert first is not None and admission.admit("10.0.0.1") is not None
    assert admission.admit("10.0.0.1") is None
    assert admission.why_refused("10.0.0.1") == "this host has reached its limit of 2 connections"
    assert admission.admit("10.0.0.2") is not None
    first.close()
    assert admission.admit("10.0.0.1") is not None


def test_addresses_of_one_ipv6_network_are_one_host() -> None:
    admission = Admission(100, per_host=2)
    assert [admission.admit(f"2001:db8::{n}") is not None for n in range(3)] == [True, True, False]
    assert admission.admit("2001:db8:0:1::1") is not None


def test_connections_are_limited_in_all() -> None:
    admission = Admission(3)
    accounts = [admission.admit(f"10.0.0.{n}") for n in range(3)]
    assert None not in accounts
    assert admission.admit("10.0.0.9") is None
    why = "the server has reached its limit of 3 connections, and this host has its share"
    assert admission.why_refused("10.0.0.9") == why
    assert accounts[0] is not None
    accounts[0].close()
    assert admission.admit("10.0.0.9") is not None


def test_one_host_gets_at_most_half_of_all_connections() -> None:
    admission = Admission(10)
    assert [admission.admit("10.0.0.1") is not None for _ in range(10)] == [True] * 5 + [False] * 5
    assert admission.admit("10.0.0.2") is not None


def test_a_new_host_gets_the_place_of_the_idlest_connection_of_the_host_that_has_most() -> None:
    admission = Admission(10)
    connected = Connected(admission)
    many = [connected.connect("10.0.0.66") for _ in range(5)]
    others = [connected.connect(f"10.0.0.{n}") for n in range(5)]
    assert None not in many + others
    assert many[0] is not None
    many[0].use()
    assert connected.connect("10.0.0.9") is not None
    assert connected.ended == [many[1]]
    for n in range(10, 12):
        assert connected.connect(f"10.0.0.{n}") is not None
    assert connected.ended == many[1:4]
    # Nobody has more than the new one would have now, but for the host with two.
    assert connected.connect("10.0.0.13") is not None
    assert connected.connect("10.0.0.14") is None
    assert connected.connect("10.0.0.66") is None


def test_of_those_who_prove_nothing_the_oldest_gives_way() -> None:
    """Of the same host if that has its share, else of a host that has most, also if all have one each."""
    admission = Admission(40, proved_first=True)  # 10 without a proof, 5 of one host
    connected = Connected(admission)
    strangers = [connected.connect("10.0.0.66") for _ in range(5)]
    member = connected.connect("10.0.0.66")
    assert member is not None and connected.ended == [strangers[0]]
    assert admission.proved(member)  # its place is free again
    others = [connected.connect(f"10.0.1.{n}") for n in range(6)]
    assert connected.connect("10.0.0.1") is not None
    assert connected.ended == strangers[:2]
    for n in range(2, 6):
        assert connected.connect(f"10.0.0.{n}") is not None
    assert connected.ended == [*strangers, others[0]]


def test_two_thousand_nodes_behind_one_address_are_admitted() -> None:
    assert PER_HOST >= 2 * 2000


def test_a_host_without_connections_is_forgotten() -> None:
    admission = Admission(10)
    for number in range(1000):
        account = admission.admit(f"10.0.{number // 250}.{number % 250}")
        assert account is not None
        account.close()
    assert not admission._budget._shares


class Failing(socket.socket):
    """A listening socket whose first `accept` calls fail."""

    errors: list[int]

    def accept(self) -> tuple[socket.socket, object]:
        if self.errors:
            raise OSError(self.errors.pop(), "cannot be accepted")
        return super().accept()


@pytest.mark.parametrize(
    "number",
    [
        *(errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ECONNABORTED, errno.EPROTO, errno.ENETDOWN),
        *(errno.EHOSTUNREACH, errno.EOPNOTSUPP, errno.EPERM),
    ],
)
def test_a_connection_that_cannot_be_accepted_does_not_end_the_server(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accept, "_PAUSE", 0.001)
    with quiet_hub(), listen("127.0.0.1", 0) as plain:
        listening = Failing(fileno=plain.detach())
        listening.setblocking(False)
        listening.errors = [number] * 3
        with listening, socket.create_connection(listening.getsockname()):
            accepted = next(connections(listening, Admission(10)))
            accepted.sock.close()
            assert not listening.errors
