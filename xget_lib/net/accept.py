"""Accepting connections under gevent, for as long as the listening socket is open.

There is a limit for all connections of a server, and one for each address. A connection over a limit is closed at once,
before anything is read from it.
"""

from __future__ import annotations

import errno
import os
import socket
from collections import Counter
from collections.abc import Iterator
from logging import ERROR, WARNING

import gevent

from xget_lib.net.blocking import wait_readable
from xget_lib.net.listen import plain_address
from xget_lib.report.rate_limited_log import RateLimitedLog

PER_ADDRESS = 4096
"""Connections from one address. A node has two to its master and some twenty to peers; but 2,000 nodes may be behind
one address, and a test may run many nodes on one machine."""

_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ECONNABORTED)
_PAUSE = 0.1
"""Seconds to wait before the next try when this machine has no room for a connection."""
_BURST = 64
"""Connections to accept in a row before other greenlets run."""
_LINES = 1
"""Lines in the log, each minute and for each address, about connections that were not accepted."""


class Admission:
    """Counts the connections of one server. Owned by the process that accepts them."""

    def __init__(self, total: int, per_address: int = PER_ADDRESS) -> None:
        """`total` connections in all. No address gets more than half of them, so that none can exclude all others."""
        self._total = total
        self._per_address = min(per_address, max(1, total // 2))
        self._by_address: Counter[str] = Counter()
        self._count = 0

    def admit(self, address: str) -> str | None:
        """Count a new connection from an address. Returns None, or why it is refused and not counted."""
        if self._count >= self._total:
            return f"the server has reached its limit of {self._count} connections"
        if self._by_address[address] >= self._per_address:
            return f"this address has reached its limit of {self._per_address} connections"
        self._by_address[address] += 1
        self._count += 1
        return None

    def release(self, address: str) -> None:
        """A connection that was admitted has ended."""
        self._count -= 1
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]


def connections(listening: socket.socket, admission: Admission) -> Iterator[tuple[socket.socket, str, int]]:
    """Each admitted connection with its client's address and port, until the socket is closed.

    The caller calls `admission.release` when a connection has ended. Refused connections are closed and logged. While
    the machine has no room, connections wait in the kernel's backlog.
    """
    refused = RateLimitedLog(_LINES)
    burst = 0
    while True:
        if burst >= _BURST:
            burst = 0
            gevent.sleep(0)
        burst += 1
        try:
            sock, client = listening.accept()
        except BlockingIOError:
            burst = 0
            wait_readable(listening)
            continue
        except OSError as error:
            if error.errno not in _NO_ROOM:
                return
            refused.log(ERROR, "", "cannot accept a connection: %s", os.strerror(error.errno))
            gevent.sleep(_PAUSE)
            continue
        address = plain_address(client[0])
        reason = admission.admit(address)
        if reason is None:
            yield sock, address, client[1]
        else:
            sock.close()
            refused.log(WARNING, address, "%s: connection refused: %s", address, reason)
