"""Ways to wait for a descriptor, and to call a blocking function, while the event loop continues."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import gevent
from gevent import get_hub
from gevent import socket as gsocket
from gevent.threadpool import ThreadPool

from xget_lib.errors import CannotStart
from xget_lib.report.log import LOGGER

READ = 1
WRITE = 2


class DescriptorWaiter:
    """Waits for one descriptor, in both directions. One greenlet may wait in each. The owner of the descriptor
    owns it."""

    def __init__(self, descriptor: int) -> None:
        loop = get_hub().loop
        self._watchers = {READ: loop.io(descriptor, READ), WRITE: loop.io(descriptor, WRITE)}

    def wait(self, direction: int, seconds: float | None) -> None:
        """Return when the descriptor is ready. Raises TimeoutError after this many seconds (None: never)."""
        if seconds is None:
            get_hub().wait(self._watchers[direction])
            return
        with gevent.Timeout(seconds, TimeoutError("timed out")):
            get_hub().wait(self._watchers[direction])

    def close(self) -> None:
        """Must be called before the descriptor is closed: the kernel gives its number to another file."""
        for watcher in self._watchers.values():
            watcher.stop()
            watcher.close()


P = ParamSpec("P")
R = TypeVar("R")

_pools: set[ThreadPool] = set()
"""All that `in_pool` has used. There are a few, and they live as long as the process."""


def in_thread(function: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
    """Run a function that blocks in a thread of the hub, while the event loop goes on. Returns what it returns, raises
    what it raises."""
    return in_pool(get_hub().threadpool, function, *arguments, **named)


def in_pool(pool: ThreadPool, function: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
    """As `in_thread`, in a thread of a pool.

    This function passes on exceptions itself, because gevent's thread pool would print each of them. Raises CannotStart
    where the pool has no thread, and none can be started.
    """

    def run() -> tuple[R | None, BaseException | None]:
        try:
            return function(*arguments, **named), None
        except BaseException as error:
            return None, error

    _pools.add(pool)
    _grow(pool)
    result, error = pool.apply(run)
    if error is not None:
        raise error
    return cast(R, result)


def _grow(pool: ThreadPool) -> None:
    """Start a thread for one more task, if the pool may have it. Where the kernel starts none, the pool goes on with
    those that it has. Raises CannotStart if it has none.

    The pool would start it too, but leaves the task in its queue when that fails.
    """
    if len(pool) < pool.size or pool.size >= pool.maxsize:
        return
    try:
        pool.size += 1
    except RuntimeError:
        if not pool.size:
            raise CannotStart("thread") from None
        LOGGER.warning("cannot start another thread; going on with %d", pool.size)
        pool.maxsize = pool.size


def replace_threads() -> None:
    """End the threads of all pools as they become idle. Later ones are started by the thread of the event loop, and
    have no more powers than that has now."""
    for pool in list(_pools):
        if pool.size:
            pool.size = 0


def wait_readable(sock: socket.socket) -> None:
    """For `process.channel`. There is no time limit: the other end is a process of this server, which is watched."""
    gsocket.wait_read(sock.fileno())


def wait_writable(sock: socket.socket) -> None:
    gsocket.wait_write(sock.fileno())
