"""Accepting connections under gevent, for as long as the listening socket is open.

A connection from an address that may not connect is closed at once, before anything is read from it. So is one over a
limit: there is one for all connections of a server, and one for each host. Among those whose clients have not proved
yet that they belong, the oldest is closed instead. When the server has no room for a further connection, the host that
has most of them loses one, if it has more than the new one's host (`ninep.budget`): in a child the one that was not
used for the longest time, and in a master process, which does not see the use, the oldest one.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from logging import ERROR, WARNING

import gevent

from xget_lib.config import Network
from xget_lib.dataclass import dataclass
from xget_lib.net.blocking import wait_readable
from xget_lib.net.listen import LOCAL, plain_address
from xget_lib.ninep.budget import Account, Budget
from xget_lib.report.rate_limited_log import RateLimitedLog
from xget_lib.swarm.addresses import is_allowed
from xget_lib.swarm.hosts import host_of

PER_HOST = 4096
"""Connections from one host to a master. A node has two; but 2,000 nodes may be behind one address, and a test may run
many nodes on one machine."""
UNPROVED = 16384
"""Connections to one process that accepts them whose clients have not proved yet that they belong (`net.lobby`), and at
most a quarter of all. They take no places of others."""
PER_PEER = 1024
"""Connections from one host to a child: a node has one or two to a peer."""

_CLOSED = (errno.EBADF, errno.EINVAL, errno.ENOTSOCK)
_LOST = (errno.ECONNABORTED, errno.EPROTO, errno.EPERM)
"""Only the next connection in the backlog had an error: accept(2)."""
_PAUSE = 0.1
"""Seconds to wait before the next try when this machine has no room for a connection."""
_BURST = 64
"""Connections to accept in a row before other greenlets run."""
_LINES = 1
"""Lines in the log, each minute and for each address, about connections that were not accepted."""


class Admission:
    """Counts the connections of one server. Owned by the process that accepts them."""

    def __init__(
        self, total: int, per_host: int = PER_HOST, *, proved_first: bool = False, allow: tuple[Network, ...] = ()
    ) -> None:
        """`total` connections in all. No host gets more than half of them. `proved_first`: a new connection does not
        count as one of these until `proved`. `allow`: who may connect; empty: all."""
        self._budget = Budget("connections", total, min(per_host, max(1, total // 2)))
        unproved = max(1, min(UNPROVED, total // 4))
        # A client needs two round trips for its proof. Who is silent must not keep it out, from the same host neither.
        self._unproved = Budget(
            "connections without a proof", unproved, min(per_host, max(1, unproved // 2)), oldest_gives_way=True
        )
        self._first = self._unproved if proved_first else self._budget
        self._allow = allow
        self.refused = 0
        """Connections that were closed at once."""

    def admit(self, address: str) -> Account | None:
        """Count a new connection from an address. The caller closes the account when the connection has ended, and sets
        its `end`. Returns None if the connection is refused, and not counted."""
        account = Account(host_of(address))
        account.use()
        if is_allowed(address, self._allow) and self._first.take(account):
            return account
        self.refused += 1
        return None

    def proved(self, account: Account) -> bool:
        """The client of a connection has proved that it belongs. Returns False if the connection must end now, because
        its host has its share."""
        self._unproved.forget(account)
        return self._budget.take(account)

    def why_refused(self, address: str) -> str:
        """Why `admit` has just returned None for an address."""
        if not is_allowed(address, self._allow):
            return "this address is not among those of --allow"
        budget = self._first
        if budget.used < budget.limit:
            return f"this host has reached its limit of {budget.per_host} {budget.what}"
        return f"the server has reached its limit of {budget.limit} {budget.what}, and this host has its share"


@dataclass(frozen=True)
class Accepted:
    """A new connection, not yet served."""

    sock: socket.socket
    address: str
    port: int
    account: Account


def connections(listening: socket.socket, admission: Admission) -> Iterator[Accepted]:
    """Each admitted connection, until the socket is closed.

    The caller closes the account when a connection has ended. Refused connections are closed and logged. While the
    machine has no room, connections wait in the kernel's backlog.
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
            if error.errno in _CLOSED:
                return
            if error.errno not in _LOST:
                # Usually that no descriptors or no memory are left.
                refused.log(ERROR, "", "cannot accept a connection: %s", os.strerror(error.errno or 0))
                gevent.sleep(_PAUSE)
            continue
        host, port = client[:2] if listening.family != socket.AF_UNIX else (LOCAL, 0)
        address = plain_address(host)
        account = admission.admit(address)
        if account is not None:
            yield Accepted(sock, address, port, account)
        else:
            sock.close()
            refused.log(WARNING, address, "%s: connection refused: %s", address, admission.why_refused(address))
