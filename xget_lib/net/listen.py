"""Listening sockets, and the options that every connection gets.

Nothing here imports gevent: the master listens before it forks, so that a port in use is an error of the command, and
a daemon really accepts connections when it reports that it is ready.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat

from xget_lib.errors import AddressRefused, NoFreePort

_BACKLOG = 4096
_SILENCE = 60
"""A peer that acknowledges nothing and answers no probe counts as dead after this many seconds: nodes lose power."""


LOCAL = "local"
"""Stands for the address of the clients of a Unix socket."""


def listen(bind: str | None, port: int) -> socket.socket:
    """A non-blocking listening socket on an address and a port.

    Without an address it is on all, of IPv4 and IPv6. Port 0 is any free one. Raises AddressRefused.
    """
    try:
        listening = _bound_to(bind, port)
        listening.listen(_BACKLOG)
    except UnicodeError:
        raise AddressRefused(bind or "", port, "not an IP address") from None
    except OSError as error:
        raise AddressRefused(bind or "", port, error.strerror or str(error)) from None
    listening.setblocking(False)
    return listening


def check_free(bind: str | None, port: int) -> None:
    """Raises AddressRefused where `listen` would. It does not listen: nobody who connects is disturbed."""
    try:
        _bound_to(bind, port).close()
    except UnicodeError:
        raise AddressRefused(bind or "", port, "not an IP address") from None
    except OSError as error:
        raise AddressRefused(bind or "", port, error.strerror or str(error)) from None


def listen_in(bind: str | None, ports: tuple[int, int] | None) -> socket.socket:
    """As `listen`, on the first port from one number to another that is free; None: on any. Raises AddressRefused,
    NoFreePort."""
    if ports is None:
        return listen(bind, 0)
    first, last = ports
    for port in range(first, last + 1):
        try:
            return listen(bind, port)
        except AddressRefused as error:
            if error.why != os.strerror(errno.EADDRINUSE):
                raise
    raise NoFreePort(bind or "", first, last)


class LocalSocket:
    """A non-blocking Unix socket that listens at a path, for this user and root. Owned by a child."""

    def __init__(self, path: str) -> None:
        """What was there is replaced if it is a socket: a former child may still have it. Raises AddressRefused."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._path = path
        new = f"{path}.new{os.getpid()}"
        try:
            if os.path.lexists(path) and not stat.S_ISSOCK(os.lstat(path).st_mode):
                raise FileExistsError(errno.EEXIST, "there is something that is no socket")
            former = os.umask(0o177)
            try:
                self.sock.bind(new)
            finally:
                os.umask(former)
            self.sock.listen(_BACKLOG)
            os.rename(new, path)
            self._identity = _identity(path)
        except OSError as error:  # also for a path that is too long
            self.sock.close()
            with contextlib.suppress(OSError):
                os.unlink(new)
            raise AddressRefused(path, None, error.strerror or str(error)) from None
        self.sock.setblocking(False)

    @property
    def directory(self) -> str:
        """Where its name is."""
        return os.path.dirname(self._path)

    def close(self) -> None:
        """Stop listening, and remove the name if it is still that of this socket. Raises nothing."""
        self.sock.close()
        with contextlib.suppress(OSError):
            if _identity(self._path) == self._identity:
                os.unlink(self._path)


def _identity(path: str) -> tuple[int, int]:
    status = os.lstat(path)
    return status.st_dev, status.st_ino


def _bound_to(bind: str | None, port: int) -> socket.socket:
    """Raises OSError, UnicodeError."""
    if bind is None and socket.has_dualstack_ipv6():
        return _bound(socket.AF_INET6, ("::", port), both=True)
    found = socket.getaddrinfo(bind or "0.0.0.0", port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = found[0]
    return _bound(family, address)


def _bound(family: int, address: object, *, both: bool = False) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if both else 1)
        listening.bind(address)  # type: ignore[arg-type]  # typeshed wants the concrete tuple of one family
    except BaseException:
        listening.close()
        raise
    return listening


def prepare(connected: socket.socket) -> None:
    """Set the options of a connection: it does not block, sends small messages at once, and detects a dead peer."""
    connected.setblocking(False)
    # If the peer is gone already, the first read says so.
    with contextlib.suppress(OSError):
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _SILENCE // 2)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _SILENCE // 6)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _SILENCE * 1000)


def plain_address(address: str) -> str:
    """An address as people write it: IPv4 without the `::ffff:` that an IPv6 socket puts before it."""
    return address.removeprefix("::ffff:") if "." in address else address
