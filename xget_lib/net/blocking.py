"""Ways to wait for a descriptor while the event loop continues."""

from __future__ import annotations

import socket

import gevent
from gevent import get_hub
from gevent import socket as gsocket

# Shows what a greenlet was called with. gevent's own choice, of `pprint`, loads `inspect` when the hub is made.
gevent.config.format_context = "reprlib.repr"

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


def wait_readable(sock: socket.socket) -> None:
    """For `process.channel`. There is no time limit: the other end is a process of this server, which is watched."""
    gsocket.wait_read(sock.fileno())


def wait_writable(sock: socket.socket) -> None:
    gsocket.wait_write(sock.fileno())
