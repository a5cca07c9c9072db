"""Waiting for a descriptor without blocking the loop, always with a limit that belongs to somebody."""

from __future__ import annotations

import socket

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


def wait_readable(sock: socket.socket) -> None:
    """For `process.channel`: a channel's end is another process of this server, which its owner watches."""
    gsocket.wait_read(sock.fileno())


def wait_writable(sock: socket.socket) -> None:
    gsocket.wait_write(sock.fileno())
