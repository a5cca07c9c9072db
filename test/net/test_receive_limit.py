"""--rate: a connection is not read faster than its process may receive."""

from __future__ import annotations

import socket

import gevent
import pytest

from xget_lib.net import receive_limit
from xget_lib.net.receive_limit import ReceiveLimit

MIB = 1 << 20


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(receive_limit, "monotonic", lambda: clock.now)
    monkeypatch.setattr(gevent, "sleep", clock.sleep)
    return clock


def test_who_receives_waits_for_what_it_has_received(clock: Clock) -> None:
    limit = ReceiveLimit(MIB)
    received = 0
    while received < 10 * MIB:
        count = limit.wait()
        limit.received(count)
        received += count
    assert clock.now == pytest.approx(10, rel=0.05)


def test_the_kernel_keeps_little() -> None:
    with socket.socket() as sock:
        ReceiveLimit(MIB).prepare(sock)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 2 * 128 * 1024
