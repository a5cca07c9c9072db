"""Waiting for a descriptor without blocking the loop, always with a limit that belongs to somebody."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import gevent
from gevent import get_hub
from gevent import socket as gsocket

READ = 1
WRITE = 2


class Watched:
    """The two directions of one descriptor. One greenlet may wait in each."""

    def __init__(self, descriptor: int) -> None:
        loop = get_hub().loop
        self._watchers = {READ: loop.io(descriptor, READ), WRITE: loop.io(descriptor, WRITE)}

    def wait(self, direction: int, seconds: float | None) -> None:
        """Return when the descriptor is ready. Raises TimeoutError after so many seconds (None: never)."""
        if seconds is None:
            get_hub().wait(self._watchers[direction])
            return
        with gevent.Timeout(seconds, TimeoutError("no progress in time")):
            get_hub().wait(self._watchers[direction])

    def close(self) -> None:
        """To be called before the descriptor is closed: the kernel gives its number to somebody else."""
        for watcher in self._watchers.values():
            watcher.stop()
            watcher.close()


P = ParamSpec("P")
R = TypeVar("R")


def in_thread(function: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
    """What a function returns, or raises, that blocks and so runs in a thread, while the loop goes on.

    gevent's thread pool would print what is raised there, also what is expected and handled here.
    """

    def run() -> tuple[R | None, BaseException | None]:
        try:
            return function(*arguments, **named), None
        except BaseException as error:
            return None, error

    result, error = get_hub().threadpool.apply(run)
    if error is not None:
        raise error
    return cast(R, result)


def wait_readable(sock: socket.socket) -> None:
    """For `process.channel`: a channel's end is another process of this server, which its owner watches."""
    gsocket.wait_read(sock.fileno())


def wait_writable(sock: socket.socket) -> None:
    gsocket.wait_write(sock.fileno())
