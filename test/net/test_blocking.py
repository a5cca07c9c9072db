"""Waiting for descriptors, until they are ready or the time is over."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator

import gevent
import pytest
from gevent import threadpool
from gevent.threadpool import ThreadPool

from test.support.network import quiet_hub
from xget_lib.errors import CannotStart
from xget_lib.net.blocking import READ, WRITE, DescriptorWaiter, in_pool, replace_threads, wait_readable, wait_writable


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


@pytest.fixture
def allow(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], ThreadPool]:
    """A pool in a system that starts only so many threads."""
    start = vars(threadpool)["start_new_thread"]

    def pool(threads: int) -> ThreadPool:
        left = iter(range(threads))

        def limited(*arguments: object) -> object:
            if next(left, None) is None:
                raise RuntimeError("can't start new thread")
            return start(*arguments)

        monkeypatch.setattr(threadpool, "start_new_thread", limited)
        return ThreadPool(4)

    return pool


def test_a_pool_that_gets_no_thread_says_so_each_time(allow: Callable[[int], ThreadPool]) -> None:
    pool = allow(0)
    for _ in range(10):
        with pytest.raises(CannotStart, match="cannot start a thread: too many processes and threads"):
            in_pool(pool, list)
    assert len(pool) == 0


def test_a_pool_goes_on_with_the_threads_that_it_has(allow: Callable[[int], ThreadPool]) -> None:
    pool = allow(2)

    def squared(number: int) -> int:
        return in_pool(pool, pow, number, 2)

    calls = [gevent.spawn(squared, number) for number in range(20)]
    assert [call.get() for call in calls] == [number**2 for number in range(20)]
    assert pool.size == 2
    pool.kill()


def test_threads_are_replaced_by_those_of_the_thread_that_asks_for_it() -> None:
    """What a thread may do it has from the one that has started it."""
    pool = ThreadPool(2)
    former = in_pool(pool, threading.get_native_id)
    replace_threads()
    assert pool.size == 0
    assert in_pool(pool, threading.get_native_id) != former
    pool.kill()
