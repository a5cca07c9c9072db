"""What waits to be sent to one worker. So a worker that is stopped, or busy, holds up its own clients and nobody else.

The loops of the master send to all workers. If they waited for room in the channel of one of them, no node of any
worker would get a chunk, or news, until that one goes on or is killed. So nothing waits but messages, here, in order.

They are few. Of the news for a connection, and of pings, only the last waits; all others answer something that the
worker has asked, or come as often as a snapshot. A worker that takes none is killed after some seconds (`workers`).
"""

from __future__ import annotations

import errno
import os
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from itertools import count

import gevent

from xget_lib import ipc
from xget_lib.errors import LinkLost
from xget_lib.process.channel import Channel, close_all

_NO_ROOM = (errno.ETOOMANYREFS, errno.ENOMEM, errno.ENOBUFS)
"""This machine has no room for the message, or too many descriptors are on their way (unix(7))."""
_PAUSE = 0.01
"""Seconds between two tries."""


class Outbox:
    """Owned by the WorkerProcess. The channel stays the caller's, who closes it after this."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._waiting: OrderedDict[Hashable, tuple[ipc.Message, list[int]]] = OrderedDict()
        """With descriptors of its own."""
        self._numbers = count()
        self._sender: gevent.Greenlet[..., None] | None = None
        """What sends the messages that wait, while there are some."""

    @property
    def waits(self) -> bool:
        """Whether the worker has not taken everything that was sent."""
        return bool(self._waiting)

    def send(self, message: ipc.Message, descriptors: Sequence[int] = ()) -> None:
        """Send a message now, or as soon as the worker takes it. Descriptors are duplicated if it waits.

        Raises LinkLost if the worker has ended, and OSError if this process may not have more descriptors.
        """
        if not self._waiting and self._send(message, descriptors):
            return
        key = self._key(message)
        self._waiting.pop(key, None)  # neither kind that is replaced has descriptors
        self._waiting[key] = message, _duplicates(descriptors)
        if self._sender is None:
            self._sender = gevent.spawn(self._send_waiting)

    def close(self) -> None:
        """The worker has ended: nothing more is sent."""
        sender, self._sender = self._sender, None
        if sender is not None:
            sender.kill()
        for _, descriptors in self._waiting.values():
            close_all(descriptors)
        self._waiting.clear()

    def _send(self, message: ipc.Message, descriptors: Sequence[int]) -> bool:
        """Whether there was room. Raises LinkLost, OSError."""
        try:
            return self._channel.send_now(ipc.pack(message), descriptors)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
        return False

    def _send_waiting(self) -> None:
        """Raises nothing: whoever reads from the channel learns that the worker has ended."""
        try:
            while self._waiting:
                self._channel.wait_for_room()
                self._send_some()
                if self._waiting:
                    gevent.sleep(_PAUSE)
        except LinkLost:
            pass
        finally:
            self._sender = None

    def _send_some(self) -> None:
        """Send what there is room for. Raises LinkLost."""
        while self._waiting:
            key, (message, descriptors) = next(iter(self._waiting.items()))
            if not self._send(message, descriptors):
                return
            del self._waiting[key]
            close_all(descriptors)

    def _key(self, message: ipc.Message) -> Hashable:
        """A message takes the place of one that waits under the same key."""
        match message:
            case ipc.NewsLine(connection):
                return "news", connection
            case ipc.Ping():
                return "ping"
        return next(self._numbers)


def _duplicates(descriptors: Sequence[int]) -> list[int]:
    """Raises OSError."""
    made: list[int] = []
    try:
        for each in descriptors:
            made.append(os.dup(each))
    except OSError:
        close_all(made)
        raise
    return made
