"""Connecting to a host that may have several addresses, some of them dead.

Happy Eyeballs, RFC 8305: the addresses are tried in turn, IPv6 and IPv4 alternating. The next one is begun when the
former has failed, or has not answered within a quarter of a second. The first that accepts wins.

Names are looked up in threads of their own: a name server that does not answer must not take the threads of the hub,
which read and write files.
"""

from __future__ import annotations

import errno
import os
import socket
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import gevent
from gevent.queue import Empty, Queue

from xget_lib.config import is_host_name
from xget_lib.errors import printable
from xget_lib.net import threads
from xget_lib.net.blocking import wait_writable

ATTEMPT_DELAY = 0.25
"""Seconds after which the next address is tried as well: the Connection Attempt Delay of RFC 8305."""
_LOOKUPS = 4
"""Lookups at the same time. One that hangs cannot be stopped, and others are tried meanwhile."""


class Endpoint(NamedTuple):
    """An address to connect to."""

    family: int
    address: tuple[Any, ...]
    """As connect(2) of this family wants it."""


def resolve(host: str, port: int) -> Sequence[Endpoint]:
    """The addresses of a host, in the order of preference. Raises OSError, whose text names the host."""
    try:
        return _look_up(host, port, socket.AI_NUMERICHOST)
    except socket.gaierror:
        pass  # a name
    except UnicodeError:
        raise OSError("invalid host name") from None
    try:
        return threads.pool("lookups", _LOOKUPS).run(_look_up, host, port, 0)
    except socket.gaierror as error:
        unknown = f"host name {printable(host)} is not known"
        if error.errno in (socket.EAI_NONAME, socket.EAI_NODATA):
            raise OSError(unknown) from None
        raise OSError(f"{unknown}: {error.strerror}") from None


def connect(endpoints: Sequence[Endpoint]) -> socket.socket:
    """A socket that is connected to one of several addresses of the same host. Raises OSError of the address that has
    answered, if one has. The time is for the caller to limit."""
    left = deque(_alternating(endpoints))
    results: Queue[socket.socket | OSError] = Queue()
    attempts: list[gevent.Greenlet[..., None]] = []
    failures: list[OSError] = []
    try:
        while left or len(failures) < len(attempts):
            if left:
                attempts.append(gevent.spawn(_attempt, left.popleft(), results))
            with suppress(Empty):
                result = results.get(timeout=ATTEMPT_DELAY if left else None)
                if not isinstance(result, OSError):
                    return result
                failures.append(result)
    finally:
        gevent.killall(attempts)
        while not results.empty():
            late = results.get()
            if not isinstance(late, OSError):
                late.close()
    failures.sort(key=lambda error: error.errno != errno.ECONNREFUSED)
    raise failures[0] if failures else OSError("no address")


def _look_up(host: str, port: int, flags: int) -> list[Endpoint]:
    if not is_host_name(host):
        raise UnicodeError(host)
    name = host.encode() if host.isascii() else host  # a text would load Python's codec `idna`, which takes 3 ms
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=flags)
    return [Endpoint(family, address) for family, _, _, _, address in found]


def _alternating(endpoints: Sequence[Endpoint]) -> list[Endpoint]:
    """The families in turn, beginning with that of the first address; within a family in their order."""
    if not endpoints:
        return []
    first = [each for each in endpoints if each.family == endpoints[0].family]
    second = [each for each in endpoints if each.family != endpoints[0].family]
    both = min(len(first), len(second))
    pairs = [each for pair in zip(first, second, strict=False) for each in pair]
    return [*pairs, *first[both:], *second[both:]]


def _attempt(endpoint: Endpoint, results: Queue[socket.socket | OSError]) -> None:
    """Without the `connect` of gevent's sockets: it would look the address up again, with threads of its own."""
    sock = None
    try:
        sock = socket.socket(endpoint.family, socket.SOCK_STREAM)
        sock.setblocking(False)
        failed = sock.connect_ex(endpoint.address)
        if failed == errno.EINPROGRESS:
            wait_writable(sock)
            failed = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if failed:
            raise OSError(failed, os.strerror(failed))
        results.put(sock)
    except OSError as error:
        if sock is not None:
            sock.close()
        results.put(error)
    except BaseException:
        if sock is not None:
            sock.close()
        raise
