"""The link of a server, shared by hosts.

TCP shares a link by connections, so a host with ten of them would get ten times as much as others. So while content is
sent to other hosts too (`sending_hosts`), each process sends to one connection of a host after the other. A connection
has its turn until its reply is sent and has left: what the kernel has accepted, but the peer has not acknowledged,
still takes the link. A turn is over after a limited time, and soon if the peer takes nothing: many clients may be
behind one address, and one that is slow, or stopped, must not hold up the others. What is in the kernel after that is
little, because the kernel gets little at once while others wait: as much as the link takes between two looks.

A host that is served by two processes has a turn in each. These send in turn too, by the clock.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
from collections.abc import Hashable
from time import monotonic

import gevent
from gevent.lock import BoundedSemaphore

from xget_lib.net.rate_limit import SharedBucket
from xget_lib.net.sending_hosts import SendingHosts

_TURN = 0.5
"""Seconds after which a turn is over if other connections of the host wait,"""
_STALLED = 0.2
"""and seconds in which nothing more could be sent."""
_LEAST, _MOST = 64 * 1024, 8 * 1024 * 1024
"""Bytes of a connection that may be on their way while others of its host wait: on a link whose queue is long, hosts
have shares as they have bytes in the queue. On a fast link they are more, as it would be idle until the next look."""
_SLICE = 0.05
"""Seconds in which one of the processes that send to the host sends, before it is the turn of the next."""
_UNLIMITED = 1 << 30
"""Bytes: as many as the kernel takes."""
_LOOK_EVERY = 0.02
"""Seconds between two looks whether content is sent to other hosts."""
_POLL = 0.002
"""Seconds between two looks whether what was sent has left."""


class Flow:
    """The content that is sent on one connection. Owned by its Outgoing."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.sending = False
        """Whether a reply is being sent."""

    @property
    def left(self) -> int:
        """Bytes that the kernel has, and the peer has not acknowledged."""
        try:
            return int(struct.unpack("i", fcntl.ioctl(self._sock.fileno(), termios.TIOCOUTQ, bytes(4)))[0])  # tcp(7)
        except (OSError, ValueError):
            return 0  # the connection is closed


class SendTurns:
    """The turns of one host in this process. Its connections own it together."""

    def __init__(
        self,
        host: Hashable = None,
        hosts: SendingHosts | None = None,
        process: int = 0,
        rate_queue: BoundedSemaphore | None = None,
    ) -> None:
        """`process` is the number of this process in `hosts`. `rate_queue`: of all in this process that wait because of
        the rate, the first has it."""
        self._host = host
        self._hosts = hosts or SendingHosts()
        self._process = process
        self._queue = BoundedSemaphore(1)
        """Of those that wait, the first has it."""
        self._current: Flow | None = None
        """Which has, or had, the turn."""
        self._waiting = 0
        """Connections that wait for a turn."""
        self._rate_queue = rate_queue or BoundedSemaphore(1)
        self._begun = self._progress = 0.0
        """When its turn began, and when it could send last."""
        self._most = _LEAST
        self._shared, self._looked = False, 0.0
        self._limit = self._hosts.limit
        self._processes: list[int] = []
        """Those that send to this host while others want the link."""

    def wait(self, flow: Flow) -> int:
        """Return when this connection may send content, and how many bytes. To be called before each part is sent."""
        flow.sending = True
        now = monotonic()
        while self._link_is_shared(now):
            if self._current is not flow or self._is_over(now):
                now = self._wait_for_turn(flow)
                self._current, self._begun, self._progress = flow, now, now
            room = self._most - flow.left if self._waiting or len(self._processes) > 1 else _UNLIMITED
            if room > 0 and self._is_our_slice(now):
                break
            gevent.sleep(_POLL)
            now = self._adapt(flow, since=now) if room <= 0 else monotonic()
        else:
            room = _UNLIMITED
        if self._limit is not None:
            room = min(room, self._wait_for_rate(self._limit))
            now = monotonic()
        self._current, self._progress = flow, now
        return room

    def sent(self, count: int) -> None:
        """A connection has sent so many bytes of content."""
        if self._limit is not None:
            self._limit.take(self._process, count)

    def _wait_for_rate(self, limit: SharedBucket) -> int:
        """Return when this process may send (`--rate-up`), and how many bytes."""
        while (delay := limit.delay(self._process, monotonic())) > 0:
            with self._rate_queue:  # one of many wakes up
                if (delay := limit.delay(self._process, monotonic())) > 0:
                    gevent.sleep(delay)
        return limit.portion

    def _adapt(self, flow: Flow, since: float) -> float:
        """So many bytes may be on their way as the link takes between two looks. Returns the time."""
        now, left = monotonic(), flow.left
        if left == 0 and now - since < 2 * _POLL:
            self._most = min(2 * self._most, _MOST)
        elif left > self._most // 2:
            self._most = max(self._most // 2, _LEAST)
        return now

    def _is_our_slice(self, now: float) -> bool:
        processes = self._processes
        return len(processes) < 2 or processes[int(now / _SLICE) % len(processes)] == self._process

    def _wait_for_turn(self, flow: Flow) -> float:
        """Return the time when no other connection has the turn."""
        self._waiting += 1
        try:
            with self._queue:
                while self._is_taken(flow, now := monotonic()):
                    gevent.sleep(_POLL)
        finally:
            self._waiting -= 1
        return now

    def _is_taken(self, flow: Flow, now: float) -> bool:
        current = self._current
        if current is None or current is flow or not self._link_is_shared(now):
            return False
        return not self._is_over(now) and (current.sending or current.left > 0)

    def _is_over(self, now: float) -> bool:
        return now - self._begun > _TURN or now - self._progress > _STALLED

    def _link_is_shared(self, now: float) -> bool:
        if now - self._looked > _LOOK_EVERY:
            self._looked = now
            self._hosts.sent(self._process, self._host, now)
            self._shared = self._hosts.others(self._host, now)
            self._processes = self._hosts.processes(self._host, now) if self._shared else []
        return self._shared
