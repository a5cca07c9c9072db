"""Accepting connections under gevent, for as long as the listening socket is open."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator

import gevent

from xget_lib.net.admission import Admission
from xget_lib.net.listen import plain_address
from xget_lib.net.waiting import wait_readable

_FULL = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ECONNABORTED)
_PAUSE = 0.1
"""Seconds until it is tried again where this machine has no room for a connection."""
_TURN = 64
"""Connections after which others get their turn, where more of them come all the time."""


def connections(
    listening: socket.socket, admission: Admission, complain: Callable[[str, str], None]
) -> Iterator[tuple[socket.socket, str, int]]:
    """Each connection that is let in, with the address and port it comes from; whoever takes it says when it has
    `left`. Ends when the socket is closed.

    `complain` is told of each connection that is not (its address and why), and where none can be accepted (with ""
    for the address); it waits in the backlog then.
    """
    since_others = 0
    while True:
        if since_others >= _TURN:
            since_others = 0
            gevent.sleep(0)
        since_others += 1
        try:
            sock, where = listening.accept()
        except BlockingIOError:
            since_others = 0
            wait_readable(listening)
            continue
        except OSError as error:
            if error.errno not in _FULL:
                return
            complain("", f"cannot accept a connection: {os.strerror(error.errno)}")
            gevent.sleep(_PAUSE)
            continue
        address = plain_address(where[0])
        why = admission.refusal(address)
        if why is None:
            yield sock, address, where[1]
        else:
            sock.close()
            complain(address, f"a connection is refused: {why}")
