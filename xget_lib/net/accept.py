"""Accepting connections under gevent, for as long as the listening socket is open."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from logging import ERROR, WARNING

import gevent

from xget_lib.net.admission import Admission
from xget_lib.net.listen import plain_address
from xget_lib.net.waiting import wait_readable
from xget_lib.report.rate_limited_log import RateLimitedLog

_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ECONNABORTED)
_PAUSE = 0.1
"""Seconds to wait before the next try where this machine has no room for a connection."""
_BURST = 64
"""Connections to accept in a row before other greenlets run."""
_LINES = 1
"""Lines in the log, each minute and for each address, about connections that were not accepted."""


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
