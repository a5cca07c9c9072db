"""Taking a listening socket from a service manager: sd_listen_fds(3).

systemd binds the socket and keeps it, so connections wait in its backlog while the service is restarted.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import MutableMapping

from xget_lib.errors import UsageError

VARIABLES = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")
_FIRST = 3
"""The descriptor of the first socket."""
_MOST = 64
"""Sockets that are looked at."""


def take_socket(port: int, environment: MutableMapping[str, str] | None = None) -> socket.socket | None:
    """The TCP socket on a port that this process was given; None if it was given none. Afterwards the environment does
    not say so any more.

    Raises UsageError if there are sockets, but not exactly one that listens on this port.
    """
    environment = os.environ if environment is None else environment
    count, pid, _ = (environment.pop(name, "") for name in VARIABLES)
    if pid != str(os.getpid()) or not count.isdecimal() or not 0 < int(count) <= _MOST:
        return None
    if int(count) > 1:
        raise UsageError(f"{count} sockets of the service manager: a master takes one (see ListenStream= of its unit)")
    return _taken(_FIRST, port)


def leave_sockets() -> None:
    """For a process that takes none: the environment says of none any more."""
    for name in VARIABLES:
        os.environ.pop(name, None)


def _taken(descriptor: int, port: int) -> socket.socket:
    why = "no socket"
    try:
        if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            os.set_inheritable(descriptor, False)
            taken = socket.socket(fileno=descriptor)
            if taken.family not in (socket.AF_INET, socket.AF_INET6) or taken.type != socket.SOCK_STREAM:
                why = "no TCP socket"
            elif not taken.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                why = "does not listen (Accept=no is needed)"
            elif taken.getsockname()[1] != port:
                why = f"on port {taken.getsockname()[1]}, but the port of this master is {port} (make them the same)"
            else:
                taken.setblocking(False)
                return taken
            taken.detach()
    except OSError as error:
        why = error.strerror or str(error)
    raise UsageError(f"the socket of the service manager: {why}")
