"""How many connections are let in, and what happens to the others."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import gevent
import pytest

from test.support.network import quiet_hub, until
from xget_lib.net import accept
from xget_lib.net.accept import connections
from xget_lib.net.admission import PER_ADDRESS, Admission
from xget_lib.net.listen import listen


def test_an_address_gets_so_many_and_others_are_let_in_all_the_same() -> None:
    admission = Admission(100, per_address=2)
    assert [admission.refusal("10.0.0.1") for _ in range(2)] == [None, None]
    assert admission.refusal("10.0.0.1") == "it has 2 connections"
    assert admission.refusal("10.0.0.2") is None
    admission.left("10.0.0.1")
    assert admission.refusal("10.0.0.1") is None


def test_there_are_so_many_in_all() -> None:
    admission = Admission(3)
    assert [admission.refusal(f"10.0.0.{n}") for n in range(3)] == [None] * 3
    assert admission.refusal("10.0.0.9") == "there are 3 connections, and no more can be served"
    admission.left("10.0.0.0")
    assert admission.refusal("10.0.0.9") is None


def test_nobody_keeps_all_others_out() -> None:
    admission = Admission(10)
    refused = [admission.refusal("10.0.0.1") for _ in range(10)]
    assert refused == [None] * 5 + ["it has 5 connections"] * 5
    assert admission.refusal("10.0.0.2") is None


def test_two_thousand_nodes_behind_one_address_are_let_in() -> None:
    assert PER_ADDRESS >= 2 * 2000


def test_what_has_left_is_forgotten() -> None:
    admission = Admission(10)
    for number in range(1000):
        assert admission.refusal(f"10.0.{number // 250}.{number % 250}") is None
        admission.left(f"10.0.{number // 250}.{number % 250}")
    assert not admission._by_address


@pytest.fixture
def door() -> Iterator[tuple[int, list[socket.socket], list[tuple[str, str]]]]:
    """A port where two connections are let in from one address: its number, who was, and who was not."""
    let_in: list[socket.socket] = []
    complaints: list[tuple[str, str]] = []
    listening = listen("127.0.0.1", 0)

    def accept() -> None:
        admission = Admission(100, per_address=2)
        for sock, address, _ in connections(listening, admission, lambda *complaint: complaints.append(complaint)):
            assert address == "127.0.0.1"
            let_in.append(sock)

    with quiet_hub():
        greenlet = gevent.spawn(accept)
        yield listening.getsockname()[1], let_in, complaints
        greenlet.kill()
        listening.close()
        for sock in let_in:
            sock.close()


def test_who_is_not_let_in_is_told_at_once(door: tuple[int, list[socket.socket], list[tuple[str, str]]]) -> None:
    port, let_in, complaints = door
    with ExitStack() as stack:
        come = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(5)]
        until(lambda: len(let_in) + len(complaints) == 5)
        assert len(let_in) == 2
        assert complaints == [("127.0.0.1", "a connection is refused: it has 2 connections")] * 3
        for refused in come[2:]:
            refused.settimeout(10)
            assert refused.recv(1) == b""


def test_many_who_come_at_once_do_not_keep_others_waiting(
    door: tuple[int, list[socket.socket], list[tuple[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accept, "_TURN", 4)
    port, let_in, complaints = door
    seen: list[int] = []
    with ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))

        def look() -> None:
            while len(let_in) + len(complaints) < 20:
                seen.append(len(let_in) + len(complaints))
                gevent.sleep(0)

        gevent.spawn(look).join()
    assert len(set(seen)) >= 4, seen
