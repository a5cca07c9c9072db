"""Telling a service manager how this process does: sd_notify(3). A message is one datagram of lines `NAME=value`.

systemd sets $NOTIFY_SOCKET, and $WATCHDOG_USEC if it ends and restarts a service that says nothing for so long. Both
are for the process that it started: `take` removes them from the environment, so that no other program gets them.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping

from xget_lib.errors import printable

VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
STATUS_EVERY = 5.0
"""Seconds between two status texts, at least."""
_SEND_WITHIN = 1.0
"""Seconds to wait for room in the queue of the service manager, for a message that it must get."""
_STATUS_LIMIT = 400
"""Characters of a status: `systemctl status` shows one line."""


class Notifier:
    """What one service tells. It has no socket open, so a forked process can use it too. Raises nothing."""

    def __init__(self, address: str | None = None, watchdog: float | None = None) -> None:
        """`address`: of a Unix socket, `@` before that of an abstract one; None: nobody listens. `watchdog`: after how
        many seconds without `alive` the service counts as hung."""
        self._address = address
        self._watchdog = watchdog
        self._status = ""
        self._told = 0.0
        """When the last status was sent, in monotonic seconds."""

    @classmethod
    def take(cls, environment: MutableMapping[str, str] | None = None) -> Notifier:
        """The one that the environment names. Afterwards the environment does not name it any more."""
        environment = os.environ if environment is None else environment
        address, microseconds, pid = (environment.pop(name, "") for name in VARIABLES)
        is_watched = microseconds.isdecimal() and int(microseconds) > 0 and pid in ("", str(os.getpid()))
        is_socket = address.startswith(("/", "@"))
        return cls(address if is_socket else None, int(microseconds) / 1e6 if is_watched else None)

    @property
    def is_wanted(self) -> bool:
        """Whether anybody listens."""
        return self._address is not None

    @property
    def every(self) -> float:
        """Seconds between two calls of `alive`."""
        return min(STATUS_EVERY, self._watchdog / 3) if self._watchdog is not None else STATUS_EVERY

    def ready(self, status: str, *, main_pid: int | None = None) -> None:
        """The service has started, or has ended a reload. `main_pid`: the process that is the service from now on."""
        main = [f"MAINPID={main_pid}"] if main_pid is not None else []
        self._send(["READY=1", *main, *self._new_status(status)], must_arrive=True)

    def reloading(self) -> None:
        """A reload begins; `ready` ends it."""
        self._send(["RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}"], must_arrive=True)

    def stopping(self) -> None:
        self._send(["STOPPING=1"], must_arrive=True)

    def alive(self, status: str, *, more_seconds: float | None = None) -> None:
        """The service works. `more_seconds`: that it may take to start, from now on; None: as many as it has."""
        lines = ["WATCHDOG=1"] if self._watchdog is not None else []
        if more_seconds is not None:
            lines.append(f"EXTEND_TIMEOUT_USEC={int(more_seconds * 1e6)}")
        if time.monotonic() >= self._told + STATUS_EVERY:
            lines += self._new_status(status)
        self._send(lines)

    def failed(self, status: str) -> None:
        """The service ends with an error."""
        self._send(self._new_status(status), must_arrive=True)

    def _new_status(self, status: str) -> list[str]:
        """The line with the status, unless the last one was the same."""
        text = printable(status)[:_STATUS_LIMIT]
        if not text or text == self._status:
            return []
        self._status, self._told = text, time.monotonic()
        return [f"STATUS={text}"]

    def _send(self, lines: list[str], *, must_arrive: bool = False) -> None:
        if self._address is None or not lines:
            return
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.settimeout(_SEND_WITHIN if must_arrive else 0.0)
                sock.sendto("\n".join(lines).encode(), address)
        except OSError:
            # The service manager is gone, or busy. What it misses it misses: there is nobody else to tell, and a
            # service that does not become ready is ended by it, and says so in its log.
            self._status = ""
