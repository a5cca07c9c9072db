"""Waiting for descriptors, until they are ready or the time is over."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import gevent
import pytest

from test.support.network import quiet_hub
from xget_lib.net.blocking import READ, WRITE, DescriptorWaiter, wait_readable, wait_writable


@pytest.fixture(autouse=True)
def printed() -> Iterator[object]:
    with quiet_hub() as printed:
        yield printed


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    one.setblocking(False)
    yield one, other
    one.close()
    other.close()


def fill(sock: socket.socket) -> None:
    try:
        while True:
            sock.send(bytes(65536))
    except BlockingIOError:
        pass


def test_the_two_directions_are_waited_for_independently(ends: tuple[socket.socket, socket.socket]) -> None:
    one, other = ends
    fill(one)
    watcher = DescriptorWaiter(one.fileno())
    done: list[int] = []

    def wait(direction: int) -> None:
        watcher.wait(direction, None)
        done.append(direction)

    waiting = [gevent.spawn(wait, direction) for direction in (READ, WRITE)]
    gevent.sleep(0.01)
    assert done == []
    other.send(b"x")
    waiting[0].join()
    assert done == [READ]
    while len(other.recv(1 << 20)) == 1 << 20:
        pass
    waiting[1].join()
    assert done == [READ, WRITE]
    watcher.close()


def test_a_timeout_does_not_affect_later_waits(ends: tuple[socket.socket, socket.socket]) -> None:
    one, other = ends
    watcher = DescriptorWaiter(one.fileno())
    for seconds in (0.0, 0.01):
        with pytest.raises(TimeoutError, match="timed out"):
            watcher.wait(READ, seconds)
    other.send(b"x")
    watcher.wait(READ, 10)
    watcher.wait(WRITE, 10)
    watcher.close()


def test_a_descriptor_number_that_is_reused_is_watched_anew(ends: tuple[socket.socket, socket.socket]) -> None:
    one, _ = ends
    watcher = DescriptorWaiter(one.fileno())
    watcher.wait(WRITE, 10)
    watcher.close()
    number = one.detach()
    again, far = socket.socketpair()
    os.dup2(again.fileno(), number)
    again.close()
    watcher = DescriptorWaiter(number)
    with pytest.raises(TimeoutError):
        watcher.wait(READ, 0.01)
    far.send(b"x")
    watcher.wait(READ, 10)
    watcher.close()
    os.close(number)
    far.close()


def test_a_channel_waits_without_blocking_other_greenlets(ends: tuple[socket.socket, socket.socket]) -> None:
    one, other = ends
    wait_writable(one)
    gevent.spawn(other.send, b"x")
    wait_readable(one)
    assert one.recv(10) == b"x"
