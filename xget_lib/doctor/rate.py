"""How fast content comes from a server: one connection, the reads of a client, and little of the server's time.

The content is not granted by the master, as it is to a client, so nothing counts on its arrival. It is the beginning of
the content, which the server most likely has in memory: it says nothing about its disk. One connection is measured: a
client has one to each server.
"""

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass

import gevent
from gevent.event import AsyncResult

from xget_lib.doctor.findings import Finding, note, ok, problem
from xget_lib.doctor.machine import receive_buffer
from xget_lib.errors import LinkLost, NinepError, XGetError
from xget_lib.net.link import Link
from xget_lib.net.route import Route
from xget_lib.net.tcp_info import TcpInfo
from xget_lib.ninep import messages
from xget_lib.ninep.requests import ReadInto
from xget_lib.report.events import size

SECONDS, MOST = 1.0, 64 << 20
"""Of a test, at most, and bytes;"""
BUSY_SECONDS, BUSY_MOST = 0.4, 4 << 20
"""and of a server that is sending to others."""
_ANSWERS = 8.0
"""Seconds within which the first content must come: other hosts may be first."""
_LEAST = 1 << 20
"""Bytes; fewer say nothing."""
_AT_ONCE = 4
_FIRST = 64 * 1024
"""Bytes of the first reads; they grow"""
_SHORT = 0.03
"""while an answer comes within so many seconds after the one before: those on their way at the end are waited for,"""
_DRAIN = 1.0
"""for so long at most."""
_SLOW = 0.1
"""Part of the speed of the interface."""
_FULL = 0.8
_LOST = 0.001
"""Part of the packets that came out of order."""


@dataclass(frozen=True)
class Measured:
    """What came in a test."""

    count: int
    """Bytes."""
    seconds: float
    processor: float
    """Seconds of the processor that this process used meanwhile."""
    tcp: TcpInfo
    """At the end."""
    out_of_order: int
    trip: float
    """Seconds of a round trip."""
    refusal: str = ""
    """What the server said instead."""

    @property
    def rate(self) -> float:
        return self.count / max(self.seconds, 1e-6)


def measure(link: Link, length: int, seconds: float, most: int, trip: float) -> Measured:
    """Read for so long, or so many bytes. `length`: bytes of the content. Raises LinkLost, NinepError. The connection
    can only be closed then."""
    before = link.tcp
    file = link.open("data", _ANSWERS)
    received, begun, used = link.received, time.monotonic(), time.process_time()
    reading = _Reading(link, file.fid, length, most)
    with gevent.Timeout(_ANSWERS, LinkLost(link.name, f"no content within {_ANSWERS:g} s")):
        reading.step()
    left = begun + seconds - time.monotonic()
    with suppress(_Over), gevent.Timeout(max(left, 0.0), _Over()):
        while reading.step():
            pass
    took, processor = time.monotonic() - begun, time.process_time() - used
    after = link.tcp
    count = min(link.received - received, most)
    with suppress(_Over), gevent.Timeout(_DRAIN, _Over()):
        reading.drain()  # a connection that is closed before is a line in the log of the server
    return Measured(count, took, processor, after, after.out_of_order - before.out_of_order, trip, reading.refusal)


class _Over(Exception):
    """The time of a test is over."""


class _Reading:
    """Several reads on their way; at the end of the content it begins again."""

    def __init__(self, link: Link, fid: int, length: int, most: int) -> None:
        self.refusal = ""
        self._link, self._fid, self._length, self._left = link, fid, length, most
        self._offset, self._count = 0, _FIRST
        self._answered = time.monotonic()
        """When the last answer came."""
        self._waiting: deque[AsyncResult[messages.Message | LinkLost]] = deque()
        self._buffers = [memoryview(bytearray(link.max_read)) for _ in range(_AT_ONCE)]

    def step(self) -> bool:
        """Wait for one answer. Returns False if nothing is left to read. Raises LinkLost."""
        while self._length and self._left and len(self._waiting) < _AT_ONCE:
            self._ask()
        if not self._waiting:
            return False
        reply = self._waiting.popleft().get()
        if isinstance(reply, LinkLost):
            raise reply
        if not isinstance(reply, ReadInto):
            self.refusal = reply.ename if isinstance(reply, messages.Rerror) else "no content"
            return False
        now = time.monotonic()
        if now - self._answered < _SHORT:
            self._count = min(2 * self._count, self._link.max_read)
        self._answered = now
        return True

    def drain(self) -> None:
        """Wait for the answers that are on their way."""
        while self._waiting:
            self._waiting.popleft().get()

    def _ask(self) -> None:
        count = min(self._count, self._link.max_read, self._length - self._offset, self._left)
        answer: AsyncResult[messages.Message | LinkLost] = AsyncResult()
        buffer = self._buffers[0][:count]
        self._buffers.append(self._buffers.pop(0))
        self._link.start(messages.Tread(self._fid, self._offset, count), answer.set, buffer)
        self._waiting.append(answer)
        self._offset = (self._offset + count) % self._length
        self._left -= count


def examine(
    link: Link, whom: str, length: int, route: Route | None, limit: float | None, trip: float, *, busy: bool
) -> Finding:
    """The rate of a server that has so many bytes of content. `limit`: that of --rate. `busy`: whether it is
    sending to others, as far as is known."""
    if length < _LEAST:  # it would be thousands of small requests
        return note("rate", f"{whom}: not measured: {size(length)} of content are too little to say")
    bounds = (BUSY_SECONDS, BUSY_MOST) if busy else (SECONDS, MOST)
    try:
        measured = measure(link, length, *bounds, trip)
    except NinepError as error:
        return note("rate", f"{whom}: not measured: {error}")
    except XGetError as error:
        why = error.why if isinstance(error, LinkLost) else str(error)
        advice = "is it stopped, or very busy? see the packets above"
        return problem("rate", f"{whom}: {why}", advice)
    return judge(measured, whom, route, limit, busy=busy)


def judge(measured: Measured, whom: str, route: Route | None, limit: float | None, *, busy: bool) -> Finding:
    """What a test says, and what it was limited by, as far as this side can know."""
    if measured.refusal and measured.count < _LEAST:
        return note("rate", f"{whom}: not measured: it answers {measured.refusal}")
    if measured.count < _LEAST and measured.seconds < BUSY_SECONDS:
        return note("rate", f"{whom}: not measured: {size(measured.count)} are too little to say")
    bits = measured.rate * 8
    what = f"{whom}: {size(measured.rate)}/s ({_bits(bits)}) on one connection: {size(measured.count)}"
    what += f" in {measured.seconds:.2g} s, {'little because it is busy; ' if busy else ''}limited by "
    what += (reason := _limited_by(measured, route, limit))
    if reason.startswith("packets"):
        return note("rate", what, "look for loss on the way: `ip -s link`, `nstat`, the counters of switches")
    if reason.startswith("the receive buffer"):
        return note("rate", what, "raise the third number of sysctl net.ipv4.tcp_rmem, and of tcp_wmem at the server")
    is_slow = route is not None and route.speed is not None and bits < _SLOW * route.speed
    if is_slow and not busy and limit is None:
        return note(
            "rate", what, "is the server busy, limited with --rate-up, or its link slower? see `xget status -n`"
        )
    return ok("rate", what)


def _limited_by(measured: Measured, route: Route | None, limit: float | None) -> str:
    if limit is not None and measured.rate > _FULL * limit:
        return "--rate"
    packets = measured.tcp.received / max(measured.tcp.receives, 1)
    if measured.out_of_order > max(3, _LOST * packets):
        return f"packets that were lost or overtaken on the way ({measured.out_of_order})"
    if route is not None and route.speed is not None and measured.rate * 8 > _FULL * route.speed:
        return f"the link of this machine ({route.interface})"
    if measured.processor > _FULL * measured.seconds:
        return "the processor of this machine"
    buffer = receive_buffer()
    if buffer is not None and measured.rate * measured.trip > buffer / 2:
        return "the receive buffer"
    return "the server, its link, or other traffic"


def _bits(rate: float) -> str:
    return f"{rate / 1e9:.3g} Gbit/s" if rate >= 1e9 else f"{rate / 1e6:.3g} Mbit/s"
