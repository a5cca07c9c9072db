"""The processor time of hosts: a host with many busy connections has no more turns than one with a single one."""

from __future__ import annotations

import socket
from collections import Counter
from time import perf_counter

import gevent
import pytest

from test.support.network import quiet_hub
from xget_lib.net import turns
from xget_lib.net.turns import Turn


def test_a_turn_is_over_when_its_time_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "TURN", 100.0)
    turn = Turn()
    assert not turn.spent_since(perf_counter() - 60) and not turn.over
    assert turn.spent_since(perf_counter() - 60) and turn.over
    with quiet_hub():
        turn.wait()
    assert not turn.over


def test_connections_of_one_host_share_its_turns() -> None:
    rounds: Counter[str] = Counter()
    hosts = {"hostile": Turn(), "honest": Turn()}

    def work(host: str) -> None:
        while rounds["honest"] < 50:
            rounds[host] += 1
            hosts[host].wait()

    with quiet_hub():
        gevent.joinall([gevent.spawn(work, "hostile") for _ in range(100)] + [gevent.spawn(work, "honest")])
    # Each of the 100 had one turn when it began.
    assert rounds["hostile"] <= 100 + 2 * rounds["honest"]


def test_sockets_are_looked_at_between_two_turns_of_a_host() -> None:
    """However many of its connections are ready to go on."""
    ours, theirs = socket.socketpair()
    turn = Turn()
    turns_taken = 0
    seen_after: list[int] = []

    def work() -> None:
        nonlocal turns_taken
        while not seen_after and turns_taken < 10_000:
            turns_taken += 1
            turn.wait()

    def read() -> None:
        gevent.socket.wait_read(ours.fileno())
        seen_after.append(turns_taken)

    with quiet_hub(), ours, theirs:
        reader = gevent.spawn(read)
        gevent.sleep(0.01)
        workers = [gevent.spawn(work) for _ in range(50)]
        theirs.send(b"x")
        gevent.joinall([reader, *workers])
    assert seen_after[0] <= 50 + 3  # each began with one
