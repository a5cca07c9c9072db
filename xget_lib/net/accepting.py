"""Accepting connections under gevent, for as long as the listening socket is open."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator

import gevent

from xget_lib.net.listener import plain_address
from xget_lib.net.waiting import wait_readable

_FULL = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ECONNABORTED)
_PAUSE = 0.1
"""Seconds until it is tried again where this machine has no room for a connection."""


def connections(listening: socket.socket, complain: Callable[[str], None]) -> Iterator[tuple[socket.socket, str, int]]:
    """Each connection with the address and port it comes from. Ends when the socket is closed.

    `complain` is told where a connection cannot be accepted; it waits in the backlog then.
    """
    while True:
        try:
            sock, address = listening.accept()
        except BlockingIOError:
            wait_readable(listening)
        except OSError as error:
            if error.errno not in _FULL:
                return
            complain(f"cannot accept a connection: {os.strerror(error.errno)}")
            gevent.sleep(_PAUSE)
        else:
            yield sock, plain_address(address[0]), address[1]
